-- KEYS: prefix. ARGV: skew_us. Returns how many leases have ended, of 1000 at most.
return expire(now_us() + tonumber(ARGV[1]), 1000)

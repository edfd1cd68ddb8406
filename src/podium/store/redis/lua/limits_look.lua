-- KEYS: any, buckets. ARGV: skew_us, lease_us, then the buckets. Returns {1, then as `tell`}.
local now, lease = now_us() + tonumber(ARGV[1]), tonumber(ARGV[2])
return tell({1}, open_buckets(3, now, lease), now)

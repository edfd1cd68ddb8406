-- KEYS: members. ARGV: name, ttl_ms. Returns how many live.
local now, ttl_ms = now_us(), tonumber(ARGV[2])
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
call('ZADD', KEYS[1], text(now + ttl_ms * 1000), ARGV[1])
call('PEXPIRE', KEYS[1], text(ttl_ms * 2))
return call('ZCARD', KEYS[1])

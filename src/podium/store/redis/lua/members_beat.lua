-- KEYS: members. ARGV: name, ttl_ms. Returns how many live.
local now, ttl_ms = now_us(), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
redis.call('ZADD', KEYS[1], text(now + ttl_ms * 1000), ARGV[1])
redis.call('PEXPIRE', KEYS[1], text(ttl_ms * 2))
return redis.call('ZCARD', KEYS[1])

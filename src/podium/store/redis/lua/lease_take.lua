-- KEYS: lease, fence. ARGV: owner, ttl_ms, deadline_us. Returns {1, token} | {0, ms that it is still held} | {-1, now}.
-- The token grows with every change of hands, and being a time it grows also after the server has lost its data.
local now = now_us()
if too_late(now, tonumber(ARGV[3])) then return {-1, now} end
local held = call('HMGET', KEYS[1], 'owner', 'token')
local token = held[2]
if held[1] and held[1] ~= ARGV[1] then
  return {0, call('PTTL', KEYS[1])}
end
if not held[1] then
  local last = tonumber(call('GET', KEYS[2]) or '0')
  token = text(math.max(last + 1, now))
  call('SET', KEYS[2], token, 'EX', 172800)
  call('HSET', KEYS[1], 'owner', ARGV[1], 'token', token)
end
call('PEXPIRE', KEYS[1], ARGV[2])
return {1, tonumber(token)}

-- KEYS: lease. ARGV: owner, token, ttl_ms. Returns 1 when it is held on, 0 when it was lost.
local held = call('HMGET', KEYS[1], 'owner', 'token')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
return 0

-- KEYS: lease. ARGV: owner, token. Returns 1 when it was still held by them, else 0.
local held = call('HMGET', KEYS[1], 'owner', 'token')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  call('DEL', KEYS[1])
  return 1
end
return 0

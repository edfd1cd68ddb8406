-- KEYS: prefix. ARGV: skew_us, lease_us, ids. Leases of those that are held start anew. Returns how many there are.
local until_us, held = now_us() + tonumber(ARGV[1]) + tonumber(ARGV[2]), 0
for i = 3, #ARGV do
  if call('ZSCORE', LEASES, ARGV[i]) then
    call('ZADD', LEASES, text(until_us), ARGV[i])
    call('PEXPIRE', reservation_key(ARGV[i]), text(tonumber(ARGV[2]) / 1000 + REMEMBER_MS))
    held = held + 1
  end
end
return held

-- KEYS: prefix. ARGV: skew_us, packed charges. Returns packed accounts; makes none.
expire(now_us() + tonumber(ARGV[1]), 100)
local answer = {}
for i, charge in ipairs(cmsgpack.unpack(ARGV[2])) do answer[i] = cmsgpack.pack(described(account_of(charge, false))) end
return answer

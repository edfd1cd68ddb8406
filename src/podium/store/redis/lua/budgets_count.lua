-- KEYS: prefix. ARGV: id, skew_us, made_us, nanousd, tokens, packed charges. Counts what an exchange cost that was admitted
-- without the store. Returns {outcome, crossings...}, as `budgets_end`.
local id, made, fact = ARGV[1], tonumber(ARGV[3]), {tonumber(ARGV[4]), tonumber(ARGV[5])}
expire(now_us() + tonumber(ARGV[2]), 100)
local raw, crossings, outcome = redis.call('GET', reservation_key(id)), {}, 'counted'
local r = raw and cmsgpack.unpack(raw) or {state = 'unknown', made = made, charges = {}}
if r.state == 'settled' then return {'already'} end
if r.state == 'open' then -- it was made all the same: only the answer was lost
  close(id, r, fact, crossings)
else
  outcome = 'mended'
  for _, charge in ipairs(cmsgpack.unpack(ARGV[6])) do
    local a = open_account(charge, not raw)
    if made >= a.mended then
      outcome = 'counted_late'
      count(a, fact[charge.unit], made, charge.bucket, crossings)
    end
    write_account(charge, a)
  end
end
r.state, r.charges = 'settled', {}
remember(id, r)
local answer = {outcome}
for i, crossing in ipairs(crossings) do answer[i + 1] = crossing end
write_accounts()
return answer

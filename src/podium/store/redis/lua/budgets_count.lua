-- KEYS: prefix. ARGV: id, skew_us, made_us, nanousd, tokens, packed charges. Counts what an exchange cost that was admitted
-- without the store. Returns {outcome, crossings...}, as `budgets_end`.
local id, made, fact = ARGV[1], tonumber(ARGV[3]), {tonumber(ARGV[4]), tonumber(ARGV[5])}
expire(now_us() + tonumber(ARGV[2]), 100)
local raw, crossings, outcome = call('GET', reservation_key(id)), {}, 'counted'
local r = raw and {cmsgpack.unpack(raw)} or {'unknown', made, 0, 0, 0, false}
if r[STATE] == 'settled' then return {'already'} end
if r[STATE] == 'open' then -- it was made all the same: only the answer was lost
  give_up(r, fact, crossings)
  call('ZREM', LEASES, id)
else
  outcome = 'mended'
  for _, charge in ipairs(cmsgpack.unpack(ARGV[6])) do
    local a = account_of(charge, not raw)
    if made >= a.mended then
      outcome = 'counted_late'
      count(a, fact[charge.unit], made, charge.bucket, crossings)
    end
    write_account(charge.key, charge.ttl_ms, a)
  end
end
remember(id, {'settled', made, 0, 0, 0, false}, REMEMBER_MS)
local answer = {outcome}
for i, crossing in ipairs(crossings) do answer[i + 1] = crossing end
write_accounts()
return answer

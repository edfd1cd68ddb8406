-- KEYS: prefix. ARGV: id, skew_us, event (settle or release), nanousd, tokens. Returns {outcome, crossings...}.
local id, settle = ARGV[1], ARGV[3] == 'settle'
expire(now_us() + tonumber(ARGV[2]), 100)
local raw = redis.call('GET', reservation_key(id))
if not raw then return {'unknown'} end
local r = cmsgpack.unpack(raw)
if r.state == 'settled' or r.state == 'released' then return {'already'} end
local fact, crossings = settle and {tonumber(ARGV[4]), tonumber(ARGV[5])} or nil, {}
local outcome = settle and 'counted' or 'released'
if r.state == 'open' then
  close(id, r, fact, crossings)
elseif settle then
  local counted = #r.charges == 0
  for _, charge in ipairs(r.charges) do
    local a = open_account(charge, false)
    if a then
      if r.made >= a.mended then
        counted = true
        count(a, fact[charge.unit], r.made, charge.bucket, crossings)
      end
      write_account(charge, a)
    end
  end
  outcome = counted and 'counted_late' or 'mended'
end
r.state, r.charges = settle and 'settled' or 'released', {}
remember(id, r)
write_accounts()
local answer = {outcome}
for i, crossing in ipairs(crossings) do answer[i + 1] = crossing end
return answer

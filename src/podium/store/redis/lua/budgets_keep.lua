-- KEYS: prefix. ARGV: skew_us, lease_us, share, packed slices {id, version, new, last, made, total, keep, ahead, more, charge}.
-- A slice is a reservation of one account that a gateway serves many exchanges from. Each time it is told whole: what it has
-- cost in all (`total`), what has to stay held (`keep`; of that `ahead` is for exchanges to come) and how much more is wanted.
-- More is given while all that is ahead in this slice is at most a `share`th of what is left of the budget.
-- What is told twice, late or out of order does no harm: of two the one of the higher version holds.
-- Returns for each {code, more, left, mark, recalled, crossings...}; codes: 1 it is held, 2 its lease had ended, 0 it is not known or
-- has ended, -1 a later version is known.
local now, lease, share = now_us() + tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
expire(now, 100)

local function end_it(s, r, crossings)
  local cost = s.total - r[TOTAL]
  if r[STATE] == 'open' then
    give_up(r, {cost, cost}, crossings)
    call('ZREM', LEASES, s.id)
  end
  remember(s.id, {'settled', r[MADE], s.version, s.total, 0, false}, lease / 1000 + 60000)
end

local function count_late(s, r, crossings)
  local charge, cost = r[CHARGE], s.total - r[TOTAL]
  local a = account_of(charge, false)
  if cost > 0 and r[MADE] >= a.mended then count(a, cost, r[MADE], charge.bucket, crossings) end
  write_account(charge.key, charge.ttl_ms, a)
  r[VERSION], r[TOTAL] = s.version, s.total
  remember(s.id, r, REMEMBER_MS)
end

local function hold(s, r, is_new, crossings)
  local charge = r[CHARGE]
  local a = account_of(charge, is_new)
  if is_new then
    a.running = a.running + 1
    if r[MADE] < a.mark then a.earlier = a.earlier + 1 end
  end
  local cost, more = s.total - r[TOTAL], s.more
  if cost ~= 0 then count(a, cost, r[MADE], charge.bucket, crossings) end
  local held = is_new and 0 or r[HOLDS + 3]
  local reserved = math.max(0, a.reserved - held) + s.keep
  local left, recalled = charge.amount - a.settled - reserved, a.recall > now
  if recalled then more = 0 end
  if charge.hard then more = math.max(0, math.min(more, math.floor((left + s.ahead) / share) - s.ahead)) end
  a.reserved = reserved + more
  a.ahead = math.max(0, a.ahead - r[AHEAD]) + s.ahead + more
  write_account(charge.key, charge.ttl_ms, a)
  remember(s.id, {
    'open', r[MADE], s.version, s.total, s.ahead + more, charge,
    charge.key, charge.unit, s.keep + more, charge.bucket, charge.ttl_ms,
  }, lease / 1000 + REMEMBER_MS)
  call('ZADD', LEASES, text(now + lease), s.id)
  return {1, more, math.max(0, left - more), a.mark, recalled and 1 or 0}
end

local answers = {}
for i, s in ipairs(cmsgpack.unpack(ARGV[4])) do
  local raw = call('GET', reservation_key(s.id))
  local r, crossings, answer = raw and {cmsgpack.unpack(raw)} or nil, {}, {0, 0, 0, 0, 0}
  if not r then
    r = {'open', s.made, 0, 0, 0, s.charge or false}
    if s.last then
      r[STATE] = 'settled'
      end_it(s, r, crossings) -- what was sent before and is still to come finds that it has ended
    elseif s.new then
      answer = hold(s, r, true, crossings)
    end
  elseif s.version < r[VERSION] then
    answer[1] = -1
  elseif r[STATE] == 'open' then
    if s.last then
      end_it(s, r, crossings)
      answer[1] = 1
    else
      answer = hold(s, r, false, crossings)
    end
  elseif r[STATE] == 'expired' then
    answer[1] = 2
    count_late(s, r, crossings)
    if s.last then end_it(s, r, crossings) end
  end
  for j, crossing in ipairs(crossings) do answer[5 + j] = crossing end
  answers[i] = answer
end
write_accounts()
return answers

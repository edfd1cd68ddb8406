-- What many exchanges begin and end with, in the order in which it was asked for: each step is as atomic as the script,
-- and what they have in common is read and written once.
-- KEYS: prefix of budgets, prefix of limits. ARGV: skew_us, lease_us, packed {buckets, charges, steps}.
-- A bucket is {key, kind, amount, burst, window_us}, a charge is as `open_account` reads it. A step begins with its code;
-- `takes` and `costs` are lists of a number in buckets or charges and an amount, one after the other.
--   1 take    {1, grant, deadline_us, takes}
--     {1, as `tell_one` each} when all were taken from, {0, the same} when none was, {-1, now} when it is too late
--   2 end     {2, grant, takes}: by how much facts differ from what was taken
--     1, or 0 when the grant is not known: it had ended before
--   3 reserve {3, id, deadline_us, made_us, costs}
--     {1, left in each account} held, {1} it is held already, {2} it had ended before, {0, packed accounts} no room,
--     {-1, now} too late
--   4 settle  {4, id, nanousd, tokens}, 5 release {5, id}
--     {outcome, crossings...}
-- Returns the answers; of a step that failed, for example because of a key that is not ours, the error.
local LIMITS = KEYS[2]
local time, lease = now_us(), tonumber(ARGV[2])
local now = time + tonumber(ARGV[1])
local now_text, until_us, grant_px = text(now), text(now + lease), text(lease / 1000 + SPARE_MS)
local held_px, ended_px = text(lease / 1000 + REMEMBER_MS), text(REMEMBER_MS)
local batch = cmsgpack.unpack(ARGV[3])
local kinds, charges = batch[1], batch[2]
local buckets, touched = {}, {} -- by key, as they stand; those that are to be written
expire(now, 100)

local function bucket_at(number)
  local kind = kinds[number]
  local b = buckets[kind[1]]
  if not b then
    b = open(LIMITS .. 'bucket:' .. kind[1], kind[2], kind[3], kind[4], kind[5], now, lease)
    buckets[kind[1]] = b
  elseif b.amount ~= kind[3] or b.burst ~= kind[4] then -- the limit was changed a moment ago
    b.amount, b.burst, b.spare = kind[3], kind[4], 1e-6 + kind[4] * 1e-12
  end
  return b
end

local function grant_key(grant)
  return LIMITS .. 'grant:' .. grant
end

local function tell_all(code, takes)
  local answer = {code}
  for i = 1, #takes, 2 do tell_one(answer, bucket_at(takes[i]), takes[i + 1], now) end
  return answer
end

-- Whether all have room, and the serial that a grant would have.
local function look(takes)
  local room, serial = true, now
  for i = 1, #takes, 2 do
    local b = bucket_at(takes[i])
    room = room and fits(b, takes[i + 1])
    if b.last and b.last >= serial then serial = b.last + 1 end
    if b.changed then touched[b] = true end
  end
  return room, serial
end

-- Take what has room; nothing when the grant was given before.
local function take(grant, serial, takes)
  if not redis.call('SET', grant_key(grant), text(serial) .. ' ' .. now_text, 'PX', grant_px, 'NX') then return end
  for i = 1, #takes, 2 do
    local b, amount = bucket_at(takes[i]), takes[i + 1]
    if b.kind == 'c' then
      if amount > 0 then b.used = b.used + redis.call('ZADD', b.key, until_us, grant) end
    elseif b.kind == 'g' then
      mark(b, serial)
      b.used = b.used + amount
    else
      add_to_slot(b, b.slot, amount)
    end
    touched[b] = true
  end
end

local function known(grant)
  return redis.call('EXISTS', grant_key(grant)) == 1
end

local function give_back_or_more(grant, takes)
  local value = redis.call('GET', grant_key(grant))
  if not value then -- it has ended; or it is still to come, on another connection: then it finds that it has ended
    redis.call('SET', grant_key(grant), 'ended', 'PX', 10000)
    return 0
  end
  local serial, at = value:match('(%d+) (%d+)')
  if not serial then return 0 end
  redis.call('DEL', grant_key(grant))
  serial, at = tonumber(serial), tonumber(at)
  for i = 1, #takes, 2 do
    local kind, difference = kinds[takes[i]], takes[i + 1]
    if kind[2] == 'c' then
      local gone = redis.call('ZREM', LIMITS .. 'bucket:' .. kind[1], grant)
      local b = buckets[kind[1]]
      if b then b.used = b.used - gone end
    elseif difference ~= 0 then
      local b = bucket_at(takes[i])
      correct(b, difference, serial, at, now)
      touched[b] = true
    end
  end
  return 1
end

-- The accounts of `costs`, and whether all have room.
local function accounts_of(costs)
  local accounts, room = {}, true
  for i = 1, #costs, 2 do
    local charge = charges[costs[i]]
    local a = open_account(charge, true)
    accounts[(i + 1) / 2] = a
    if charge.hard and a.settled + a.reserved + costs[i + 1] > charge.amount then room = false end
  end
  return accounts, room
end

local function no_room(accounts, costs)
  local answer = {0}
  for i, a in ipairs(accounts) do
    local charge, ahead = charges[costs[2 * i - 1]], a.ahead or 0 -- what slices hold for exchanges to come
    local missing = charge.hard and a.settled + a.reserved + costs[2 * i] - charge.amount or 0
    if missing > 0 and missing <= ahead then
      a.recall = now + RECALL_US
      write_account(charge, a)
    end
    answer[i + 1] = cmsgpack.pack(a)
  end
  return answer
end

-- What is known of a reservation when it is asked for again.
local function asked_before(id)
  local raw = redis.call('GET', reservation_key(id))
  return raw and {cmsgpack.unpack(raw).state == 'open' and 1 or 2}
end

local function hold(id, made, accounts, costs)
  local held, answer = {}, {1}
  for i = 1, #accounts do
    local charge = charges[costs[2 * i - 1]]
    held[i] = {key = charge.key, unit = charge.unit, estimate = costs[2 * i], bucket = charge.bucket, ttl_ms = charge.ttl_ms}
  end
  local r = cmsgpack.pack({state = 'open', made = made, charges = held})
  if not redis.call('SET', reservation_key(id), r, 'PX', held_px, 'NX') then return asked_before(id) end
  redis.call('ZADD', LEASES, until_us, id)
  for i, a in ipairs(accounts) do
    local charge = charges[costs[2 * i - 1]]
    a.reserved, a.running = a.reserved + costs[2 * i], a.running + 1
    if made < a.mark then a.earlier = a.earlier + 1 end
    write_account(charge, a)
    answer[i + 1] = math.max(0, charge.amount - a.settled - a.reserved)
  end
  return answer
end

local function reserve(id, made, costs)
  local accounts, room = accounts_of(costs)
  if not room then return asked_before(id) or no_room(accounts, costs) end
  return hold(id, made, accounts, costs)
end

-- End a reservation; `fact` is what it cost in nano-dollars and in tokens, nil when nothing.
local function finish(id, fact)
  local raw = redis.call('GET', reservation_key(id))
  if not raw then return {'unknown'} end
  local r, outcome, crossings = cmsgpack.unpack(raw), fact and 'counted' or 'released', {}
  if r.state == 'settled' or r.state == 'released' then return {'already'} end
  if r.state == 'open' then
    close(id, r, fact, crossings)
  elseif fact then
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
  r.state, r.charges = fact and 'settled' or 'released', {}
  redis.call('SET', reservation_key(id), cmsgpack.pack(r), 'PX', ended_px)
  local answer = {outcome}
  for i, crossing in ipairs(crossings) do answer[i + 1] = crossing end
  return answer
end

local function answer_of(s)
  local code = s[1]
  if (code == 1 or code == 3) and too_late(time, s[3]) then
    return {-1, time}
  elseif code == 1 then
    local room, serial = look(s[4])
    if room then take(s[2], serial, s[4]) end
    return tell_all((room or known(s[2])) and 1 or 0, s[4])
  elseif code == 2 then
    return give_back_or_more(s[2], s[3])
  elseif code == 3 then
    return reserve(s[2], s[4], s[5])
  end
  return finish(s[2], code == 4 and {s[3], s[4]} or nil)
end

local answers = {}
for i, s in ipairs(batch[3]) do
  local fine, answer = pcall(answer_of, s)
  if not fine then answer = type(answer) == 'table' and {err = answer.err} or {err = 'ERR ' .. answer} end
  answers[i] = answer
end
for b in pairs(touched) do write(b, now, lease) end
write_accounts()
return answers

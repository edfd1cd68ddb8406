-- What many exchanges begin and end with, in the order in which it was asked for: each step is as atomic as the script,
-- and what they have in common is read and written once.
-- KEYS: prefix of budgets, prefix of limits. ARGV: skew_us, lease_us, packed words: one flat list, which is read in a third of
-- the time of lists in a list. The first word is where steps begin; before them, at the numbers that steps name, stand
--   buckets: key, kind, amount, burst, window_us
--   charges: key, unit, amount, hard, bucket, parts, ttl_ms, blob
-- Of each step there is how many words follow, its code, and the others. `takes` and `costs` are how many words follow, then
-- the number of a bucket or charge and an amount, one after the other.
--   1 take    grant, deadline_us, takes
--     {1, as `tell_one` each} when all were taken from, {0, the same} when none was, {-1, now} when it is too late
--   2 end     grant, takes: by how much facts differ from what was taken
--     1, or 0 when the grant is not known: it had ended before
--   3 reserve id, deadline_us, made_us, costs
--     {1, left in each account} held, {1} it is held already, {2} it had ended before, {0, accounts} no room,
--     {-1, now} too late
--   4 settle  id, nanousd, tokens
--   5 release id
--     {outcome, crossings...}
--   6 admit   grant, deadline_us, id, made_us, takes, costs: take and reserve, both or neither
--     {as 1, as 3}, the second only if there was room to take; {{-1, now}} too late
-- Returns the answers, packed; of a step that failed, for example because of a key that is not ours, the error as a text.
local LIMITS = KEYS[2]
local time, lease = now_us(), tonumber(ARGV[2])
local now = time + tonumber(ARGV[1])
local now_text, until_us = text(now), text(now + lease)
-- Of what has ended a gateway tells again for a lease at most; the cost of a reservation may come later.
local known_px, held_px = text(lease / 1000 + SPARE_MS), text(lease / 1000 + REMEMBER_MS)
local SETTLED, RELEASED = cmsgpack.pack('settled', 0, 0, 0, 0, false), cmsgpack.pack('released', 0, 0, 0, 0, false)
local UNKNOWN = {'unknown', 0, 0, 0, 0, false}
local words = cmsgpack.unpack(ARGV[3])
local buckets, touched = {}, {} -- by key, as they stand; those that are to be written
local found = {} -- buckets of the step that is looked at
local begun, ended = {}, {} -- leases of reservations, with their ends; written at once
local joined, left = {}, {} -- places by bucket and by key, with their ends; written at once
expire(now, 100)

local function write_joined(b)
  if joined[b] then call('ZADD', b.key, unpack(joined[b])) end
  joined[b] = nil
end

local function write_left(key)
  if left[key] then redis.pcall('ZREM', key, unpack(left[key])) end
  left[key] = nil
end

local function bucket_at(number)
  local name, amount, burst = words[number], words[number + 2], words[number + 3]
  local b = buckets[name]
  if not b then
    local key = LIMITS .. 'bucket:' .. name
    write_left(key)
    b = open(key, words[number + 1], amount, burst, words[number + 4], now, lease)
    buckets[name] = b
  elseif b.amount ~= amount or b.burst ~= burst then -- the limit was changed a moment ago
    b.amount, b.burst, b.spare = amount, burst, 1e-6 + burst * 1e-12
  end
  return b
end

local function grant_key(grant)
  return LIMITS .. 'grant:' .. grant
end

-- Whether all have room, and the serial that a grant would have.
local function look(takes)
  local room, serial = true, now
  for i = takes + 1, takes + words[takes], 2 do
    local b = bucket_at(words[i])
    found[(i - takes + 1) / 2] = b
    if b.used + words[i + 1] > b.burst + b.spare then room = false end
    if b.last and b.last >= serial then serial = b.last + 1 end
    if b.changed then touched[b] = true end
  end
  return room, serial
end

-- Take what has room; nothing when the grant was given before.
local function take(grant, serial, takes)
  local value = (serial == now and now_text or text(serial)) .. ' ' .. now_text
  if not call('SET', grant_key(grant), value, 'PX', known_px, 'NX') then return end
  for i = takes + 1, takes + words[takes], 2 do
    local b, amount = found[(i - takes + 1) / 2], words[i + 1]
    if b.kind == 'g' then
      mark(b, serial)
      b.used = b.used + amount
    elseif b.kind == 's' then
      add_to_slot(b, b.slot, amount)
    elseif amount > 0 then
      local list = joined[b] or {}
      list[#list + 1], list[#list + 2] = until_us, grant
      joined[b], b.used = list, b.used + 1
    end
    touched[b] = true
  end
end

-- After `look`; without `room`, how long until there is.
local function tell_all(room, takes)
  local answer = {room and 1 or 0}
  for i = takes + 1, takes + words[takes], 2 do
    local b = found[(i - takes + 1) / 2]
    tell_one(answer, b, room and 0 or wait_us(b, words[i + 1], now), now)
  end
  return answer
end

local function known(grant)
  return call('EXISTS', grant_key(grant)) == 1
end

local function leave(key, grant)
  local b = buckets[key]
  if b then
    write_joined(b)
    b.used = b.used - call('ZREM', b.key, grant)
  else
    local set = LIMITS .. 'bucket:' .. key
    local list = left[set] or {}
    list[#list + 1], left[set] = grant, list
  end
end

local function give_back_or_more(grant, takes)
  local key = grant_key(grant)
  local value = call('GET', key)
  if not value then -- it has ended; or it is still to come, on another connection: then it finds that it has ended
    call('SET', key, 'ended', 'PX', 10000)
    return 0
  end
  local serial, at = value:match('(%d+) (%d+)')
  if not serial then return 0 end
  call('DEL', key)
  serial, at = tonumber(serial), tonumber(at)
  for i = takes + 1, takes + words[takes], 2 do
    local number, difference = words[i], words[i + 1]
    if words[number + 1] == 'c' then
      leave(words[number], grant)
    elseif difference ~= 0 then
      local b = bucket_at(number)
      correct(b, difference, serial, at, now)
      touched[b] = true
    end
  end
  return 1
end

-- The accounts of `costs`, and whether all have room.
local function accounts_of(costs)
  local accounts, room = {}, true
  for i = costs + 1, costs + words[costs], 2 do
    local c = words[i]
    local a = open_account(words[c], words[c + 4], words[c + 5], words[c + 7], true)
    accounts[#accounts + 1] = a
    if words[c + 3] and a.settled + a.reserved + words[i + 1] > words[c + 2] then room = false end
  end
  return accounts, room
end

local function no_room(accounts, costs)
  local answer = {0}
  for i, a in ipairs(accounts) do
    local c, amount = words[costs + 2 * i - 1], words[costs + 2 * i]
    local missing = words[c + 3] and a.settled + a.reserved + amount - words[c + 2] or 0
    if missing > 0 and missing <= a.ahead then -- what slices hold for exchanges to come
      a.recall = now + RECALL_US
      write_account(words[c], words[c + 6], a)
    end
    answer[i + 1] = described(a)
  end
  return answer
end

-- What is known of a reservation when it is asked for again.
local function asked_before(id)
  local raw = call('GET', reservation_key(id))
  return raw and {cmsgpack.unpack(raw) == 'open' and 1 or 2}
end

local function hold(id, made, accounts, costs)
  local r, answer = {'open', made, 0, 0, 0, false}, {1}
  for i = 1, #accounts do
    local c, at = words[costs + 2 * i - 1], HOLDS + HOLD * i - HOLD
    r[at + 1], r[at + 2], r[at + 3], r[at + 4], r[at + 5] =
      words[c], words[c + 1], words[costs + 2 * i], words[c + 4], words[c + 6]
  end
  if not call('SET', reservation_key(id), cmsgpack.pack(unpack(r)), 'PX', held_px, 'NX') then return asked_before(id) end
  begun[#begun + 1], begun[#begun + 2] = until_us, id
  for i, a in ipairs(accounts) do
    local c = words[costs + 2 * i - 1]
    a.reserved, a.running = a.reserved + words[costs + 2 * i], a.running + 1
    if made < a.mark then a.earlier = a.earlier + 1 end
    write_account(words[c], words[c + 6], a)
    local rest = words[c + 2] - a.settled - a.reserved
    answer[i + 1] = rest > 0 and rest or 0
  end
  return answer
end

local function reserve(id, made, costs)
  local accounts, room = accounts_of(costs)
  if not room then return asked_before(id) or no_room(accounts, costs) end
  return hold(id, made, accounts, costs)
end

-- Count what a reservation cost whose lease had ended.
local function count_late(r, fact, crossings)
  local made, counted = r[MADE], #r == HOLDS
  for i = HOLDS + 1, #r, HOLD do
    local a = known_account(r[i], r[i + 3])
    if a then
      if made >= a.mended then
        counted = true
        count(a, fact[r[i + 1]], made, r[i + 3], crossings)
      end
      write_account(r[i], r[i + 4], a)
    end
  end
  return counted and 'counted_late' or 'mended'
end

-- End a reservation; `fact` is what it cost in nano-dollars and in tokens, nil when nothing.
local function finish(id, fact)
  local key = reservation_key(id)
  local raw = call('GET', key)
  local r, outcome, crossings = raw and {cmsgpack.unpack(raw)} or UNKNOWN, fact and 'counted' or 'released', {}
  local state = r[STATE]
  if state == 'unknown' then -- or it is still to come, on another connection: then it finds that it has ended
    remember(id, r, 10000)
    return {state}
  end
  if state == 'settled' or state == 'released' then return {'already'} end
  if state == 'open' then
    give_up(r, fact, crossings)
    ended[#ended + 1] = id
  elseif fact then
    outcome = count_late(r, fact, crossings)
  end
  call('SET', key, fact and SETTLED or RELEASED, 'PX', known_px)
  return {outcome, unpack(crossings)}
end

local function admit(grant, id, made, takes)
  local costs = takes + words[takes] + 1
  local room, serial = look(takes)
  if not room and not known(grant) then return {tell_all(false, takes)} end
  local held = reserve(id, made, costs)
  if room and held[1] == 1 then take(grant, serial, takes) end
  return {tell_all(true, takes), held}
end

-- Of the step whose code is at `at`.
local function answer_of(at)
  local code, name = words[at], words[at + 1]
  if code == 2 then
    return give_back_or_more(name, at + 2)
  elseif code == 4 then
    return finish(name, {words[at + 2], words[at + 3]})
  elseif code == 5 then
    return finish(name, nil)
  elseif too_late(time, words[at + 2]) then
    return code == 6 and {{-1, time}} or {-1, time}
  elseif code == 6 then
    return admit(name, words[at + 3], words[at + 4], at + 5)
  elseif code == 3 then
    return reserve(name, words[at + 3], at + 4)
  end
  local room, serial = look(at + 3)
  if room then take(name, serial, at + 3) end
  return tell_all(room or known(name), at + 3)
end

local answers, at, last = {}, words[1], #words
while at < last do
  local fine, answer = pcall(answer_of, at + 1)
  if not fine then answer = type(answer) == 'table' and answer.err or tostring(answer) end
  answers[#answers + 1] = answer
  at = at + words[at] + 1
end
if #begun > 0 then call('ZADD', LEASES, unpack(begun)) end
if #ended > 0 then call('ZREM', LEASES, unpack(ended)) end
for b in pairs(joined) do write_joined(b) end
for set in pairs(left) do write_left(set) end
for b in pairs(touched) do write(b, now, lease) end
write_accounts()
return cmsgpack.pack(answers)

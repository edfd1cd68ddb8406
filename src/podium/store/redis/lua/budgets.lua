-- Accounts and reservations as podium.economics.budgets keeps them in memory; see account.py and book.py there.
-- Moments are in microseconds, buckets of rolling windows are numbered by the caller. PREFIX ends in a colon.
-- Accounts and reservations beside those that are named are touched when leases end: all are on the shard of the prefix.
-- An account is read once and written once, by `write_accounts`, however often a script changes it.
local PREFIX = KEYS[1]
local LEASES, ACCOUNTS, MARK = PREFIX .. 'leases', PREFIX .. 'accounts', PREFIX .. 'mark'
local REMEMBER_MS, RECALL_US, NEVER = 86400000, 2000000, 1e300
local marked_at = tonumber(call('GET', MARK) or '0')

-- An account is kept as values one after the other, which take half the time of a table to pack and to read. `rest` is packed
-- {buckets, told}, read only when needed; `blob` is the charge that it was last asked with, as JSON; `alert` is what has to be
-- settled for the next soft mark.
local function unpacked_account(raw)
  local settled, reserved, running, mark, mended, latest, before, earlier, ahead, recall, parts, alert, blob, rest =
    cmsgpack.unpack(raw)
  return {
    settled = settled, reserved = reserved, running = running, mark = mark, mended = mended, latest = latest,
    before = before, earlier = earlier, ahead = ahead, recall = recall, parts = parts, alert = alert, blob = blob,
    rest = rest, buckets = nil, told = nil,
  }
end

local function packed_account(a)
  return cmsgpack.pack(
    a.settled, a.reserved, a.running, a.mark, a.mended, a.latest, a.before, a.earlier, a.ahead, a.recall, a.parts, a.alert,
    a.blob, a.rest or cmsgpack.pack({a.buckets, a.told})
  )
end

local function read_rest(a)
  if not a.rest then return end
  local rest = cmsgpack.unpack(a.rest)
  a.buckets, a.told, a.rest = rest[1], rest[2], nil
end

-- All that is known of an account, for those who read it: podium.store.redis.budget_words.account_of.
local function described(a)
  read_rest(a)
  return cmsgpack.unpack(cmsgpack.pack({
    settled = a.settled, reserved = a.reserved, running = a.running, mark = a.mark, mended = a.mended, latest = a.latest,
    before = a.before, earlier = a.earlier, rolling = a.parts > 0, buckets = a.buckets, told = a.told, blob = a.blob,
  }))
end

-- The soft marks of an account that are not told yet: a list of {share, amount}.
local function untold_marks(a)
  read_rest(a)
  local untold = {}
  for _, soft in ipairs(cjson.decode(a.blob).rule.soft) do
    local known = false
    for i = 1, #a.told, 2 do known = known or a.told[i] == soft[1] end
    if not known then untold[#untold + 1] = soft end
  end
  return untold
end

local function await_next_mark(a)
  a.alert = NEVER
  for _, soft in ipairs(untold_marks(a)) do a.alert = math.min(a.alert, soft[2]) end
end

local function advance(a, bucket)
  if a.parts == 0 or bucket <= a.latest then return end
  read_rest(a)
  a.latest = bucket
  local oldest, kept, told = bucket - a.parts, {}, {}
  for i = 1, #a.buckets, 2 do
    if a.buckets[i] < oldest then
      a.settled = a.settled - a.buckets[i + 1]
    else
      kept[#kept + 1], kept[#kept + 2] = a.buckets[i], a.buckets[i + 1]
    end
  end
  for i = 1, #a.told, 2 do
    if a.told[i + 1] >= oldest then told[#told + 1], told[#told + 2] = a.told[i], a.told[i + 1] end
  end
  local forgotten = #told < #a.told
  a.buckets, a.told = kept, told
  if forgotten then await_next_mark(a) end
end

local opened, changed, unlisted = {}, {}, {} -- accounts by key; of those that changed, how long they are kept

-- The account of this key, moved to this bucket; nil when it is not known.
local function known_account(key, bucket)
  local a = opened[key]
  if not a then
    local raw = call('GET', PREFIX .. 'account:' .. key)
    if not raw then return nil end
    a = unpacked_account(raw)
    opened[key] = a
    if a.mark ~= marked_at then -- the repair is about to look through the list
      a.mark, a.before, a.earlier, unlisted[key] = marked_at, a.settled, a.running, true
    end
  end
  advance(a, bucket)
  return a
end

-- The account of this key, moved to this bucket; a new one when it is not known. Of a charge's other words see
-- `words_of_charge` in budget_words.py. `rebind`: it goes on under this charge.
local function open_account(key, bucket, parts, blob, rebind)
  local a = known_account(key, bucket)
  if not a then
    a = {
      settled = 0, reserved = 0, running = 0, mark = marked_at, mended = 0, latest = 0, before = 0, earlier = 0, ahead = 0,
      recall = 0, parts = parts, blob = blob, buckets = {}, told = {},
    }
    await_next_mark(a)
    unlisted[key] = true
    advance(a, bucket)
  elseif rebind and a.blob ~= blob then
    a.parts, a.blob = parts, blob
    await_next_mark(a)
  end
  return a
end

local function account_of(charge, rebind)
  return open_account(charge.key, charge.bucket, charge.parts, charge.blob, rebind)
end

local function write_account(key, ttl_ms, a)
  opened[key] = a
  changed[key] = math.max(changed[key] or 0, ttl_ms)
end

local function write_accounts()
  for key, ttl_ms in pairs(changed) do
    call('SET', PREFIX .. 'account:' .. key, packed_account(opened[key]), 'PX', text(ttl_ms))
    if unlisted[key] then call('ZADD', ACCOUNTS, 0, key) end
  end
  changed, unlisted = {}, {}
end

local function at_bucket(a, bucket)
  read_rest(a)
  for i = 1, #a.buckets, 2 do
    if a.buckets[i] == bucket then return i + 1 end
  end
  a.buckets[#a.buckets + 1], a.buckets[#a.buckets + 2] = bucket, 0
  return #a.buckets
end

-- Adds {blob, share, settled} for each soft mark that is reached now.
local function tell_crossings(a, crossings)
  if a.settled < a.alert then return end
  for _, soft in ipairs(untold_marks(a)) do
    if a.settled >= soft[2] then
      a.told[#a.told + 1], a.told[#a.told + 2] = soft[1], a.latest
      crossings[#crossings + 1] = {a.blob, string.format('%.17g', soft[1]), a.settled}
    end
  end
  await_next_mark(a)
end

local function count(a, amount, made, bucket, crossings)
  if a.parts > 0 then
    if bucket < a.latest - a.parts then return end
    local at = at_bucket(a, bucket)
    a.buckets[at] = a.buckets[at] + amount
  elseif made < a.mark then
    a.before = a.before + amount
  end
  a.settled = a.settled + amount
  tell_crossings(a, crossings)
end

local function reservation_key(id)
  return PREFIX .. 'reservation:' .. id
end

-- A reservation is a list, kept as an account is: its state, when it was made, and behind HOLDS of them, for each account,
-- HOLD words: key, unit, estimate, bucket, ttl_ms. Those between are of slices, else 0 and false; see budgets_keep.lua.
local STATE, MADE, VERSION, TOTAL, AHEAD, CHARGE = 1, 2, 3, 4, 5, 6
local HOLDS, HOLD = 6, 5

local function remember(id, r, ms)
  call('SET', reservation_key(id), cmsgpack.pack(unpack(r)), 'PX', text(ms))
end

-- Give back what was held; count what it cost unless `fact` is nil. Of an account that was lost nothing is known: what it
-- came to is the repair's.
local function give_up(r, fact, crossings)
  local made = r[MADE]
  for i = HOLDS + 1, #r, HOLD do
    local key, bucket = r[i], r[i + 3]
    local a = known_account(key, bucket)
    if a then
      a.reserved = math.max(0, a.reserved - r[i + 2])
      a.running = math.max(0, a.running - 1)
      a.ahead = math.max(0, a.ahead - r[AHEAD])
      if made < a.mark and a.earlier > 0 then a.earlier = a.earlier - 1 end
      if fact then count(a, fact[r[i + 1]], made, bucket, crossings) end
      write_account(key, r[i + 4], a)
    end
  end
end

local function expire(now, most)
  local ids = call('ZRANGEBYSCORE', LEASES, '-inf', text(now), 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local raw = call('GET', reservation_key(id))
    if raw then
      local r = {cmsgpack.unpack(raw)}
      give_up(r, nil, {})
      r[STATE] = 'expired'
      remember(id, r, REMEMBER_MS)
    end
    call('ZREM', LEASES, id)
  end
  if #ids > 0 then write_accounts() end
  return #ids
end

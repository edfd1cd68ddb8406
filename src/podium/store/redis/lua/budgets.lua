-- Accounts and reservations as podium.economics.budgets keeps them in memory; see account.py and book.py there.
-- Moments are in microseconds, buckets of rolling windows are numbered by the caller. PREFIX ends in a colon.
-- Accounts and reservations beside those that are named are touched when leases end: all are on the shard of the prefix.
-- An account is read once and written once, by `write_accounts`, however often a script changes it.
local PREFIX = KEYS[1]
local LEASES, ACCOUNTS, MARK = PREFIX .. 'leases', PREFIX .. 'accounts', PREFIX .. 'mark'
local REMEMBER_MS, RECALL_US = 86400000, 2000000
local marked_at = tonumber(redis.call('GET', MARK) or '0')

local function advance(a, bucket)
  if not a.rolling or bucket <= a.latest then return end
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
  a.buckets, a.told = kept, told
end

-- The account of a charge {key, parts, bucket, soft, ttl_ms, blob}, moved to its moment; a new one when it is not known,
-- or none when the charge is that of a reservation, which says no more than {key, unit, estimate, bucket, ttl_ms}.
local opened, changed, unlisted = {}, {}, {} -- accounts by key; of those that changed, how long they are kept

local function open_account(charge, rebind)
  local key = charge.key
  local a = opened[key]
  if not a then
    local raw = redis.call('GET', PREFIX .. 'account:' .. key)
    if raw then
      a = cmsgpack.unpack(raw)
      opened[key] = a
      if a.mark ~= marked_at then -- the repair is about to look through the list
        a.mark, a.before, a.earlier, unlisted[key] = marked_at, a.settled, a.running, true
      end
    elseif not charge.blob then
      return nil
    else
      a = {
        settled = 0, reserved = 0, running = 0, mark = marked_at, mended = 0, latest = 0, before = 0, earlier = 0,
        buckets = {}, told = {}, rolling = charge.parts > 0, parts = charge.parts, soft = charge.soft, blob = charge.blob,
      }
      unlisted[key] = true
    end
  end
  if rebind then a.soft, a.blob, a.parts = charge.soft, charge.blob, charge.parts end
  advance(a, charge.bucket)
  return a
end

local function write_account(charge, a)
  opened[charge.key] = a
  changed[charge.key] = math.max(changed[charge.key] or 0, charge.ttl_ms)
end

local function write_accounts()
  for key, ttl_ms in pairs(changed) do
    redis.call('SET', PREFIX .. 'account:' .. key, cmsgpack.pack(opened[key]), 'PX', text(ttl_ms))
    if unlisted[key] then redis.call('ZADD', ACCOUNTS, 0, key) end
  end
  changed, unlisted = {}, {}
end

local function at_bucket(a, bucket)
  for i = 1, #a.buckets, 2 do
    if a.buckets[i] == bucket then return i + 1 end
  end
  a.buckets[#a.buckets + 1], a.buckets[#a.buckets + 2] = bucket, 0
  return #a.buckets
end

-- Adds {blob, share, settled} for each soft mark that is reached now.
local function tell_crossings(a, crossings)
  for i = 1, #a.soft, 2 do
    local known = false
    for j = 1, #a.told, 2 do known = known or a.told[j] == a.soft[i] end
    if not known and a.settled >= a.soft[i + 1] then
      a.told[#a.told + 1], a.told[#a.told + 2] = a.soft[i], a.latest
      crossings[#crossings + 1] = {a.blob, string.format('%.17g', a.soft[i]), a.settled}
    end
  end
end

local function count(a, amount, made, bucket, crossings)
  if a.rolling then
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

local function remember(id, r)
  redis.call('SET', reservation_key(id), cmsgpack.pack(r), 'PX', text(REMEMBER_MS))
end

-- What a reservation remembers of a charge.
local function in_short(charge)
  return {key = charge.key, unit = charge.unit, estimate = charge.estimate, bucket = charge.bucket, ttl_ms = charge.ttl_ms}
end

-- Give back what was held; count what it cost unless `fact` is nil. Of an account that was lost nothing is known: what it
-- came to is the repair's.
local function close(id, r, fact, crossings)
  for _, charge in ipairs(r.charges) do
    local a = open_account(charge, false)
    if a then
      a.reserved = math.max(0, a.reserved - charge.estimate)
      a.running = math.max(0, a.running - 1)
      if r.ahead then a.ahead = math.max(0, (a.ahead or 0) - r.ahead) end
      if r.made < a.mark and a.earlier > 0 then a.earlier = a.earlier - 1 end
      if fact then count(a, fact[charge.unit], r.made, charge.bucket, crossings) end
      write_account(charge, a)
    end
  end
  redis.call('ZREM', LEASES, id)
end

local function expire(now, most)
  local ids = redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now), 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local raw = redis.call('GET', reservation_key(id))
    if raw then
      local r = cmsgpack.unpack(raw)
      close(id, r, nil, {})
      r.state = 'expired'
      remember(id, r)
    end
    redis.call('ZREM', LEASES, id)
  end
  if #ids > 0 then write_accounts() end
  return #ids
end


-- Buckets as podium.traffic.limiting keeps them in memory; see gcra.py, sliding_window.py and places.py there.
-- What is counted stays in its own unit, so that a changed limit keeps what was used.
-- `skew` is added to the server's time; 0 but in tests.
local SLOTS, MOST_LOWS, SECOND, SPARE_MS = 16, 31, 1000000, 600000

local function open_places(b, now, lease)
  local newest = call('ZREVRANGE', b.key, 0, 0, 'WITHSCORES')[2]
  local ahead = newest and tonumber(newest) - (now + lease) or 0
  if ahead > SECOND then -- the clock was set back: leases end as if it had stood meanwhile
    local all = call('ZRANGE', b.key, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do call('ZADD', b.key, text(tonumber(all[i + 1]) - ahead), all[i]) end
  end
  call('ZREMRANGEBYSCORE', b.key, '-inf', text(now))
  b.used = call('ZCARD', b.key)
end

local function open_gcra(b, now)
  local raw = call('GET', b.key)
  if raw then
    b.at, b.used, b.last, b.lows, b.serials = cmsgpack.unpack(raw)
  else
    b.at, b.used, b.last, b.lows, b.serials = now, 0, 0, {}, {}
  end
  local elapsed = now - b.at
  if elapsed > 0 then
    b.used = math.max(0, b.used - elapsed * b.amount / b.window)
    b.at = now
  elseif elapsed < -SECOND then
    b.at, b.changed = now, true
  end
end

local function open_window(b, now)
  local raw = call('GET', b.key)
  local v = raw and cmsgpack.unpack(raw) or {0, {}}
  b.part = math.ceil(b.window / SLOTS)
  local slot, shift = math.floor(now / b.part), 0
  if v[1] > slot then
    if v[1] - slot > math.max(1, SECOND / b.part) then shift, b.changed = v[1] - slot, true else slot = v[1] end
  end
  b.slot, b.used, b.counts = slot, 0, {}
  for i = 1, #v[2], 2 do
    local at, count = v[2][i] - shift, v[2][i + 1]
    if at >= slot - SLOTS and count > 0 then
      b.counts[#b.counts + 1] = {at, count}
      b.used = b.used + count
    end
  end
end

-- A bucket as it stands now.
local function open(key, kind, amount, burst, window, now, lease)
  local b = {key = key, kind = kind, amount = amount, burst = burst, window = window}
  b.spare = 1e-6 + burst * 1e-12 -- what doubles may be wrong by
  if kind == 'c' then open_places(b, now, lease)
  elseif kind == 'g' then open_gcra(b, now)
  else open_window(b, now) end
  return b
end

-- The bucket KEYS[i], with five arguments from ARGV[a] on: kind, charge, amount, burst, window_us.
local function open_bucket(i, a, now, lease)
  local amount, burst, window = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local b = open(KEYS[i], ARGV[a], amount, burst, window, now, lease)
  b.charge = tonumber(ARGV[a + 1])
  return b
end

-- From KEYS[2] on, and from ARGV[first] on.
local function open_buckets(first, now, lease)
  local buckets = {}
  for i = 2, #KEYS do buckets[i - 1] = open_bucket(i, first + (i - 2) * 5, now, lease) end
  return buckets
end

local function fits(b, amount)
  return b.used + amount <= b.burst + b.spare
end

local function mark(b, serial)
  local lows, serials = b.lows, b.serials
  while #lows > 0 and lows[#lows] >= b.used do
    table.remove(lows)
    table.remove(serials)
  end
  lows[#lows + 1], serials[#serials + 1] = b.used, serial
  if #lows > MOST_LOWS then -- two neighbours become one: the later serial with the lower mark
    local fewer_lows, fewer_serials = {}, {}
    for i = 1, #lows, 2 do
      fewer_lows[#fewer_lows + 1] = lows[i]
      fewer_serials[#fewer_serials + 1] = serials[i + 1] or serials[i]
    end
    b.lows, b.serials = fewer_lows, fewer_serials
  end
  b.last = serial
end

local function add_to_slot(b, slot, amount)
  for _, part in ipairs(b.counts) do
    if part[1] == slot then
      local change = math.max(amount, -part[2])
      part[2], b.used = part[2] + change, b.used + change
      return
    end
  end
  if amount > 0 then
    b.counts[#b.counts + 1] = {slot, amount}
    b.used = b.used + amount
  end
end

-- Take `units` out of the charge with this serial, as if they had never been in it.
local function give_back(b, units, serial)
  local lows, serials = b.lows, b.serials
  local first = 1
  while first <= #serials and serials[first] <= serial do first = first + 1 end
  if first <= #lows then
    units = math.min(units, lows[first])
    local last, low = first - 1, lows[first] - units -- of those before it, marks that are not lower are none any more
    while last > 0 and lows[last] >= low do last = last - 1 end
    local gone = first - 1 - last
    for i = first, #lows do lows[i - gone], serials[i - gone] = lows[i] - units, serials[i] end
    for i = #lows, #lows - gone + 1, -1 do lows[i], serials[i] = nil, nil end
  end
  b.used = math.max(0, b.used - units)
end

-- A charge of this serial, made at `at`, is by `difference` larger than it was said to be.
local function correct(b, difference, serial, at, now)
  if b.kind == 's' then
    add_to_slot(b, difference > 0 and b.slot or math.floor(at / b.part), difference)
  elseif difference > 0 then
    mark(b, math.max(now, b.last + 1))
    b.used = b.used + difference
  else
    give_back(b, -difference, serial)
  end
end

local function reset_us(b, now)
  if b.kind == 'c' then return 0 end
  if b.kind == 'g' then return math.ceil(b.used * b.window / b.amount) end
  local latest
  for _, part in ipairs(b.counts) do
    if part[2] > 0 and (not latest or part[1] > latest) then latest = part[1] end
  end
  return latest and (latest + SLOTS + 1) * b.part - now or 0
end

local function write(b, now, lease)
  if b.kind == 'c' then
    call('PEXPIRE', b.key, text(lease / 1000 + SPARE_MS))
    return
  end
  local state
  if b.kind == 'g' then
    state = cmsgpack.pack(b.at, b.used, b.last, b.lows, b.serials)
  else
    local flat = {}
    for _, part in ipairs(b.counts) do
      flat[#flat + 1] = part[1]
      flat[#flat + 1] = part[2]
    end
    state = cmsgpack.pack({b.slot, flat})
  end
  call('SET', b.key, state, 'PX', text(reset_us(b, now) / 1000 + lease / 1000 + SPARE_MS))
end

-- How long until `amount` fits; 0: now; -1: never.
local function wait_us(b, amount, now)
  if fits(b, amount) then return 0 end
  if b.kind == 'c' then return amount <= b.amount and SECOND or -1 end
  if b.kind == 'g' then
    if amount > b.burst then return -1 end
    return math.ceil((b.used + amount - b.burst) * b.window / b.amount)
  end
  local missing = b.used + amount - b.amount
  table.sort(b.counts, function(x, y) return x[1] < y[1] end)
  for _, part in ipairs(b.counts) do
    missing = missing - part[2]
    if missing <= 0 then return (part[1] + SLOTS + 1) * b.part - now end
  end
  return -1
end

-- Three numbers of a bucket: how long until there is room, as `wait_us` says it, left, reset_us.
local function tell_one(answer, b, wait, now)
  local at, left = #answer, floor(b.burst - b.used + b.spare)
  answer[at + 1], answer[at + 2], answer[at + 3] = wait, left > 0 and left or 0, reset_us(b, now)
end

-- As `tell_one`, each for its charge.
local function tell(answer, buckets, now)
  for _, b in ipairs(buckets) do tell_one(answer, b, wait_us(b, b.charge, now), now) end
  return answer
end

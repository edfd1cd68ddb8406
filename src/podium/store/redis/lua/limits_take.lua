-- KEYS: grant, buckets. ARGV: grant id, deadline_us, skew_us, lease_us, then the buckets.
-- Returns {1, then as `tell`} when all were taken from, {0, then as `tell`} when none was, {-1, now} when it is too late.
local time = now_us()
if too_late(time, tonumber(ARGV[2])) then return {-1, time} end
local now, lease = time + tonumber(ARGV[3]), tonumber(ARGV[4])
local buckets = open_buckets(5, now, lease)
if redis.call('EXISTS', KEYS[1]) == 1 then return tell({1}, buckets, now) end -- asked a second time
local room, serial = true, now
for _, b in ipairs(buckets) do
  room = room and fits(b, b.charge)
  if b.last and b.last >= serial then serial = b.last + 1 end
end
if not room then
  for _, b in ipairs(buckets) do
    if b.changed then write(b, now, lease) end
  end
  return tell({0}, buckets, now)
end
for _, b in ipairs(buckets) do
  if b.kind == 'c' then
    if b.charge > 0 then
      redis.call('ZADD', b.key, text(now + lease), ARGV[1])
      b.used = b.used + 1
    end
  elseif b.kind == 'g' then
    mark(b, serial)
    b.used = b.used + b.charge
  else
    add_to_slot(b, b.slot, b.charge)
  end
  write(b, now, lease)
end
redis.call('SET', KEYS[1], text(serial) .. ' ' .. text(now), 'PX', text(lease / 1000 + SPARE_MS))
return tell({1}, buckets, now)

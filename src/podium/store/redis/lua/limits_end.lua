-- KEYS: grant, buckets. ARGV: grant id, skew_us, lease_us, then the buckets, where `charge` is fact - estimate.
-- Returns 1, or 0 when the grant is not known: it had ended, or was never taken.
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
redis.call('DEL', KEYS[1])
local serial, at = value:match('(%d+) (%d+)')
serial, at = tonumber(serial), tonumber(at)
local now, lease = now_us() + tonumber(ARGV[2]), tonumber(ARGV[3])
for _, b in ipairs(open_buckets(4, now, lease)) do
  local difference = b.charge
  if b.kind == 'c' then
    redis.call('ZREM', b.key, ARGV[1])
  elseif difference ~= 0 then
    if b.kind == 's' then
      add_to_slot(b, difference > 0 and b.slot or math.floor(at / b.part), difference)
    elseif difference > 0 then
      mark(b, math.max(now, b.last + 1))
      b.used = b.used + difference
    else
      give_back(b, -difference, serial)
    end
    write(b, now, lease)
  end
end
return 1

-- KEYS: for each end its grant and buckets. ARGV: skew_us, lease_us, then for each end: grant id, how many buckets, and
-- the buckets, where `charge` is fact - estimate. Returns how many of the grants were known; others had ended before.
local now, lease = now_us() + tonumber(ARGV[1]), tonumber(ARGV[2])
local key, arg, known = 1, 3, 0
while key <= #KEYS do
  local id, count = ARGV[arg], tonumber(ARGV[arg + 1])
  local value = redis.call('GET', KEYS[key])
  if value then
    redis.call('DEL', KEYS[key])
    known = known + 1
    local serial, at = value:match('(%d+) (%d+)')
    serial, at = tonumber(serial), tonumber(at)
    for i = 1, count do
      local a = arg + 2 + (i - 1) * 5
      if ARGV[a] == 'c' then
        redis.call('ZREM', KEYS[key + i], id)
      elseif tonumber(ARGV[a + 1]) ~= 0 then
        local b = open_bucket(key + i, a, now, lease)
        correct(b, b.charge, serial, at, now)
        write(b, now, lease)
      end
    end
  end
  key, arg = key + count + 1, arg + 2 + count * 5
end
return known

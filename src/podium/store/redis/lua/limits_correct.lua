-- KEYS: grant, bucket. ARGV: skew_us, lease_us, version, last (1: the grant ends), estimate, then the bucket, where `charge`
-- is what was taken from it in truth up to now. Of two corrections the one of the higher version holds, in any order.
-- Returns 1, or 0 when it has ended or a later version is known.
local value = call('GET', KEYS[1])
if not value then return 0 end
local serial, at, version, charge = value:match('^(%d+) (%d+) ?(%d*) ?(%d*)')
if not serial then return 0 end
if tonumber(ARGV[3]) <= (tonumber(version) or 0) then return 0 end
serial, at = tonumber(serial), tonumber(at)
local now, lease = now_us() + tonumber(ARGV[1]), tonumber(ARGV[2])
local difference = tonumber(ARGV[7]) - (tonumber(charge) or tonumber(ARGV[5]))
if difference ~= 0 then
  local b = open_bucket(2, 6, now, lease)
  correct(b, difference, serial, at, now)
  write(b, now, lease)
end
if ARGV[4] == '1' then
  call('DEL', KEYS[1])
else
  local state = text(serial) .. ' ' .. text(at) .. ' ' .. ARGV[3] .. ' ' .. ARGV[7]
  call('SET', KEYS[1], state, 'PX', text(lease / 1000 + SPARE_MS))
end
return 1

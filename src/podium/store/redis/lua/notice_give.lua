-- KEYS: version. ARGV: channel, payload. Returns the new version.
-- Being a time, it is another one also after the server has lost its data.
local last = tonumber(call('GET', KEYS[1]) or '0')
local version = text(math.max(last + 1, now_us()))
call('SET', KEYS[1], version)
call('PUBLISH', ARGV[1], version .. ' ' .. ARGV[2])
return tonumber(version)

-- KEYS: prefix. ARGV: skew_us, ahead_us. Returns the moment in microseconds.
local mark = now_us() + tonumber(ARGV[1]) + tonumber(ARGV[2])
call('SET', MARK, text(mark))
return mark

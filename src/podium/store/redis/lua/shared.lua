local call, floor = redis.call, math.floor

-- Numbers are doubles: whole ones are exact up to 2^53, and microseconds since 1970 stay below until the year 2255.
local function now_us()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- The whole part. Redis would write a large number with an exponent.
local function text(number)
  return string.format('%d', number)
end

-- True when whoever asked has given up: a stalled server executes what it was sent long ago. 0: nobody said.
local function too_late(now, deadline)
  return deadline > 0 and now > deadline
end

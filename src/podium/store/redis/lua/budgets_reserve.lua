-- KEYS: prefix. ARGV: id, deadline_us, skew_us, lease_us, made_us, packed charges.
-- Returns {1, left in each account} held, {1} it is held already, {2} it had ended before, {0, packed accounts} no room, {-1, now} too late.
local time = now_us()
if too_late(time, tonumber(ARGV[2])) then return {-1, time} end
local now = time + tonumber(ARGV[3])
expire(now, 100)
local known = redis.call('GET', reservation_key(ARGV[1]))
if known then return {cmsgpack.unpack(known).state == 'open' and 1 or 2} end
local charges, accounts, room = cmsgpack.unpack(ARGV[6]), {}, true
for i, charge in ipairs(charges) do
  local a = open_account(charge, true)
  accounts[i] = a
  if charge.hard and a.settled + a.reserved + charge.estimate > charge.amount then room = false end
end
if not room then
  local answer = {0}
  for i, a in ipairs(accounts) do
    local charge, ahead = charges[i], a.ahead or 0 -- what slices hold for exchanges to come
    local missing = charge.hard and a.settled + a.reserved + charge.estimate - charge.amount or 0
    if missing > 0 and missing <= ahead then
      a.recall = now + RECALL_US
      write_account(charge, a)
    end
    answer[i + 1] = cmsgpack.pack(a)
  end
  write_accounts()
  return answer
end
local made, held, answer = tonumber(ARGV[5]), {}, {1}
for i, charge in ipairs(charges) do
  local a = accounts[i]
  a.reserved, a.running = a.reserved + charge.estimate, a.running + 1
  if made < a.mark then a.earlier = a.earlier + 1 end
  write_account(charge, a)
  held[i] = in_short(charge)
  answer[i + 1] = math.max(0, charge.amount - a.settled - a.reserved)
end
local lease = tonumber(ARGV[4])
local r = cmsgpack.pack({state = 'open', made = made, charges = held})
redis.call('SET', reservation_key(ARGV[1]), r, 'PX', text(lease / 1000 + REMEMBER_MS))
redis.call('ZADD', LEASES, text(now + lease), ARGV[1])
write_accounts()
return answer

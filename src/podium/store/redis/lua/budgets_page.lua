-- KEYS: prefix. ARGV: skew_us, after, limit. Returns packed accounts by key.
expire(now_us() + tonumber(ARGV[1]), 100)
local answer, after, limit = {}, ARGV[2], tonumber(ARGV[3])
while #answer < limit do
  local from = after == '' and '-' or '(' .. after
  local keys = call('ZRANGEBYLEX', ACCOUNTS, from, '+', 'LIMIT', 0, limit - #answer)
  if #keys == 0 then return answer end
  for _, key in ipairs(keys) do
    local raw = call('GET', PREFIX .. 'account:' .. key)
    if raw then
      local a = unpacked_account(raw)
      if a.mark ~= marked_at then a.mark, a.before, a.earlier = marked_at, a.settled, a.running end
      answer[#answer + 1] = cmsgpack.pack(described(a))
    else
      call('ZREM', ACCOUNTS, key)
    end
    after = key
  end
end
return answer

-- KEYS: prefix. ARGV: packed corrections {charge, mark, bucket, expected, actual}. Returns {1 or 0 each}, crossings...
local applied, crossings = {}, {}
for i, c in ipairs(cmsgpack.unpack(ARGV[1])) do
  local a, change = account_of(c.charge, false), c.actual - c.expected
  local valid = c.mark == a.mark and a.earlier == 0
  if valid and a.parts > 0 then
    local at = at_bucket(a, c.bucket)
    valid = c.bucket >= a.latest - a.parts and a.buckets[at] == c.expected
    if valid then a.buckets[at] = c.actual end
  elseif valid then
    valid = a.before == c.expected
    if valid then a.before = a.before + change end
  end
  applied[i] = valid and 1 or 0
  if valid then
    a.settled, a.mended = a.settled + change, math.max(a.mended, a.mark)
    tell_crossings(a, crossings)
    write_account(c.charge.key, c.charge.ttl_ms, a)
  end
end
local answer = {applied}
for i, crossing in ipairs(crossings) do answer[i + 1] = crossing end
write_accounts()
return answer

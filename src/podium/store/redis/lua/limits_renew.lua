-- KEYS: grant, buckets. ARGV: grant id, skew_us, lease_us, then the buckets. Returns 1, or 0 when it has ended or lost a place.
local value = call('GET', KEYS[1])
if not value or value == 'ended' then return 0 end
local now, lease = now_us() + tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = 1
call('PEXPIRE', KEYS[1], text(lease / 1000 + SPARE_MS))
for _, b in ipairs(open_buckets(4, now, lease)) do
  if b.kind == 'c' and b.charge > 0 then
    if call('ZSCORE', b.key, ARGV[1]) then
      call('ZADD', b.key, text(now + lease), ARGV[1])
      write(b, now, lease)
    else
      kept = 0
    end
  end
end
return kept

-- add(epoch, fresh, demand; echo, epoch, made_at_ms, slug...) → {echo, status, added, level}
--
-- KEYS 1 epoch string, 2 fresh sorted set, 3 demand hash (`pooled` is counted there). ARGV 2 is the epoch that the links' ledger
-- rows carry: links of another epoch never enter this pool. The caller never repeats it.
--
-- status  ok | fenced

local stands, epoch = fence_stands(KEYS[1])
if not stands or epoch ~= ARGV[2] then return {ARGV[1], 'fenced', 0, 0} end
local scored = {}
for i = 4, #ARGV do
  scored[#scored + 1] = ARGV[3]
  scored[#scored + 1] = ARGV[i]
end
local added = redis.call('ZADD', KEYS[2], 'NX', unpack(scored))
redis.call('HINCRBY', KEYS[3], 'pooled', added)
return {ARGV[1], 'ok', added, redis.call('ZCARD', KEYS[2])}

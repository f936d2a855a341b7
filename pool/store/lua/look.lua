-- look(epoch, fresh, claims, demand, block) → {fence, epoch, level, backlog, heat, heat_at,
--                                              oldest_ms, block, now_ms, claims, pooled,
--                                              booked}
--
-- How one pool is, at one moment. Reads only. fence: stands | fallen | sealed (by this very
-- server, which has not been restarted since). backlog is the number of claims that the
-- ledger does not have yet; oldest_ms the time the oldest fresh link was made, '' if none.
-- claims, pooled, booked: counts since the meeting was first published here; a claim counts
-- when it is answered, whether the ledger has it yet or not.

local stands, epoch = fence_stands(KEYS[1])
local fence = stands and 'stands' or 'fallen'
if string.match(epoch, '^sealed:%w+:(.*)$') == server_identity() then fence = 'sealed' end
local heat = redis.call('HMGET', KEYS[4], 'heat', 'at', 'streamed', 'pooled', 'booked')
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local clock = redis.call('TIME')
return {
  fence, epoch, redis.call('ZCARD', KEYS[2]), backlog_of(KEYS[3], KEYS[4]),
  heat[1] or '0', heat[2] or '0', oldest[2] or '', redis.call('GET', KEYS[5]) or '',
  string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)),
  tonumber(heat[3]) or 0, tonumber(heat[4]) or 0, tonumber(heat[5]) or 0,
}

-- close(lock, epoch, fresh, demand) → {epoch, stood, streamed, pooled, booked}
--
-- Closes a pool for good: its meeting has another number of shards by now. KEYS 1 string, the lock
-- of its recovery; 2 string; 3 sorted set; 4 hash. From here on it hands out nothing and gets
-- nothing, a recovery that is under way gives way, and its fresh links are gone. The totals are
-- taken out of the hash, for the meeting to keep.
--
-- stood  1 if the pool handed out links until now. Closing it again changes nothing.

local stood, epoch = fence_stands(KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('UNLINK', KEYS[3])
local totals = redis.call('HMGET', KEYS[4], 'streamed', 'pooled', 'booked')
redis.call('HDEL', KEYS[4], 'streamed', 'pooled', 'booked', 'heat', 'at')
return {epoch, stood and 1 or 0, tonumber(totals[1]) or 0, tonumber(totals[2]) or 0, tonumber(totals[3]) or 0}

-- trim(claims, demand; min_id, recorded) → removed
--
-- Forgets the stream's entries before min_id, and counts `recorded` claims with them, both
-- or neither: what is counted and what still stands in the stream are together every claim
-- that was ever answered. Done again, nothing is removed and nothing is counted.

local removed = redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if removed > 0 then
  redis.call('HINCRBY', KEYS[2], 'recorded', math.min(removed, tonumber(ARGV[2])))
end
return removed

-- unlock(lock; value) → 1 | 0
--
-- KEYS 1 string: what `lock` answered to its owner. Gives the lock back if it is still theirs.
-- Repeating it changes nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])

-- extend_lock(lock; value, ttl_ms) → 1 | 0
--
-- KEYS 1 string: what `lock` answered to its owner. Holds it for `ttl_ms` from now if it is
-- still theirs; 0 if it was lost. Repeating it changes nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])

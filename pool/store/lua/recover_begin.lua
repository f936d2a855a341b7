-- recover_begin(lock, epoch, fresh; token, keep_fresh) → {status, identity}
--
-- status  ok | lost (the lock is not ours). Takes the epoch away, so that nothing stale
-- can stand in for it, and, unless keep_fresh is 1, empties the pool.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost', ''} end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '1' then redis.call('UNLINK', KEYS[3]) end
return {'ok', server_identity()}

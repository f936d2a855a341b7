-- clear(lock, key...; token) → status
--
-- Deletes what is left of a pool that was closed, if the lock of its recovery is still ours.
-- KEYS 1 string, the others of any type. status  ok | lost. Repeating it changes nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
redis.call('UNLINK', unpack(KEYS, 2))
return 'ok'

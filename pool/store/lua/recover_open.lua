-- recover_open(lock, epoch; token, identity, nonce) → status
--
-- The last step of recovery: the pool is loaded for this server. status ok | lost | moved
-- (another server answers than the one that recovery began on).

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
if server_identity() ~= ARGV[2] then return 'moved' end
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. ARGV[3])
return 'ok'

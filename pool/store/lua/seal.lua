-- seal(epoch; token) → sealed
--
-- From here on this Redis hands out nothing of this meeting: its epoch becomes
-- `sealed:<token>:<identity>`, which only another server process may adopt. 1 when sealed; 0 when the
-- fence had fallen already: a pool that may have forgotten a claim must not be sealed.

if not fence_stands(KEYS[1]) then return 0 end
redis.call('SET', KEYS[1], 'sealed:' .. ARGV[1] .. ':' .. server_identity())
return 1

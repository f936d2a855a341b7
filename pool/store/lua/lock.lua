-- lock(lock; token, ttl_ms) → value | ''
--
-- KEYS 1 string: `<identity>:<token>` of whoever holds it. Takes the lock if nobody holds it
-- on this very server, and answers what the key now holds; '' if somebody does. A lock taken
-- on another server is void: it may have come back with an old file, long after its owner
-- gave it up, and its owner, if there is one, finds it gone at the next step.

local identity = server_identity() .. ':'
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #identity) == identity then return '' end
local value = identity .. ARGV[1]
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return value

-- turn(alerts, notices; name, before, after, notice, limit) → turned
--
-- KEYS 1 hash: name of a trouble → how it stands; 2 list of notices to send, oldest first.
-- Turns a trouble from `before` to `after` ('' is absent) and, with it, adds the notice if
-- there is one. 0 if it did not stand at `before`: somebody else has turned it, and told.

local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if held ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[4])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1)
end
return 1

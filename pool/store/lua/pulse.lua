-- pulse(pulses; process, pulse, forget_ms) → 1
--
-- KEYS 1 hash: process → milliseconds since 1970 by this Redis's clock, a space, its pulse as JSON.
-- Notes that a process is alive. The field 'since' says that pulses are kept here at all. Now and
-- then it forgets processes that were last heard `forget_ms` ago. Harmless when it runs twice.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HSETNX', KEYS[1], 'since', now) == 1 or now % 60 == 0 then
  local all = redis.call('HGETALL', KEYS[1])
  for place = 1, #all, 2 do
    local at = tonumber(string.match(all[place + 1], '^%d+'))
    if all[place] ~= 'since' and at and at < now - tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], all[place])
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
return 1

-- pulse(pulses; process, pulse, forget_ms, role) → 1
--
-- KEYS 1 hash: process → milliseconds since 1970 by this Redis's clock, a space, its pulse as JSON.
-- Notes that a process is alive. The field 'since <role>' says that such processes have pulses.
-- Now and then it forgets those last heard `forget_ms` ago. Harmless when it runs twice.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('HSETNX', KEYS[1], 'since ' .. ARGV[4], string.format('%.0f', now))
if first == 1 or now % 60 == 0 then
  local all = redis.call('HGETALL', KEYS[1])
  for place = 1, #all, 2 do
    local at = tonumber(string.match(all[place + 1], '^%d+'))
    if string.sub(all[place], 1, 6) ~= 'since ' and at and at < now - tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], all[place])
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
return 1

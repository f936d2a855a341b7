-- admit_visitor(meeting, address; per_meeting, per_address, count) → wait_ms
--
-- KEYS  1, 2 string: the millisecond since 1970 at which the allowance of new visitors is whole
--       again, of the meeting and of one address for this meeting; absent: it is whole
-- ARGV  1, 2 how many are allowed in a minute, 0 for any number; 3 1, or -1 to give one back
--
-- wait_ms  0 and counted in both, or how long until one more is allowed, and counted in neither
--
-- Bursts of up to a minute's worth are allowed. Run twice, it counts twice.

local MINUTE_MS = 60000

local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local whole_at, wait_ms = {}, 0
for i = 1, 2 do
  local limit = tonumber(ARGV[i])
  if limit > 0 then
    local before = math.max(now, tonumber(redis.call('GET', KEYS[i])) or 0)
    whole_at[i] = before + ARGV[3] * MINUTE_MS / limit
    -- A thousandth: sums of sevenths of a minute are not exact.
    wait_ms = math.max(wait_ms, whole_at[i] - now - MINUTE_MS - 0.001)
  end
end
if wait_ms > 0 then return math.ceil(wait_ms) end
for i, at in pairs(whole_at) do
  if at > now then
    redis.call('SET', KEYS[i], string.format('%.3f', at), 'PX', math.ceil(at - now))
  else
    redis.call('DEL', KEYS[i])
  end
end
return 0

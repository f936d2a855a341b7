-- look((epoch, fresh, claims, demand, block, meeting)...)
--   → {now_ms, identity, {epoch, level, backlog, heat, heat_at, oldest_ms, block, digest, target,
--               claimed, pooled, booked} or {problem}...}
--
-- How pools are, at one moment. Reads only. identity is this very server's: an epoch that has
-- it stands, or was sealed here. backlog is the number of claims that the ledger does not have
-- yet; oldest_ms the time the oldest fresh link was made, '' if none; digest and target what
-- the meeting's hash holds, '' where it does not. claimed, pooled and booked are counts since
-- the meeting was first published here; a claim counts when it is answered, whether the
-- ledger has it yet or not. A meeting whose keys cannot be read (one of them is of another type)
-- has its problem instead, and the others are read all the same.

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local found = {now, server_identity()}
local function look(at)
  local demand = redis.call('HMGET', KEYS[at + 3], 'heat', 'at', 'streamed', 'pooled', 'booked')
  local oldest = redis.call('ZRANGE', KEYS[at + 1], 0, 0, 'WITHSCORES')
  local settings = redis.call('HMGET', KEYS[at + 5], 'digest', 'target')
  return {
    redis.call('GET', KEYS[at]) or '', redis.call('ZCARD', KEYS[at + 1]), backlog_of(KEYS[at + 2], KEYS[at + 3]),
    demand[1] or '0', demand[2] or '0', oldest[2] or '', redis.call('GET', KEYS[at + 4]) or '',
    settings[1] or '', settings[2] or '',
    tonumber(demand[3]) or 0, tonumber(demand[4]) or 0, tonumber(demand[5]) or 0,
  }
end
for at = 1, #KEYS, 6 do
  local done, level = pcall(look, at)
  if not done then
    -- Redis 7 raises a table, older ones a text. Other errors concern every meeting.
    local problem = type(level) == 'table' and level.err or tostring(level)
    if not string.find(problem, 'WRONGTYPE', 1, true) then error(level) end
    level = {problem}
  end
  found[#found + 1] = level
end
return found

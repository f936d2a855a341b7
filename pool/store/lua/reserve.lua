-- The reserve, put in front of lua/claim.lua for claims with a public key; together they are the
-- script `public_claim`, with the keys, arguments and answers of `claim`.
--
-- Where the claim script looks for the oldest fresh links, it is shown only as many as stand above
-- the meeting's reserve, in the same step that takes them: however many claims come at once, the
-- last `reserve` links stay. A customer for whom none is left is answered `e`, as for an empty pool,
-- and does not count as demand: programs that pose as visitors must not drive the target up.
-- Claims with an API key run lua/claim.lua without this file, byte for byte.

local server = redis
local redis = setmetatable({}, {__index = server})
local asked, given = 0, 0

function redis.call(command, ...)
  if command == 'ZRANGE' then
    local fresh, first, last = ...
    local reserve = tonumber(server.call('HGET', KEYS[4], 'reserve')) or 0
    local spare = server.call('ZCARD', fresh) - reserve
    local slugs = {}
    if spare > 0 then slugs = server.call(command, fresh, first, math.min(last, spare - 1)) end
    asked, given = last - first + 1, #slugs
    return slugs
  end
  -- What the claim script writes by HSET itself is the heat, which counts all that asked.
  if command == 'HSET' and given < asked then
    if given == 0 then return 0 end
    local demand, heat, warmth, at, now = ...
    warmth = string.format('%.3f', math.max(0, warmth - (asked - given)))
    return server.call(command, demand, heat, warmth, at, now)
  end
  return server.call(command, ...)
end

-- The reserve, put in front of lua/claim.lua for claims with a public key; together they are the
-- script `public_claim`, with the keys, arguments and answers of `claim`.
--
-- Where the claim script looks for the oldest fresh links, it is shown only as many as stand above
-- the meeting's reserve, in the same step that takes them: however many claims come at once, the
-- last `reserve` links stay. A customer for whom none is left is answered `e`, as for an empty pool.
-- Claims with an API key run lua/claim.lua without this file, byte for byte.

local server = redis
local redis = setmetatable({}, {__index = server})

function redis.call(command, ...)
  if command ~= 'ZRANGE' then return server.call(command, ...) end
  local fresh, first, last = ...
  local reserve = tonumber(server.call('HGET', KEYS[4], 'reserve')) or 0
  local spare = server.call('ZCARD', fresh) - reserve
  if spare <= 0 then return {} end
  return server.call(command, fresh, first, math.min(last, spare - 1))
end


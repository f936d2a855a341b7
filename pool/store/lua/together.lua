-- claim_together(of each call its KEYS; calls, of each call its customers, of each call its ARGV)
--   → {of each call its reply}
--
-- Put behind lua/claim.lua, which is the function `claim` here, to serve several pools of one
-- server. Of a call with n customers KEYS has 6 + n, and ARGV has 1 + n. A call that fails leaves
-- the others alone: its reply is its error. But a server that has become a replica is no good for
-- any of them: its error is the whole reply, by which the caller knows to find the new master.

local sections = {}

-- As in lua/fence.lua, but INFO is asked once: no server changes while it runs a script.
info_says = function(section, line)
  sections[section] = sections[section] or redis.call('INFO', section)
  return string.find(sections[section], '\n' .. line .. '\r', 1, true) ~= nil
end

local calls = tonumber(ARGV[1])
local replies, key, arg = {}, 1, 2 + calls
for i = 1, calls do
  local customers = tonumber(ARGV[1 + i])
  local served, reply = pcall(claim, {unpack(KEYS, key, key + 5 + customers)},
    {unpack(ARGV, arg, arg + customers)})
  if not served then
    if type(reply) == 'string' then reply = redis.error_reply(reply) end
    if string.find(reply.err, 'READONLY', 1, true) then return reply end
  end
  replies[i] = reply
  key, arg = key + 6 + customers, arg + 1 + customers
end
return replies

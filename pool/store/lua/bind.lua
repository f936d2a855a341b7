-- bind(epoch, fresh, claims, meeting, demand, binding; echo, epoch, slug, payload)
--   → {echo, status, answer}
--
-- Binds a link made on the spot. KEYS as in claim.lua; ARGV 2 is the epoch that the
-- link's ledger row carries.
--
-- status  ok | fenced | unpublished
-- answer  n<binding> bound now · o<binding> the customer got another link meanwhile, and
--         this one, which nobody has seen, entered the pool · p paused, likewise
--
-- Run twice after a lost reply it answers the same.

local stands, epoch = fence_stands(KEYS[1])
if not stands or epoch ~= ARGV[2] then return {ARGV[1], 'fenced', ''} end
local settings = redis.call('HMGET', KEYS[4], 'paused', 'ttl_ms', 'after_booking')
if not settings[2] then return {ARGV[1], 'unpublished', ''} end

local slug, held = ARGV[3], redis.call('GET', KEYS[6])
if held and bound_slug(held) == slug then return {ARGV[1], 'ok', 'n' .. held} end
local taken = held and not (settings[3] == 'new' and is_consumed(held))
if taken or settings[1] == '1' then
  local clock = redis.call('TIME')
  redis.call('ZADD', KEYS[2], 'NX', clock[1] * 1000 + math.floor(clock[2] / 1000), slug)
  return {ARGV[1], 'ok', taken and ('o' .. held) or 'p'}
end
local id = append_claims(KEYS[3], KEYS[5], {slug}, {ARGV[4]}, 'd', '1')
local binding = 'cd' .. string.match(id, '^%d+') .. ':' .. slug
redis.call('SET', KEYS[6], binding, 'PX', settings[2])
return {ARGV[1], 'ok', 'n' .. binding}

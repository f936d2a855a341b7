-- replace(epoch, fresh, claims, meeting, demand, binding; echo, old, payload, reason, made)
--   → {echo, status, answer}
--
-- A customer who holds a link that the provider burnt gets another one instead. KEYS as in
-- claim.lua; ARGV 2 is the slug of the link that is to go, 3 and 4 are for the recorder, 5 is a
-- link made on the spot for this, '' to take the oldest of the pool.
--
-- status  ok | fenced | unpublished
-- answer  n<binding> bound now · o<binding> the customer holds another link than the old one:
--         it was replaced before · g the customer holds none · x<binding> the old one is booked ·
--         e the pool is empty · p paused
--
-- Run twice after a lost reply it changes nothing the second time. As in claim.lua, all is read
-- before anything is written, and the first write is one that Redis refuses when it must.
-- The stream's entry names the old link in `r`, and why it goes in `w`.

if not fence_stands(KEYS[1]) then return {ARGV[1], 'fenced', ''} end
local settings = redis.call('HMGET', KEYS[4], 'paused', 'ttl_ms')
if not settings[2] then return {ARGV[1], 'unpublished', ''} end

local held = redis.call('GET', KEYS[6])
if not held then return {ARGV[1], 'ok', 'g'} end
if bound_slug(held) ~= ARGV[2] then return {ARGV[1], 'ok', 'o' .. held} end
if is_consumed(held) then return {ARGV[1], 'ok', 'x' .. held} end
if settings[1] == '1' then return {ARGV[1], 'ok', 'p'} end

local slug, head, more = ARGV[5], 'cd', {'r', ARGV[2], 'w', ARGV[4]}
if slug == '' then
  slug, head = redis.call('ZRANGE', KEYS[2], 0, 0)[1], 'cp'
  if not slug then return {ARGV[1], 'ok', 'e'} end
else
  more[5], more[6] = 'd', '1'
end
local id = append_claims(KEYS[3], KEYS[5], {slug}, {ARGV[3]}, unpack(more))
local binding = head .. string.match(id, '^%d+') .. ':' .. slug
redis.call('SET', KEYS[6], binding, 'PX', settings[2])
redis.call('ZREM', KEYS[2], slug)
return {ARGV[1], 'ok', 'n' .. binding}

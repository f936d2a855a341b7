-- redo(fresh, claims, demand, binding...; (binding_value, ttl_ms, payload)...) → conflicts
--
-- An API process asserts again what it answered just before the fence fell. Works while
-- the fence is down. Each claim is bound if nothing else is bound, or only a link that was
-- booked and had been claimed before (where a booking ends a claim, the customer came for
-- another); and always goes to the stream, with its own time in `a`: the recorder is
-- idempotent. conflicts counts the customers who hold another link by now.

local function claimed_ms(binding) return tonumber(string.match(binding, '^..(%d+)')) end

local conflicts = 0
for i = 4, #KEYS do
  local at = (i - 4) * 3
  local binding, slug = ARGV[at + 1], bound_slug(ARGV[at + 1])
  local more = {'a', string.match(binding, '^..(%d+)')}
  if string.sub(binding, 2, 2) == 'd' then
    more[3], more[4] = 'd', '1'
  end
  append_claims(KEYS[2], KEYS[3], {slug}, {ARGV[at + 3]}, unpack(more))
  local held = redis.call('GET', KEYS[i])
  local other = held and bound_slug(held) ~= slug
  if not held or other and is_consumed(held) and claimed_ms(held) < claimed_ms(binding) then
    redis.call('SET', KEYS[i], binding, 'PX', ARGV[at + 2])
  elseif other then
    conflicts = conflicts + 1
  end
  redis.call('ZREM', KEYS[1], slug)
end
return conflicts

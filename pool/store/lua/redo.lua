-- redo(fresh, claims, demand, binding...; (binding_value, ttl_ms, payload)...) → conflicts
--
-- An API process asserts again what it answered just before the fence fell. Works while
-- the fence is down. Of several links of one customer the one that was claimed last counts,
-- as in recovery: an asserted claim is bound if nothing else is, or only what was claimed
-- before it. It always goes to the stream, with its own time in `a`: the recorder is
-- idempotent. conflicts counts the customers who have two links that are not booked.

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
  local later = other and claimed_ms(held) < claimed_ms(binding)
  if not held or later then redis.call('SET', KEYS[i], binding, 'PX', ARGV[at + 2]) end
  if other and not (later and is_consumed(held)) then conflicts = conflicts + 1 end
  redis.call('ZREM', KEYS[1], slug)
end
return conflicts

-- redo(fresh, claims, demand, binding...; (binding_value, ttl_ms, payload)...) → conflicts
--
-- An API process asserts again what it answered just before the fence fell. Works while
-- the fence is down. Each claim is bound if nothing else is bound, and always goes to the
-- stream, with its own time in `a`: the recorder is idempotent. conflicts counts the
-- customers who hold another link by now.

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
  if not held then
    redis.call('SET', KEYS[i], binding, 'PX', ARGV[at + 2])
  elseif bound_slug(held) ~= slug then
    conflicts = conflicts + 1
  end
  redis.call('ZREM', KEYS[1], slug)
end
return conflicts

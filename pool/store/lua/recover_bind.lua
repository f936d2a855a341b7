-- recover_bind(lock, binding...; token, (what, binding_value, ttl_ms)...) → status
--
-- what: bind (ttl_ms 0: for good), or drop (delete the binding if it is that link's).
-- status  ok | lost

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 3
  local what, binding, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if what == 'drop' then
    local held = redis.call('GET', KEYS[i])
    if held and bound_slug(held) == bound_slug(binding) then redis.call('DEL', KEYS[i]) end
  elseif ttl == '0' then
    redis.call('SET', KEYS[i], binding)
  else
    redis.call('SET', KEYS[i], binding, 'PX', ttl)
  end
end
return 'ok'

-- recover_bind(lock, binding prefix; token, lines) → status
--
-- KEYS 2 is what the keys of all bindings of the meeting begin with: a key for each would
-- cost more than all the rest. ARGV 2 has a line for each binding, `name ttl_ms value`:
-- ttl_ms 0 binds for good, `drop` deletes the binding if it is that link's.
-- status  ok | lost

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
for name, ttl, binding in string.gmatch(ARGV[2], '(%S+) (%S+) ([^\n]+)\n') do
  local key = KEYS[2] .. name
  if ttl == 'drop' then
    local held = redis.call('GET', key)
    if held and bound_slug(held) == bound_slug(binding) then redis.call('DEL', key) end
  elseif ttl == '0' then
    redis.call('SET', key, binding)
  else
    redis.call('SET', key, binding, 'PX', ttl)
  end
end
return 'ok'

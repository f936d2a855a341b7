-- mark(fresh, binding; slug, what, binding_value, instead_of) → {was_fresh, changed}
--
-- Makes Redis agree with what the ledger says of a link that was booked, cancelled or
-- forgotten. what: consumed (the binding becomes binding_value and stays for good) or
-- gone (the binding is dropped if it is this link's, so that the next claim starts anew).
-- A binding of another link stays, unless it is that of instead_of, not booked itself.
-- A booked or gone link is never fresh. Doing it again changes nothing.

local was_fresh = redis.call('ZREM', KEYS[1], ARGV[1])
local held = redis.call('GET', KEYS[2])
local same = held and bound_slug(held) == ARGV[1]
local gives_way = held and not is_consumed(held) and bound_slug(held) == ARGV[4]
local changed = 0
if ARGV[2] == 'consumed' then
  if (same and held ~= ARGV[3]) or gives_way or not held then
    redis.call('SET', KEYS[2], ARGV[3])
    changed = 1
  end
elseif same then
  changed = redis.call('DEL', KEYS[2])
end
return {was_fresh, changed}

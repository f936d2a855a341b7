-- take_out(fresh; up_to_ms, limit) → {slug...}
--
-- Takes fresh links made up to a moment ('+inf': any) out of the pool, at most `limit`.

local slugs = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #slugs > 0 then redis.call('ZREM', KEYS[1], unpack(slugs)) end
return slugs

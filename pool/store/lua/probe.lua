-- Runs every command that linkpool needs on a key, once, on keys of its own.
-- KEYS: a string, a hash, a set, a list, a sorted set, a stream; all are deleted at the end.
-- Returns the refused commands and the errors, in turn.
local s, h, m, l, z, x = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local calls = {
  {'SET', s, '1', 'PX', '5000'}, {'GET', s}, {'MGET', s}, {'EXISTS', s}, {'PEXPIRE', s, '5000'},
  {'EXPIREAT', s, '1'}, {'INCRBY', s, '1'}, {'APPEND', s, '1'}, {'UNLINK', s},
  {'HSET', h, 'f', '1'}, {'HSETNX', h, 'f', '1'}, {'HINCRBY', h, 'f', '1'}, {'HGET', h, 'f'},
  {'HMGET', h, 'f'}, {'HGETALL', h}, {'HKEYS', h}, {'HSCAN', h, '0'}, {'HDEL', h, 'f'},
  {'SADD', m, 'a'}, {'SMEMBERS', m}, {'SREM', m, 'a'},
  {'RPUSH', l, 'a'}, {'LPUSH', l, 'a'}, {'LLEN', l}, {'LINDEX', l, '0'}, {'LREM', l, '0', 'b'},
  {'LTRIM', l, '0', '0'}, {'RPOP', l},
  {'ZADD', z, '1', 'a'}, {'ZCARD', z}, {'ZCOUNT', z, '0', '1'}, {'ZMSCORE', z, 'a'},
  {'ZRANGE', z, '0', '-1'}, {'ZRANGEBYSCORE', z, '0', '1'}, {'ZREVRANGEBYSCORE', z, '1', '0'},
  {'ZREM', z, 'a'},
  {'XADD', x, '1-1', 'f', 'v'}, {'XLEN', x}, {'XRANGE', x, '-', '+'}, {'XREVRANGE', x, '+', '-'},
  {'XTRIM', x, 'MAXLEN', '1'}, {'XDEL', x, '1-1'},
  {'TIME'}, {'INFO', 'server'}, {'DEL', s, h, m, l, z, x},
}
local refused = {}
for _, call in ipairs(calls) do
  local ok, reply = pcall(redis.pcall, unpack(call))
  if not ok then
    refused[#refused + 1] = call[1]
    refused[#refused + 1] = tostring(reply)
  elseif type(reply) == 'table' and reply.err then
    refused[#refused + 1] = call[1]
    refused[#refused + 1] = reply.err
  end
end
return refused

-- The claims stream, put in front of every script that appends to it.
--
-- One entry holds all claims that a script call answered; its id tells when. Fields:
--   s  their slugs, the first as it is; of each other one that begins like the first up to
--      its last dash, `~` and the rest, else a space and the whole
--   c  msgpack: an array of their payloads, in the same order
--   n  how many claims had been put into the stream before these, so that the backlog can
--      be told from the oldest entry and the count in the demand hash
--   a  when they were claimed, in ms, if that was not when the entry was written
--   d  1 if the links were made on the spot
--   r  the slug that this one replaces, and why in `w`; such an entry holds one claim

local function packed_slugs(slugs)
  local packed = table.concat(slugs, ' ')
  local stem = string.match(slugs[1], '^.*%-')
  if stem and #slugs > 1 then
    packed = string.gsub(packed, ' ' .. string.gsub(stem, '(%W)', '%%%1'), '~')
  end
  return packed
end

-- Appends claims, further fields behind theirs; the id of the entry.
local function append_claims(claims, demand, slugs, payloads, ...)
  local count = #slugs
  local total = redis.call('HINCRBY', demand, 'streamed', count)
  local array = string.char(220, math.floor(count / 256), count % 256)
  return redis.call('XADD', claims, '*', 's', packed_slugs(slugs),
    'c', array .. table.concat(payloads), 'n', string.format('%.0f', total - count), ...)
end

-- How many claims the stream holds.
local function backlog_of(claims, demand)
  local entries = redis.call('XLEN', claims)
  if entries == 0 then return 0 end
  local fields, before = redis.call('XRANGE', claims, '-', '+', 'COUNT', 1)[1][2], nil
  for i = 1, #fields, 2 do
    if fields[i] == 'n' then before = tonumber(fields[i + 1]) end
  end
  local total = tonumber(redis.call('HGET', demand, 'streamed') or 0)
  return math.max(entries, total - (before or total))
end

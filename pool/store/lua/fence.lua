-- The fence, put in front of every script that hands out or adds links.
--
-- A pool is loaded for one Redis process in one stretch of being master. Every ordinary
-- way for Redis to forget a claim (restart from an older file, restore, failover,
-- fail-back, FLUSHALL) changes run_id or master_replid, or loses the epoch key. Both are
-- read here, by the server that runs the script: an argument would be re-sent unchanged
-- to another server after a reconnect.

local function server_identity()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  return run_id .. ':' .. replid
end

-- Whether the pool behind epoch_key was loaded for this very server; and the epoch.
local function fence_stands(epoch_key)
  local epoch = redis.call('GET', epoch_key)
  if not epoch then return false, '' end
  local identity = server_identity() .. ':'
  return string.sub(epoch, 1, #identity) == identity, epoch
end

-- A binding is `<state><source><claimed_at_ms>:<slug>[:<consumed_at_ms>:<booking_sid>[<booked>]]`;
-- booked is state, starts_at_ms, ends_at_ms, time zone and page of the booking, each after a \31;
-- state c(laimed) or x (consumed), source p(ool) or d(irect).
local function bound_slug(binding)
  return string.match(binding, '^[cx][pd]%d+:([%w_-]+)')
end

local function is_consumed(binding)
  return string.byte(binding, 1) == 120
end

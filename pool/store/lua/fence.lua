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

-- Whether a section of this server's INFO has this line. A plain search for what is expected takes
-- a fraction of the time of a pattern that finds what is there, and every claim waits for it.
local function info_says(section, line)
  return string.find(redis.call('INFO', section), '\n' .. line .. '\r', 1, true) ~= nil
end

-- Whether the pool behind epoch_key was loaded for this very server; and the epoch.
local function fence_stands(epoch_key)
  local epoch = redis.call('GET', epoch_key)
  if not epoch then return false, '' end
  local run_id, replid = string.match(epoch, '^(%w+):(%w+):')
  return run_id ~= nil and info_says('server', 'run_id:' .. run_id)
    and info_says('replication', 'master_replid:' .. replid), epoch
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

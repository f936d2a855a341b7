-- budget(budget; what, first_rate, argument) → {wait_ms, rate}
--
-- The request budget of one workspace, shared by all workers and the direct path.
-- KEYS 1 hash: rate (requests/s), next_at (ms: when the next request may start),
--              ceiling (requests/s at which the provider last said 429; 0 unknown),
--              lowered_at (ms), hits (429s in a row since then), good, bad, good_at
--              (decaying counts of answers that were not 429, and that were; good_at: the
--              last call), failures (in a row)
--
-- what  take       reserve the next request if it may start within `argument` ms;
--                  wait_ms says when, -1 that it may not
--       ok         a request succeeded
--       throttled  429; argument: Retry-After in ms, '' if none came
--       failed     5xx, time-out, unreadable answer
--
-- Finding the rate: doubling every two seconds while nothing is known (what was used of it, by
-- a mean over two, has to keep up); after a 429, a little
-- under what got through, back to it along a cubic that is flat around the ceiling (so
-- that steady state asks for little that is refused), and doubling again once the ceiling
-- has been passed without a 429. Several 429s in a row halve the rate at a time, or quarter it
-- if nothing gets through. While
-- few answers are 429, the rate stays above a fifth of the first one, or 4/s: a provider
-- that refuses at random, whatever the rate, must not silence itself.

local MIN_RATE, MAX_RATE = 0.2, 10000
local PLATEAU_MS = 4000      -- time from a 429 back to the ceiling
local DIP = 0.05             -- how far under the ceiling the rate goes
local GOOD_TAU_MS = 2000
local FLOOR = 0.2           -- of the first rate ...
local FLOOR_RATE = 4        -- ... or so many requests/s, if that is less, while ...
local FEW = 0.15            -- ... no larger share of the answers is 429
local REST_MS = 2000         -- after failures in a row, at most: as many may come at once as
                             -- requests are under way, and a lasting failure is blocked and probed
local MAX_WAIT_MS = 600000   -- no Retry-After silences a workspace for longer

local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local s = redis.call('HMGET', KEYS[1], 'rate', 'next_at', 'ceiling', 'lowered_at', 'hits',
                     'good', 'good_at', 'failures', 'bad')
local rate = tonumber(s[1]) or tonumber(ARGV[2])
local good_at = tonumber(s[7]) or now
-- Every call writes good_at. If it lies ahead, the clock was set back since, and all times
-- go back with it: what was left to wait is left to wait.
local back = math.max(0, good_at - now)
good_at = good_at - back
local next_at = math.min((tonumber(s[2]) or 0) - back, now + MAX_WAIT_MS)
local ceiling, lowered_at = tonumber(s[3]) or 0, math.min((tonumber(s[4]) or 0) - back, now)
local hits, failures = tonumber(s[5]) or 0, tonumber(s[8]) or 0
local decay = math.exp((good_at - now) / GOOD_TAU_MS)
local good, bad = (tonumber(s[6]) or 0) * decay, (tonumber(s[9]) or 0) * decay
local wait = 0

if ARGV[1] == 'take' then
  -- A request that comes late may catch up with two intervals, no more: no bursts.
  local start = math.max(next_at, now - 2000 / rate)
  wait = math.max(0, start - now)
  if wait > tonumber(ARGV[3]) then
    return {-1, tostring(rate)}
  end
  next_at = start + 1000 / rate
elseif ARGV[1] == 'ok' then
  good, failures = good + 1, 0
  local per_second = good * 1000 / GOOD_TAU_MS
  if ceiling > 0 then
    local t = (now - lowered_at - PLATEAU_MS) / PLATEAU_MS
    if t >= 1 then
      ceiling = 0
    else
      rate = ceiling * (1 + DIP * t * t * t)
      hits = 0
    end
  end
  -- Only a rate that is made use of says anything about the next one.
  if ceiling == 0 and per_second > 0.6 * rate then rate = rate + 0.7 end
elseif ARGV[1] == 'throttled' then
  hits, bad = hits + 1, bad + 1
  local through = good * 1000 / GOOD_TAU_MS
  if ceiling == 0 or now - lowered_at > 1000 then
    ceiling = math.max(rate / 2, math.min(rate, through))
    lowered_at, hits = now, 1
  elseif hits >= 3 and now - lowered_at > 300 then
    -- A provider that lets nothing through at all is found out sooner.
    ceiling = ceiling / (through < 0.05 * ceiling and 4 or 2)
    lowered_at, hits = now, 0
  end
  if bad < FEW * (good + bad) then ceiling = math.max(ceiling, math.min(FLOOR_RATE, FLOOR * tonumber(ARGV[2]))) end
  rate = ceiling * (1 - DIP)
  local pause = tonumber(ARGV[3]) or 0
  next_at = math.max(next_at, now + math.max(0, math.min(pause, MAX_WAIT_MS)))
elseif ARGV[1] == 'failed' then
  failures, good = failures + 1, good + 1
  if failures >= 3 then
    next_at = math.max(next_at, now + math.min(REST_MS, 500 * 2 ^ math.min(failures - 3, 10)))
  end
end

rate = math.max(MIN_RATE, math.min(MAX_RATE, rate))
local function number(value) return string.format('%.3f', value) end
redis.call('HSET', KEYS[1], 'rate', number(rate), 'next_at', number(next_at),
  'ceiling', number(ceiling), 'lowered_at', number(lowered_at), 'hits', number(hits),
  'good', number(good), 'bad', number(bad), 'good_at', number(now), 'failures', number(failures))
return {math.ceil(wait), tostring(rate)}

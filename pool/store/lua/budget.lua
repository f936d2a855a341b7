-- budget(budget; what, first_rate, argument) → {wait_ms, rate}
--
-- The request budget of one workspace, shared by all workers and the direct path.
-- KEYS 1 hash: rate (requests/s), next_at (ms: when the next request may start),
--              good, bad, good_at (decaying counts of answers that were not 429, and that
--              were; good_at: the last call), ceiling (requests/s at which the provider last
--              said 429; 0 unknown), lowered_at (ms), seen, seen_bad (answers, and 429s, since
--              the rate was lowered: the sample; 0 and -1 once it was judged), before (share of
--              429s in the sample before), peak (the ceiling that began these samples), share
--              (of the calls that are refused whatever the rate), calm, calm_bad (answers, and
--              429s, below a ceiling), failures (in a row), won, lost (decaying counts of
--              answers, and of the failures between them), before_rate (requests/s of the sample
--              before), found (of these samples: 1 a ceiling began them, 0 chance may have, -1
--              nothing got through), gap (1 if nothing was asked for long)
--
-- what  take       reserve the next request if it may start within `argument` ms;
--                  wait_ms says when, -1 that it may not
--       ok         a request succeeded
--       throttled  429; argument: Retry-After in ms, '' if none came
--       failed     5xx, time-out, unreadable answer
--
-- Finding the rate: doubling every two seconds while nothing is known (what was used of it, by
-- a mean over two, has to keep up); after a 429, a little under what got through, back to it
-- along a cubic that is flat around the ceiling (so that steady state asks for little that is
-- refused), and doubling again once the ceiling has been passed without a 429.
--
-- Telling a ceiling from chance: right after the rate was lowered it is below the ceiling, so
-- that no 429 is due. Those that come all the same are the sample's. If they got fewer, the
-- ceiling had moved further, and the rate follows what gets through. If their share is what it
-- was, backing off wins nothing: other programs use up the same limit, or the provider refuses
-- at random. Their share is then expected, the rate goes back to where it was, and only more
-- 429s than chance explains lower it. Each lowering measures the share anew. Where nearly all is
-- refused, no share is believed: the rate falls until something gets through.
--
-- Telling failures from an outage: a row of failures is one if the share of failures that
-- was usual between successes does not explain it.

local MIN_RATE, MAX_RATE = 0.2, 10000
local PLATEAU_MS = 3500      -- time from a 429 back to the ceiling
local DIP = 0.05             -- how far under the ceiling the rate goes
local MODEST = 0.97          -- of what got through: a burst that was saved up may be part of it
local GROWTH = 0.7           -- requests/s more for each success, which doubles a rate in about a second
local PASSED = 1.8           -- plateaus behind a ceiling, after which there is none
local TAU_MS = 2000
local LAG_MS = 1000          -- answers that come sooner after a change were asked for before it
local FADES = 0.8            -- what is left of a peak at the next one
local FEW, ENOUGH = 12, 20   -- answers in a sample that much has to be wrong in, or anything
local GAP_MS = 10000         -- without calls, after which a sample begins anew: no rate is read off it
local NOTHING = 5            -- answers that are all refused
local MUCH = 0.25            -- a share of 429s above the expected one that a few answers show
local NEARLY_ALL = 0.8       -- a share of 429s that is no neighbour's doing
local LEAST_SHARE = 0.01     -- less is a ceiling now and then
local DOUBTS = 2.5           -- standard deviations that chance explains
local CALM = 200             -- answers over which the expected share is a mean
local REST_MS = 2000         -- after failures in a row, at most: as many may come at once as
                             -- requests are under way, and a lasting failure is blocked and probed
local ODDS = 0.001           -- a row of failures less likely than this is an outage
local MAX_WAIT_MS = 600000   -- no Retry-After silences a workspace for longer

local FIELDS = {'rate', 'next_at', 'ceiling', 'lowered_at', 'seen', 'seen_bad', 'before', 'before_rate', 'peak', 'found',
                'share', 'calm', 'calm_bad', 'good', 'bad', 'good_at', 'failures', 'won', 'lost', 'gap'}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local s = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(FIELDS))) do
  s[FIELDS[i]] = tonumber(value or nil) or 0
end
if s.rate == 0 then s.rate = tonumber(ARGV[2]) end
-- Every call writes good_at. If it lies ahead, the clock was set back since, and all times
-- go back with it: what was left to wait is left to wait.
local back = s.good_at > 0 and math.max(0, s.good_at - now) or 0
s.next_at = math.min(s.next_at - back, now + MAX_WAIT_MS)
s.lowered_at = math.min(s.lowered_at - back, now)
local idle = s.good_at > 0 and now - math.min(s.good_at, now) or 0
local decay = s.good_at > 0 and math.exp((math.min(s.good_at, now) - now) / TAU_MS) or 1
s.good, s.bad, s.good_at = s.good * decay, s.bad * decay, now
local what, wait = ARGV[1], 0
if idle > math.max(GAP_MS, 3000 / s.rate) then s.gap = 1 end
local age = now - s.lowered_at

-- Return how many of `n` calls may be refused before chance no longer explains it.
local function explained(n)
  local spread = n * s.share * (1 - s.share) * (1 + math.min(1, n / math.max(1, s.calm)))
  return n * s.share + DOUBTS * math.sqrt(spread) + (s.share > 0 and 1 or 0)
end

-- Go a little under `ceiling`, and begin a sample there.
local function lower(ceiling)
  ceiling = math.max(MIN_RATE, MODEST * ceiling)
  s.before_rate = s.rate
  s.ceiling, s.rate = ceiling, ceiling * (1 - DIP)
  s.lowered_at, s.seen, s.seen_bad = now, 0, 0
  s.next_at = math.max(s.next_at, now + 1000 / s.rate)
end

-- Take `bad` of `n` calls for what is refused below any ceiling.
local function expect(n, bad)
  local fewer = n * s.share - 2 * math.sqrt(n * s.share * (1 - s.share))
  if bad < fewer then s.calm, s.calm_bad = 0, 0 end -- it is over, or was never so
  local keep = math.min(1, CALM / (s.calm + n))
  s.calm, s.calm_bad = (s.calm + n) * keep, (s.calm_bad + bad) * keep
  s.share = s.calm_bad >= 1.5 and s.calm_bad / s.calm or 0
  if s.share < LEAST_SHARE then s.share = 0 end
  s.seen_bad, s.before = -1, 0
end

-- Go back at once to the ceiling that began these samples: it was left only to measure.
local function back_up()
  s.rate = s.peak
  if s.found > 0 then
    s.ceiling, s.lowered_at = s.peak, now - PLATEAU_MS
  else
    s.ceiling, s.lowered_at = 0, now - (1 + PASSED) * PLATEAU_MS
  end
end

-- Return the share that a ceiling would refuse now, if it refused `before` at `before_rate`.
local function under_a_ceiling()
  return math.max(0, 1 - (1 - s.before) * s.before_rate / s.rate)
end

-- Judge the sample: was the ceiling why calls were refused?
local function judge()
  local share, through = s.seen_bad / s.seen, (s.seen - s.seen_bad) * 1000 / (age - LAG_MS)
  local usual = s.share
  if s.seen_bad <= explained(s.seen) + (usual > 0 and 0 or 1) then
    -- It was: few or none are refused below it.
    expect(s.seen, s.seen_bad)
    if usual > 0 or s.share > 0 then back_up() end
  elseif s.before > 0 and s.seen < ENOUGH and share < NEARLY_ALL then
    return -- not sure enough
  elseif share < NEARLY_ALL and s.before > 0 and share > (s.before + under_a_ceiling()) / 2 then
    s.calm, s.calm_bad = 0, 0
    expect(s.seen, s.seen_bad)
    back_up()
  else
    s.before = share < NEARLY_ALL and share or 0
    lower(math.min(s.rate, through))
  end
end

if what == 'take' then
  -- A request that comes late may catch up with two intervals, no more: no bursts.
  local start = math.max(s.next_at, now - 2000 / s.rate)
  wait = math.max(0, start - now)
  if wait > tonumber(ARGV[3]) then
    return {-1, tostring(s.rate)}
  end
  s.next_at = start + 1000 / s.rate
else
  local refused = what == 'throttled'
  if refused then s.bad = s.bad + 1 else s.good = s.good + 1 end
  local sampling = s.lowered_at > 0 and s.seen_bad >= 0
  if sampling and s.gap > 0 then
    s.seen, s.seen_bad, s.gap = 0, 0, 0
    s.lowered_at, age = now, 0
  end
  if sampling and age > LAG_MS then
    s.seen, s.seen_bad = s.seen + 1, s.seen_bad + (refused and 1 or 0)
  end
  if sampling and s.found < 0 and not refused then
    s.found, s.seen, s.seen_bad = 0, 0, 0 -- it has begun to let calls through again
    s.lowered_at, age = now - LAG_MS, LAG_MS
  end
  local through = s.good * 1000 / TAU_MS
  if sampling and s.seen == s.seen_bad and s.seen >= NOTHING then
    -- A provider that lets nothing through at all is found out soon.
    s.before, s.found = 0, -1
    lower(s.ceiling / 4)
  elseif sampling and (s.seen >= ENOUGH or s.seen >= FEW and s.seen_bad > s.seen * (s.share + MUCH)
                       or age >= PLATEAU_MS and (s.seen >= FEW or s.seen_bad == 0 and s.rate < 1)) then
    judge()
  elseif refused and not sampling
         and (s.bad > explained(s.good + s.bad) or s.share > 0 and s.rate > 2 * s.peak) then
    s.before = 0
    local answers = s.good + s.bad
    if answers < FEW then through = math.max(through, s.rate * s.good / answers) end
    if s.share > 0 then
      -- Where no more is refused than expected, it is only time to measure again.
      s.found = s.bad > explained(s.good + s.bad) and 1 or 0
      s.peak = s.found > 0 and math.min(s.rate, through / (1 - s.share)) or s.rate
      lower(s.found > 0 and math.min(s.rate, through) or s.rate * (1 - s.share))
    else
      s.found = 0
      through = math.max(s.rate / 2, math.min(s.rate, through))
      s.peak = math.max(through, FADES * s.peak)
      lower(through)
    end
  end
  if refused then
    s.next_at = math.max(s.next_at, now + math.max(0, math.min(tonumber(ARGV[3]) or 0, MAX_WAIT_MS)))
  elseif what == 'ok' then
    s.won, s.lost, s.failures = s.won * 0.98 + 1, s.lost * 0.98 + s.failures, 0
  else
    s.failures = s.failures + 1
    local usual = s.lost / (s.won + s.lost + 1)
    local chance = math.max(3, math.ceil(math.log(ODDS) / math.log(math.max(0.0001, math.min(usual, 0.8)))))
    if s.failures >= chance then
      s.next_at = math.max(s.next_at,
        now + math.min(REST_MS, 500 * 2 ^ math.min(s.failures - chance, 10)))
    end
  end
  if what == 'ok' then
    local t = (now - s.lowered_at - PLATEAU_MS) / PLATEAU_MS
    if s.ceiling > 0 and t >= PASSED and s.seen_bad < 0 then s.ceiling = 0 end
    if s.ceiling > 0 and (s.share == 0 or s.seen_bad < 0) then
      s.rate = s.ceiling * (1 + DIP * math.min(t, s.seen_bad < 0 and PASSED or 0) ^ 3)
    end
    -- Only a rate that is made use of says anything about the next one.
    if s.ceiling == 0 and (s.good + s.bad) * 1000 / TAU_MS > 0.6 * s.rate then
      s.rate = s.rate + GROWTH
    end
  end
end

s.rate = math.max(MIN_RATE, math.min(MAX_RATE, s.rate))
local values = {}
for _, name in ipairs(FIELDS) do
  values[#values + 1] = name
  values[#values + 1] = string.format('%.3f', s[name])
end
redis.call('HSET', KEYS[1], unpack(values))
return {math.ceil(wait), tostring(s.rate)}

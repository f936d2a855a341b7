-- claim(epoch, fresh, claims, meeting, demand, nudged, binding...; echo, payload...)
--   → {echo, status, level, nudge, answer...}
--
-- KEYS  1 epoch     string        2 fresh   sorted set    3 claims  stream
--       4 meeting   hash          5 demand  hash          6 nudged  string
--       7… binding  string, one per customer of the batch
-- ARGV  1 echo, returned as it came, so that the caller can prove the answer is its own
--       2… payload, one per customer, written to the stream for the recorder; an empty
--         one: this customer gets no new link (a limit on new bindings is used up)
--
-- status   ok | fenced | unpublished (the meeting's settings are not here)
-- answer   n<binding> bound now · o<binding> bound before · e pool empty · p paused ·
--          l limited
-- nudge    1 when a top-up should be asked for, at most once a second
--
-- One customer may stand several times in a batch and still gets one link. Nothing is
-- written before everything was read, and the first write is one that Redis refuses when
-- it is out of memory or cannot persist: a failed script has changed nothing.

local TAU_MS = 30000
local FIXED = 6

local count = #KEYS - FIXED
if #ARGV ~= count + 1 then return redis.error_reply('ERR claim: one payload per binding') end

if not fence_stands(KEYS[1]) then return {ARGV[1], 'fenced'} end
local settings = redis.call('HMGET', KEYS[4], 'paused', 'ttl_ms', 'after_booking', 'target')
if not settings[2] then return {ARGV[1], 'unpublished'} end
local anew = settings[3] == 'new'

local bindings = redis.call('MGET', unpack(KEYS, FIXED + 1))
local answers, waiting, place, twins = {}, {}, {}, {}
for i = 1, count do
  local held, key = bindings[i], KEYS[FIXED + i]
  if held and not (anew and is_consumed(held)) then
    answers[i] = 'o' .. held
  elseif ARGV[1 + i] == '' then
    answers[i] = 'l'
  elseif place[key] then
    twins[i] = place[key]
  else
    place[key] = i
    waiting[#waiting + 1] = i
  end
end

local level
if #waiting > 0 and settings[1] == '1' then
  for _, i in ipairs(waiting) do answers[i] = 'p' end
elseif #waiting > 0 then
  local slugs = redis.call('ZRANGE', KEYS[2], 0, #waiting - 1)
  local heat = redis.call('HMGET', KEYS[5], 'heat', 'at')
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local payloads = {}
  for j, i in ipairs(waiting) do
    if slugs[j] then payloads[j] = ARGV[1 + i] else answers[i] = 'e' end
  end
  if #slugs > 0 then
    local id = append_claims(KEYS[3], KEYS[5], slugs, payloads)
    local head = 'cp' .. string.match(id, '^%d+') .. ':'
    for j, slug in ipairs(slugs) do
      local i, binding = waiting[j], head .. slug
      redis.call('SET', KEYS[FIXED + i], binding, 'PX', settings[2])
      answers[i] = 'n' .. binding
    end
    redis.call('ZREM', KEYS[2], unpack(slugs))
  end
  local past = math.max(0, now - (tonumber(heat[2]) or now))
  local warmth = (tonumber(heat[1]) or 0) * math.exp(-past / TAU_MS) + #waiting
  redis.call('HSET', KEYS[5], 'heat', string.format('%.3f', warmth), 'at', string.format('%.0f', now))
end
for i, first in pairs(twins) do
  local answer = answers[first]
  if string.byte(answer, 1) == 110 then answer = 'o' .. string.sub(answer, 2) end
  answers[i] = answer
end

level = redis.call('ZCARD', KEYS[2])
local nudge = 0
if #waiting > 0 and level < (tonumber(settings[4]) or 0)
    and redis.call('SET', KEYS[6], '1', 'NX', 'PX', 1000) then
  nudge = 1
end
return {ARGV[1], 'ok', level, nudge, unpack(answers)}

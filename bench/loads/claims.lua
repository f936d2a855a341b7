-- wrk -s claims.lua URL -- TEMPLATE_FILE RUN [CUSTOMERS [MEETINGS]]
--
-- Sends the request in TEMPLATE_FILE with a new customer id each time: six characters of
-- RUN, the thread, a counter. With CUSTOMERS above 0 the counter starts anew after that
-- many. With MEETINGS above 0, MTNG00 in the request is one of m00000 to m<MEETINGS - 1>,
-- in turn. Writes what it saw as one line of JSON.

local CUSTOMER, MEETING = 'CUSTOMER-ID-CUSTOMER-ID-', 'MTNG00'
local threads = 0

function setup(thread)
  thread:set('number', threads)
  threads = threads + 1
end

function init(args)
  local file = assert(io.open(args[1], 'rb'))
  local template = file:read('*a')
  file:close()
  parts, from = {}, 1
  while true do
    local first, last = string.find(template, CUSTOMER, from, true)
    parts[#parts + 1] = string.sub(template, from, first and first - 1)
    if not first then break end
    from = last + 1
  end
  prefix = string.format('%-6.6s%02d', args[2], number)
  customers, meetings, counter = tonumber(args[3] or 0), tonumber(args[4] or 0), 0
end

function request()
  local id = prefix .. string.format('%016d', counter)
  local text = table.concat(parts, id)
  if meetings > 0 then
    text = string.gsub(text, MEETING, string.format('m%05d', (counter * 7919) % meetings), 1)
  end
  counter = counter + 1
  if customers > 0 and counter >= customers then counter = 0 end
  return text
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests": %d, "seconds": %.6f, "bad_status": %d, "broken": %d, "timeouts": %d, '
    .. '"p50_ms": %.4f, "p99_ms": %.4f, "p999_ms": %.4f, "max_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    latency:percentile(99.9) / 1000, latency.max / 1000))
end

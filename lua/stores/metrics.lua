--- The figures of all stores in the text format of Prometheus.

local Store = require('stores.store')

local metrics = {}

-- Figures that go up and down; all others only count.
local GAUGES = { ops = true, transactions = true, pool_size = true, pool_connecting = true,
  pool_idle = true, pool_reading = true, pool_stalled = true, pool_writing = true,
  pool_checked_out = true, pool_waiters = true, listeners = true, listeners_deaf = true,
  redis_up = true, redis_nodes = true, redis_pending = true }

local function number(value)
  return value == math.huge and '+Inf' or ('%.14g'):format(value)
end

local function add_latency(lines, label, latency)
  for verb, histogram in pairs(latency) do
    if histogram.count > 0 then
      local below = 0
      for _, bucket in ipairs(histogram) do
        below = below + bucket.count
        lines[#lines + 1] = ('stores_call_seconds_bucket{%s,verb="%s",le="%s"} %s'):format(label,
          verb, number(bucket.le or math.huge), number(below))
      end
      lines[#lines + 1] = ('stores_call_seconds_sum{%s,verb="%s"} %s'):format(label, verb,
        number(histogram.sum))
      lines[#lines + 1] = ('stores_call_seconds_count{%s,verb="%s"} %s'):format(label, verb,
        number(histogram.count))
    end
  end
end

--- The figures of every open store of this Lua state, in the text format of Prometheus 0.0.4.
---@return string
function metrics.text()
  local names, values, lines = {}, {}, {}
  for store, at in pairs(Store.open_stores) do
    local label = ('store="%d"'):format(at)
    local stats = store:stats()
    for name, value in pairs(stats) do
      if type(value) == 'number' then
        if not values[name] then
          values[name] = {}
          names[#names + 1] = name
        end
        table.insert(values[name], ('%s{%s} %s'):format(
          'stores_' .. name .. (GAUGES[name] and '' or '_total'), label, number(value)))
      end
    end
    values.latency = values.latency or {}
    add_latency(values.latency, label, stats.latency)
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local gauge = GAUGES[name]
    lines[#lines + 1] = ('# TYPE stores_%s %s'):format(gauge and name or name .. '_total',
      gauge and 'gauge' or 'counter')
    table.sort(values[name])
    for _, line in ipairs(values[name]) do lines[#lines + 1] = line end
  end
  if values.latency and values.latency[1] then
    lines[#lines + 1] = '# TYPE stores_call_seconds histogram'
    for _, line in ipairs(values.latency) do lines[#lines + 1] = line end
  end
  return table.concat(lines, '\n') .. '\n'
end

return metrics

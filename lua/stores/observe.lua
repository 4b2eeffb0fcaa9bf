--- What calls do, for those who watch: stores.on('call', fn), stores.on('slow', fn, opts),
--- stores.on('statement', fn), and the figures of all stores in the text format of Prometheus.
--- Nothing is measured for hooks, and no verb is wrapped, before the first one is set.

local core = require('stores.core')
local errors = require('stores.errors')
local optimistic = require('stores.optimistic')
local Store = require('stores.store')
local wait = require('stores.wait')

local observe = {}

local VERBS = { 'find', 'exists', 'findAll', 'findAllByIds', 'findByJSON', 'findOne', 'count',
  'findByJsonArrayContains', 'findByJsonSubContains', 'findByPath', 'insert', 'update', 'upsert',
  'updateProperty', 'patch', 'delete', 'updateObject', 'query', 'transaction', 'invalidate',
  'notify', 'sweep' }
local NO_TABLE = { query = true, transaction = true, notify = true, sweep = true }
local SOURCES = { c = 'cache', p = 'postgres' }

local hooks = { call = {}, slow = {}, statement = {} }
local records = setmetatable({}, { __mode = 'k' }) -- coroutine -> the call that it makes
local running = coroutine.running

-- Adds what the call whose result was just taken has spent to the verb that made it.
local function add_times(hub)
  local record = records[running() or records]
  if not record then return end
  local queue, connect, redis, postgres, decode, source, retries = hub:times()
  if not queue then return end -- it slept
  record.queue, record.connect = record.queue + queue, record.connect + connect
  record.redis, record.postgres = record.redis + redis, record.postgres + postgres
  record.decode = record.decode + decode
  record.retries = record.retries + retries
  record.source = SOURCES[source] or record.source
  record.round_trips = record.round_trips + 1
end

local function emit(event)
  for _, hook in ipairs(hooks.call) do hook.fn(event) end
  for _, hook in ipairs(hooks.slow) do
    if event.seconds >= hook.seconds then hook.fn(event) end
  end
end

local function finish(store, verb, name, record, began, ok, ...)
  record.verb, record.table, record.shard = verb, name, store.shard
  record.seconds = store.hub:now() - began
  if not ok then record.error = (...) end
  emit(record)
  if not ok then error((...), 0) end
  return ...
end

-- The caller's function, counted: each run but the first one is a retry.
local function counted(record, fn)
  if type(fn) ~= 'function' then return fn end
  local ran = false
  local function counting(...)
    if ran then record.retries = record.retries + 1 end
    ran = true
    return fn(...)
  end
  optimistic.stand_for(counting, fn)
  return counting
end

-- The arguments of a verb; those of the two that run a function have it counted.
local function arguments(record, verb, name, ...)
  if verb == 'transaction' then return counted(record, name), ... end
  if verb ~= 'updateObject' then return name, ... end
  local id, fn, opts = ...
  return name, id, counted(record, fn), opts
end

local function watched(verb, fn)
  return function(store, name, ...)
    local key = running() or records
    -- a verb that another one calls is part of it
    if records[key] or type(store) ~= 'table' or not store.engine then
      return fn(store, name, ...)
    end
    local record = { queue = 0, connect = 0, redis = 0, postgres = 0, decode = 0,
      round_trips = 0, retries = 0 }
    records[key] = record
    local began = store.hub:now()
    local function done(...)
      records[key] = nil
      return finish(store, verb, not NO_TABLE[verb] and name or nil, record, began, ...)
    end
    return done(pcall(fn, store, arguments(record, verb, name, ...)))
  end
end

local watching = false

local function watch()
  if watching then return end
  watching = true
  wait.observer = add_times
  wait.host.hub():time_calls(true)
  for _, verb in ipairs(VERBS) do Store[verb] = watched(verb, Store[verb]) end
end

-- Engines tell of statements while somebody listens, and only then.
local function watch_statements(on)
  core.watch_statements(wait.host.hub(), on and function(event)
    for _, hook in ipairs(hooks.statement) do hook.fn(event) end
  end or nil)
end

--- Calls fn(event) after every call of a store ('call'), or after those that took at least some
--- seconds ('slow', {seconds = 0.1}). The event: verb, table, shard, source ('cache', 'postgres'),
--- round_trips, retries, seconds, and of these queue, connect, redis, postgres, decode; error where
--- it raised.
--- 'statement': after every statement that PostgreSQL answered. The event: sql, rows, connection,
--- shard, seconds, and of these queue, postgres; code and sqlstate where it failed.
---@param what 'call'|'slow'|'statement'
---@param fn fun(event: table)
---@param opts? {seconds: number} of 'slow'
---@return fun() off takes the hook away again
function observe.on(what, fn, opts)
  local list = hooks[what]
  if not list then
    errors.raise('invalid_argument', ("there is no hook '%s': call, slow and statement are known")
      :format(tostring(what)))
  end
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', 'a hook is a function, got ' .. errors.kind(fn))
  end
  local seconds = opts and opts.seconds or 0.1
  if type(seconds) ~= 'number' then
    errors.raise('invalid_option', 'seconds must be a number, got ' .. errors.kind(seconds))
  end
  local hook = { fn = fn, seconds = seconds }
  list[#list + 1] = hook
  if what ~= 'statement' then
    watch()
  elseif #list == 1 then
    watch_statements(true)
  end
  return function()
    for i = #list, 1, -1 do
      if list[i] == hook then table.remove(list, i) end
    end
    if what == 'statement' and #list == 0 then watch_statements(false) end
  end
end

-- ---- Prometheus ---

-- Figures that go up and down; all others only count.
local GAUGES = { ops = true, transactions = true, pool_size = true, pool_connecting = true,
  pool_idle = true, pool_reading = true, pool_writing = true, pool_checked_out = true,
  pool_waiters = true, redis_up = true, redis_pending = true }

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
function observe.metrics()
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

return observe

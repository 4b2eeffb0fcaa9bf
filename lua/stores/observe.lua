--- What calls do, for those who watch: stores.on('call', fn), stores.on('slow', fn, opts),
--- stores.on('statement', fn), and the figures of all stores in the text format of Prometheus.
--- Nothing is measured for hooks, and no verb is wrapped, before the first one is set.

local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local optimistic = require('stores.updates.optimistic')
local Store = require('stores.store')
local wait = require('stores.wait')

local observe = {}

local VERBS = { 'find', 'exists', 'findAll', 'findAllByIds', 'findByJSON', 'findOne', 'count',
  'findByJsonArrayContains', 'findByJsonSubContains', 'findByPath', 'insert', 'update', 'upsert',
  'updateProperty', 'patch', 'delete', 'updateObject', 'query', 'transaction', 'invalidate',
  'notify', 'sweep' }
local NO_TABLE = { query = true, transaction = true, notify = true, sweep = true }
local SOURCES = { c = 'cache', p = 'postgres' }

-- A list is never changed, but another one takes its place: one that is being told goes on.
local hooks = { call = {}, slow = {}, statement = {} }

---@class stores.Watched : stores.Frame the verb that a coroutine runs
---@field event table

-- What the verb that runs here is told of; nil: none does.
local function mine()
  local frame = frames.mine()
  while frame and not frame.event do frame = frame.outer end
  return frame and frame.event
end

-- Adds what the call whose result was just taken has spent to the verb that made it.
local function add_times(hub)
  local record = mine()
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

-- A hook that fails changes nothing of the call, which has ended already.
local function tell(hook, event)
  if hook.is_off then return end
  local ok, err = pcall(hook.fn, event)
  if not ok then
    wait.report('a hook of stores.on failed: ' .. tostring(err))
  end
end

local function emit(event)
  for _, hook in ipairs(hooks.call) do tell(hook, event) end
  for _, hook in ipairs(hooks.slow) do
    if event.seconds >= hook.seconds then tell(hook, event) end
  end
end

local function emit_statement(event)
  for _, hook in ipairs(hooks.statement) do tell(hook, event) end
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

local function told(store, verb, name, record, began, ok, ...)
  record.verb, record.table, record.shard = verb, name, store.shard
  record.seconds = store.hub:now() - began
  if not ok then record.error = (...) end
  emit(record) -- in the frame: what a hook calls is not told to hooks
  return ok, ...
end

local function pass_on(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

local function run_told(fn, store, verb, record, name, ...)
  local began = store.hub:now()
  return told(store, verb, not NO_TABLE[verb] and name or nil, record, began,
    pcall(fn, store, arguments(record, verb, name, ...)))
end

local function watched(verb, fn)
  return function(store, name, ...)
    -- a verb that another one calls is part of it
    if type(store) ~= 'table' or not store.engine or mine() then return fn(store, name, ...) end
    local record = { queue = 0, connect = 0, redis = 0, postgres = 0, decode = 0,
      round_trips = 0, retries = 0 }
    return pass_on(frames.run(store.hub, { event = record }, run_told, fn, store, verb, record,
      name, ...))
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
  core.watch_statements(wait.host.hub(), on and emit_statement or nil)
end

local OPTIONS = { call = {}, slow = { seconds = true }, statement = {} }

local function check_options(what, opts)
  if opts == nil then return end
  if type(opts) ~= 'table' then
    errors.raise('invalid_option', 'the options of stores.on must be a table, got '
      .. errors.kind(opts))
  end
  for key in pairs(opts) do
    if not OPTIONS[what][key] then
      errors.raise('invalid_option', ("a hook of '%s' has no option '%s'%s"):format(what,
        tostring(key), what == 'slow' and '; it takes seconds' or ''))
    end
  end
  local seconds = opts.seconds
  if seconds ~= nil and not (type(seconds) == 'number' and seconds >= 0) then
    errors.raise('invalid_option', 'seconds must be a number from 0 on, got '
      .. (type(seconds) == 'number' and tostring(seconds) or errors.kind(seconds)))
  end
end

local function without(list, hook)
  local others = {}
  for _, one in ipairs(list) do
    if one ~= hook then others[#others + 1] = one end
  end
  return others
end

--- Calls fn(event) after every call of a store ('call'), or after those that took at least some
--- seconds ('slow', {seconds = 0.1}). The event: verb, table, shard, source ('cache', 'postgres'),
--- round_trips, retries, seconds, and of these queue, connect, redis, postgres, decode; error where
--- it raised. What a hook calls itself is not told; an error of a hook is reported, and changes
--- nothing.
--- 'statement': after every statement that PostgreSQL answered. The event: sql, rows, connection,
--- shard, seconds, and of these queue, postgres; code and sqlstate where it failed.
---@param what 'call'|'slow'|'statement'
---@param fn fun(event: table)
---@param opts? {seconds: number} of 'slow'
---@return fun() off takes the hook away again
function observe.on(what, fn, opts)
  if not hooks[what] then
    errors.raise('invalid_argument', ("there is no hook '%s': call, slow and statement are known")
      :format(tostring(what)))
  end
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', 'a hook is a function, got ' .. errors.kind(fn))
  end
  check_options(what, opts)
  local hook = { fn = fn, seconds = opts and opts.seconds or 0.1, is_off = false }
  hooks[what] = without(hooks[what], nil)
  table.insert(hooks[what], hook)
  if what ~= 'statement' then
    watch()
  elseif #hooks.statement == 1 then
    watch_statements(true)
  end
  return function()
    if hook.is_off then return end
    hook.is_off = true
    hooks[what] = without(hooks[what], hook)
    if what == 'statement' and #hooks.statement == 0 then watch_statements(false) end
  end
end

-- ---- Prometheus ---

-- Figures that go up and down; all others only count.
local GAUGES = { ops = true, transactions = true, pool_size = true, pool_connecting = true,
  pool_idle = true, pool_reading = true, pool_stalled = true, pool_writing = true,
  pool_checked_out = true, pool_waiters = true, listeners = true, listeners_deaf = true,
  redis_up = true, redis_pending = true }

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

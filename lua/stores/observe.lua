--- What calls do, for those who watch: stores.on('call', fn), stores.on('slow', fn, opts),
--- stores.on('statement', fn). Nothing is measured for hooks, and no verb is wrapped, before the
--- first one is set.

local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local quick = require('stores.updates.quick')
local selects = require('stores.verbs.select')
local Store = require('stores.store')
local verbs = require('stores.verbs.list').verbs
local wait = require('stores.wait')
local wraps = require('stores.hosts.wraps')

local observe = {}

-- What a call of a verb is told as: where in its arguments its function stands, and whether the
-- first one is a table.
local told_verbs = {}
for _, row in ipairs(verbs) do
  if (row.on == 'store' or row.on == 'both') and not row.untold then
    local told = { name = row.name, has_table = false, runs = nil }
    for place, argument in ipairs(row.takes) do
      if argument.name == 'table' then told.has_table = true end
      if argument.name == 'fn' then told.runs = place end
    end
    told_verbs[#told_verbs + 1] = told
  end
end

local SOURCES = { c = 'cache', p = 'postgres' }

-- A list is never changed, but another one takes its place: one that is being told goes on.
local hooks = { call = {}, slow = {}, statement = {} }

---@class stores.CallEvent what a hook of 'call' or 'slow' is told
---@field verb string
---@field table? string
---@field shard? integer
---@field source? 'cache'|'postgres' where the answer came from
---@field round_trips integer
---@field retries integer how often its function, its statement or its segment ran again
---@field seconds number
---@field queue number of these: until it had a connection
---@field connect number
---@field redis number
---@field postgres number
---@field decode number
---@field error? any what the call raised

---@class stores.StatementEvent what a hook of 'statement' is told
---@field sql string as it was sent, without the values of its parameters
---@field rows integer given, or else changed
---@field connection integer the statements of a transaction have one
---@field shard? integer
---@field seconds number
---@field queue number of these: while statements before it on its connection were answered
---@field postgres number
---@field code? string where it failed
---@field sqlstate? string

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
    wait.report('a hook of stores.on failed: ' .. errors.text(err))
  end
end

local function emit(event)
  for _, hook in ipairs(hooks.call) do tell(hook, event) end
  for _, hook in ipairs(hooks.slow) do
    if event.seconds >= hook.seconds then tell(hook, event) end
  end
end

local is_telling, was_nested = false, false

-- A statement of the hook itself is not told to it: that one would have another.
local function emit_statement(event)
  if is_telling then
    was_nested = true
    return
  end
  is_telling, was_nested = true, false
  for _, hook in ipairs(hooks.statement) do
    tell(hook, event)
    if was_nested and not hook.was_named then
      hook.was_named = true
      wait.report("a hook of 'statement' calls a store, which it must not: it keeps the loop from "
        .. 'turning; let it leave what it heard to a coroutine')
    end
  end
  is_telling = false
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
  quick.stand_for(counting, fn)
  return counting
end

wraps.unpin(function() counted({}, tostring) end)

-- The arguments of a verb; where it runs a function, that is counted.
local function arguments(record, runs, first, ...)
  if not runs then return first, ... end
  if runs == 1 then return counted(record, first), ... end
  local list_of_them = { ... }
  list_of_them[runs - 1] = counted(record, list_of_them[runs - 1])
  return first, unpack(list_of_them, 1, select('#', ...))
end

local function tell_all(store, verb, name, record, began, ok, ...)
  record.verb, record.table, record.shard = verb.name, verb.has_table and name or nil, store.shard
  record.seconds = store.hub:now() - began
  if not ok then record.error = (...) end
  emit(record) -- in the frame: what a hook calls is not told to hooks
  return ok, ...
end

local function pass_on(ok, ...)
  if not ok then errors.throw((...)) end
  return ...
end

local function run_told(fn, store, verb, record, name, ...)
  local began = store.hub:now()
  return tell_all(store, verb, name, record, began,
    pcall(fn, store, arguments(record, verb.runs, name, ...)))
end

local function watched(verb, fn)
  return function(store, name, ...)
    -- a verb that another one calls is part of it
    local is_open = type(store) == 'table' and store.closed == false
    if not is_open or mine() then return fn(store, name, ...) end
    local record = { queue = 0, connect = 0, redis = 0, postgres = 0, decode = 0,
      round_trips = 0, retries = 0 }
    return pass_on(frames.run(store.hub, { event = record }, run_told, fn, store, verb, record,
      name, ...))
  end
end

local timed = false -- calls are
local watched_hub -- that does what the hooks need

-- Engines tell of statements while somebody listens, and only then.
local function watch_statements(hub)
  core.watch_statements(hub, hooks.statement[1] and emit_statement or nil)
end

local function watch_hub(hub)
  if hub == watched_hub then return end
  watch_statements(hub)
  if timed then hub:time_calls(true) end
  watched_hub = hub
end

-- What is set here holds for stores that are made later, too: a hook may be the first of all, in
-- nginx also before there are workers.
local function watch()
  wait.watch = watch_hub
  if wait.host.in_use() then watch_hub(wait.host.hub()) end
end

local function watch_calls()
  if timed then return end
  timed, watched_hub = true, nil
  wait.observe(add_times)
  for _, verb in ipairs(told_verbs) do
    Store[verb.name] = watched(verb, Store[verb.name])
    selects.told[verb.name] = watched(verb, selects.run)
  end
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
---@param fn fun(event: stores.CallEvent|stores.StatementEvent)
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
    watch_calls()
  elseif #hooks.statement == 1 then
    watched_hub = nil
  end
  watch()
  return function()
    if hook.is_off then return end
    hook.is_off = true
    hooks[what] = without(hooks[what], hook)
    if what ~= 'statement' or #hooks.statement > 0 then return end
    watched_hub = nil
    watch()
  end
end

return observe

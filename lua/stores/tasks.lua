--- Coroutines side by side: run, spawn, all, map, sleep, wrap. A task's error is never swallowed:
--- who joins it gets it, and run raises it where nobody did.

local errors = require('stores.errors')
local json = require('stores.json')
local wait = require('stores.wait')
local wraps = require('stores.hosts.wraps')

local tasks = {}

---@class stores.Task
---@field done boolean
local Task = {}
Task.__index = Task

-- The tasks that run, and how many they are; a host may drop a coroutine, and its task with it.
local alive, live = setmetatable({}, { __mode = 'k' }), 0
local loops = 0 -- how many runs turn the host's loop: one, or one and those that it refuses
local failed, failures = {}, 0 -- the tasks whose error nobody has got yet -> their order

local NOTHING = { n = 0 }

local function pack(...)
  local n = select('#', ...)
  return n == 0 and NOTHING or { n = n, ... }
end

local function finish(task, ok, ...)
  task.done, task.ok, task.results = true, ok, pack(...)
  if alive[task] then alive[task], live = nil, live - 1 end
  local joiners = task.joiners
  if not ok and not joiners and not task.is_awaited then
    if loops == 0 and wait.host.report then
      -- no stores.run is there to raise it, and nobody may ever join
      wait.host.report(task.results[1])
    else
      failures = failures + 1
      failed[task] = failures
    end
  end
  for i = 1, joiners and #joiners or 0 do wait.host.unpark(joiners[i]) end
end

-- What the host refused to run, or could not run to its end: nobody waits for it any more.
local function give_up(task)
  task.is_canceled = true
  if loops == 0 then
    alive, live = setmetatable({}, { __mode = 'k' }), 0
  elseif alive[task] then
    alive[task], live = nil, live - 1
  end
end

-- The first task that failed and that nobody joined; the others are forgotten with it.
local function take_failed()
  local first
  for task, order in pairs(failed) do
    if not first or order < failed[first] then first = task end
  end
  failed, failures = {}, 0
  return first
end

local function check_function(fn, what)
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', what .. ' takes a function, got ' .. errors.kind(fn))
  end
end

-- Raises where no coroutine can be left to wait for another one.
local function check_parks()
  if not wait.host.parks() then wraps.refuse_c_call() end
end

-- Each variable of the outer function that such a one knows is an object of the collector's: one
-- without arguments, as most are, has two of them in place of five.
local function body(task, fn)
  return function()
    if not task.is_canceled then finish(task, pcall(fn)) end
  end
end
wraps.unpin(body)

-- args: of several arguments; false: there is the one.
local function body_with(task, fn, args, count, one)
  return function()
    if task.is_canceled then return end
    if args then return finish(task, pcall(fn, unpack(args, 1, count))) end
    finish(task, pcall(fn, one))
  end
end
wraps.unpin(body_with)

local function start_by(spawn, fn, ...)
  local count = select('#', ...)
  -- with all its fields: a table that grows is made again each time
  local task = setmetatable({ done = false, ok = false, results = false, joiners = false,
    co = false, is_awaited = false, is_canceled = false }, Task)
  alive[task], live = true, live + 1
  task.co = spawn(count == 0 and body(task, fn)
    or body_with(task, fn, count > 1 and { ... }, count, (...)))
  return task
end

local function start(fn, ...)
  return start_by(wait.host.spawn, fn, ...)
end

--- Waits for the task and returns what its function returned; raises what it raised.
---@return any ...
function Task:join()
  if not self.done then
    local co = wait.host.task()
    if not co then return tasks.run(Task.join, self) end
    check_parks()
    if co == self.co then
      errors.raise('self_deadlock', 'a task that joins itself would wait for its own end')
    end
    self.joiners = self.joiners or {}
    self.joiners[#self.joiners + 1] = co
    while not self.done do wait.host.park() end
  end
  failed[self] = nil
  if not self.ok then errors.throw(self.results[1]) end
  return unpack(self.results, 1, self.results.n)
end

-- No closure: what LuaJIT has compiled keeps the functions that it calls, and it would be kept with
-- its task.
local function is_over(task)
  return task.done and (live == 0 or next(alive) == nil)
end

--- Runs a function in a coroutine, where calls wait without blocking the others, and returns what
--- it returns when it and all that it spawned have ended. Inside of run it just calls the function.
---@param fn function
---@param ... any arguments of fn
---@return any ...
function tasks.run(fn, ...)
  check_function(fn, 'stores.run')
  if wait.host.task() then return fn(...) end
  local task = start(fn, ...)
  task.is_awaited = true
  loops = loops + 1
  local ok, err = pcall(wait.host.turn_until, is_over, task)
  loops = loops - 1
  if ok and not task.done then
    ok, err = false, errors.new('internal',
      'every coroutine has ended, and what was waited for did not happen')
  end
  if not ok then
    give_up(task)
    errors.throw(err)
  end
  local lost = take_failed()
  if not task.ok then lost = task end
  if lost then errors.throw(lost.results[1]) end
  return unpack(task.results, 1, task.results.n)
end

--- Starts a function as a coroutine of its own and returns its task; task:join() waits for it.
---@param fn function
---@param ... any arguments of fn
---@return stores.Task
function tasks.spawn(fn, ...)
  check_function(fn, 'stores.spawn')
  return start(fn, ...)
end

--- Starts a function that belongs to the process: it outlives the request that starts it.
---@param fn function
---@return stores.Task
function tasks.spawn_lasting(fn)
  return start_by(wait.host.spawn_lasting or wait.host.spawn, fn)
end

local function start_awaited(fn, ...)
  local task = start(fn, ...)
  task.is_awaited = true
  return task
end

local function join_all(list, count)
  local results, failure = json.array(), nil
  for i = 1, count do
    local ok, value = pcall(Task.join, list[i])
    if ok then results[i] = value else failure = failure or { value } end
  end
  if failure then errors.throw(failure[1]) end
  return results
end

local function run_all(fns)
  local list = {}
  for i = 1, #fns do list[i] = start_awaited(fns[i]) end
  return join_all(list, #fns)
end

local function check_array(list, message)
  for key in pairs(list) do
    if type(key) ~= 'number' or key < 1 or key > #list then
      errors.raise('invalid_argument', message)
    end
  end
end

--- Runs functions side by side and returns the array of their first results, when all have ended;
--- raises the first error in their order.
---@param fns function[]
---@return any[]
function tasks.all(fns)
  if type(fns) ~= 'table' then
    errors.raise('invalid_argument', 'stores.all takes an array of functions, got '
      .. errors.kind(fns))
  end
  check_array(fns, 'stores.all takes an array of functions without gaps')
  for i = 1, #fns do check_function(fns[i], 'stores.all') end
  if wait.host.task() then check_parks() end
  return tasks.run(run_all, fns)
end

-- One of those that work on a list together.
local function work(all)
  local list, fn = all.list, all.fn
  while all.position < #list and all.failure == nil do
    all.position = all.position + 1
    local at = all.position
    local ok, value = pcall(fn, list[at], at)
    if ok then
      all.results[at] = value
    elseif all.failure == nil then
      all.failure = { value }
    end
  end
end

local function run_map(list, fn, concurrency)
  local all = { list = list, fn = fn, position = 0, results = json.array(), failure = nil }
  local workers = {}
  for i = 1, math.min(concurrency, #list) do workers[i] = start_awaited(work, all) end
  join_all(workers, #workers)
  if all.failure then errors.throw(all.failure[1]) end
  return all.results
end

--- Calls fn(value, index) for each value of a list, side by side, and returns the array of results
--- in the order of the list; raises the first error, after those under way have ended.
---@generic T
---@param list T[]
---@param fn fun(value: T, index: integer): any
---@param opts? {concurrency?: integer} how many at once; all of them where it is left out
---@return any[]
function tasks.map(list, fn, opts)
  check_function(fn, 'stores.map')
  if type(list) ~= 'table' then
    errors.raise('invalid_argument', 'stores.map takes an array, got ' .. errors.kind(list))
  end
  check_array(list, 'stores.map takes an array without gaps')
  if opts ~= nil and type(opts) ~= 'table' then
    errors.raise('invalid_option', 'the options of stores.map must be a table, got '
      .. errors.kind(opts))
  end
  for key in pairs(opts or {}) do
    if key ~= 'concurrency' then
      errors.raise('invalid_option', ("stores.map has no option '%s'; it takes concurrency")
        :format(tostring(key)))
    end
  end
  local concurrency = opts and opts.concurrency or #list
  if type(concurrency) ~= 'number' or (concurrency < 1 and #list > 0) or concurrency % 1 ~= 0 then
    errors.raise('invalid_option', 'concurrency must be a whole number from 1 on')
  end
  if wait.host.task() then check_parks() end
  return tasks.run(run_map, list, fn, concurrency)
end

--- Waits for some seconds; other coroutines run meanwhile.
---@param seconds number
function tasks.sleep(seconds)
  if type(seconds) ~= 'number' or seconds ~= seconds or seconds < 0 or seconds > 1e9 then
    errors.raise('invalid_argument', 'stores.sleep takes seconds, from 0 on')
  end
  local hub = wait.host.hub()
  wait.host.check()
  return wait.slot(hub, hub:sleep(seconds)) and nil
end

--- coroutine.wrap for functions that call a store: its waits go through to who calls it.
---@param fn function
---@return function
function tasks.wrap(fn)
  check_function(fn, 'stores.wrap')
  return wait.host.wrap(fn)
end

return tasks

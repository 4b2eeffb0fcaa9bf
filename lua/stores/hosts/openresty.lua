--- The host of nginx with lua-nginx-module, chosen by itself there. nginx has no wait for a foreign
--- descriptor: a thread waits for the loop of Stores, and rings a doorbell that is read by cosocket
--- (bindings/doorbell.c). Callers wait on semaphores.
---
--- All of that is done by a service, one timer with two light threads, which lives only while calls
--- are under way: a timer that stays would keep old workers alive, and every Lua VM where
--- lua_code_cache is off. What many requests ask for in one turn of nginx's loop goes out together.

local core = require('stores.core')
local errors = require('stores.errors')
local semaphore = require('ngx.semaphore')

local ngx = ngx
local get_phase = ngx.get_phase
local running = coroutine.running

local host = { name = 'openresty' }

-- Where a light thread may wait.
local YIELDS = {
  server_rewrite = true, rewrite = true, access = true, content = true, timer = true,
  preread = true, ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}
-- Where nothing else runs in the worker: a call may turn the loop itself.
local ALONE = { init_worker = true, exit_worker = true }

-- The service stays so long without calls, for what is unfinished of the last; and looks so often
-- whether that time is over, or the worker ends.
local LINGER = 0.1
local LOOK = 1 -- how often it looks for callers that are gone
local WITHOUT_BELL = 0.001 -- how often it looks at the loop where the doorbell cannot be had
-- What nginx has posted to itself it runs before it looks at its timers and sockets: when answers
-- come quickly there is no end of that. So after SLICE the next turn waits for the doorbell, which
-- nginx hears when it looks; and callers are woken in batches, between which the time is looked at.
local SLICE = 0.001
local BATCH = 32
local FOREVER = 3600
local DAY_MS = 86400000
local GC_STEP = 1000

---@class stores.NginxWaiter of one call
---@field wakes table a semaphore
---@field done boolean?
---@field asks boolean? the last of a batch: asks for the next one when it runs
---@field sweep integer? the sweep at which it was woken

local hub
local waiting = {} -- slot -> waiter, whose call is under way
local woken = {} -- slot -> waiter that was woken, and has not taken its result
local spare = {} -- waiters that nobody uses
local parked = setmetatable({}, { __mode = 'k' }) -- coroutine -> semaphore
-- Posted once a turn, when something is to be sent. Not made before the hub is: a semaphore keeps
-- the log of the cycle that it was made in, and that of init_by_lua is gone after a reload.
local asks
local is_asked, is_ringing, is_serving = false, false, false
local sweeps = 0
local endless = setmetatable({}, { __mode = 'k' }) -- what is stopped when the worker ends

--- The loop of this VM. Raises forked in init_by_lua: the master's engine would be of no use.
---@return userdata
function host.hub()
  if not hub then
    if get_phase() == 'init' then
      errors.raise('forked', 'init_by_lua runs in the master, before the workers are forked: make '
        .. 'the store in init_worker_by_lua, or at its first use')
    end
    hub = core.hub()
    asks = semaphore.new()
  end
  return hub
end

function host.in_use() return hub ~= nil end

--- How many processes share the servers.
---@return integer
function host.workers()
  return ngx.worker.count() or 1
end

--- Whether a call may be made here; raises unsupported before anything is sent.
function host.check()
  local phase = get_phase()
  if YIELDS[phase] or ALONE[phase] then return end
  errors.raise('unsupported', ('%s_by_lua cannot wait: call the store in another phase, or in '
    .. 'ngx.timer.at(0, ...)'):format(phase))
end

--- Stops the object when the worker is to end, which would wait for it.
---@param object {stop: fun(self)}
function host.stops_at_exit(object)
  endless[object] = true
end

-- ---- The service --------------------------------------------------------------------------------

local cached, came_round = nil, 0 -- nginx's time, and when it was seen to change

-- Whether nginx has not looked at its timers and sockets for SLICE: its time changes when it does.
local function is_late()
  local now = ngx.now()
  if now ~= cached then
    cached, came_round = now, hub:now()
    return false
  end
  return hub:now() - came_round > SLICE
end

-- Wakes who waits for the slot; gives nothing where there is nobody.
local function wake(slot)
  local waiter = waiting[slot]
  if not waiter then return end
  waiting[slot] = nil
  if waiter.wakes:count() >= 0 then return hub:abandon(slot) end -- its light thread was killed
  waiter.done, waiter.sweep = true, sweeps
  woken[slot] = waiter
  waiter.wakes:post(1)
  return waiter
end

-- Sends what was asked for, and wakes those whose calls are done; where they are many, a batch of
-- them now, and the others when these have run: what all of them ask for goes out together.
local function turn()
  if not hub:ready() then hub:turn(false) end
  local last
  for _ = 1, BATCH do
    local slot = hub:next()
    if not slot then return end
    last = wake(slot) or last
  end
  if not hub:ready() then return end
  is_asked = true
  if last then last.asks = true else asks:post(1) end
end

local function stop_endless()
  for object in pairs(endless) do
    endless[object] = nil
    ngx.thread.spawn(object.stop, object)
  end
end

-- Gives up the calls of light threads that were killed: nobody waits on their semaphores.
local function sweep()
  sweeps = sweeps + 1
  for slot, waiter in pairs(waiting) do
    if waiter.wakes:count() >= 0 then
      waiting[slot] = nil
      hub:abandon(slot)
    end
  end
  for slot, waiter in pairs(woken) do
    if waiter.sweep < sweeps - 1 then
      woken[slot] = nil
      hub:abandon(slot)
    end
  end
  -- the transaction of a killed thread is rolled back when it is collected; nobody else may be
  -- there to turn the collector
  if hub:transactions() > 0 then collectgarbage('step', GC_STEP) end
end

-- A loop that nothing holds does not turn, though rollbacks and what follows a call are to be done.
local HOLD = 1e8

local function is_quiet()
  return hub:pending() <= 1 and not next(waiting) and not next(woken) and hub:transactions() == 0
end

local function read(bell)
  while not bell.is_over do
    local byte, why = bell.socket:receive(1)
    cached, came_round, is_ringing = ngx.now(), hub:now(), false
    if bell.is_over then return end
    if not byte then
      bell.failure = why
      asks:post(1)
      return
    end
    turn()
    bell.bell:arm()
  end
end

-- A doorbell with its reader; or nil, why.
local function open_bell()
  local bell, why = core.doorbell(hub)
  if not bell then return nil, why end
  local socket = ngx.socket.tcp()
  socket:settimeout(DAY_MS)
  local ok
  ok, why = socket:connect('unix:' .. bell:path())
  if ok then ok, why = bell:accept() end
  if not ok then
    bell:close()
    return nil, why
  end
  local self = { bell = bell, socket = socket, is_over = false }
  self.reader = ngx.thread.spawn(read, self)
  bell:arm()
  return self
end

local function close_bell(self)
  self.is_over = true
  self.bell:ring()
  ngx.thread.wait(self.reader)
  self.socket:close()
  self.bell:close()
end

local function serve(bell)
  local quiet_since, looked
  while true do
    local is_exiting = ngx.worker.exiting()
    if is_exiting then stop_endless() end
    if not is_late() then
      turn()
    elseif bell and not bell.failure then
      if not is_ringing then bell.bell:ring() end
      is_ringing = true -- its reader sends what is asked for meanwhile
    else
      ngx.sleep(WITHOUT_BELL)
      turn()
    end
    local now = hub:now()
    looked = looked or now
    if now - looked >= LOOK then
      looked = now
      sweep()
    end
    if not is_quiet() then
      quiet_since = nil
    elseif is_exiting or (quiet_since and now - quiet_since >= LINGER) then
      return
    else
      quiet_since = quiet_since or now
    end
    local most = (not bell or bell.failure) and WITHOUT_BELL or LINGER
    local seconds = math.min(hub:timeout() or most, most)
    asks:wait(math.max(seconds, 0.001))
    is_asked = false
  end
end

local start

local function service()
  local bell, why = open_bell()
  if not bell then
    ngx.log(ngx.ERR, 'stores: the loop is looked at every millisecond, for there is no doorbell: ',
      why)
  end
  local holder = hub:sleep(HOLD)
  local ok, err = pcall(serve, bell)
  hub:abandon(holder)
  is_serving = false
  if bell then close_bell(bell) end
  if not ok then
    ngx.log(ngx.ERR, 'stores: ', err)
    -- others wait; without a pause this could be all that the worker does
    ngx.sleep(0.1)
    if next(waiting) and not is_serving then start() end
  end
end

function start()
  is_serving, is_ringing = true, false
  local ok, why = ngx.timer.at(0, service)
  if not ok then
    is_serving = false
    return nil, why
  end
  return true
end

local function ask(slot)
  if not is_serving then
    local ok, why = start()
    if not ok then
      hub:abandon(slot)
      errors.raise('unsupported', 'nginx refuses the timer that Stores needs: ' .. why)
    end
  elseif not is_asked and not is_ringing then
    is_asked = true
    asks:post(1)
  end
end

-- ---- Waiting ------------------------------------------------------------------------------------

--- Waits until the call is done.
---@param on userdata the hub that the slot belongs to
---@param slot integer
function host.wait(on, slot)
  local phase = get_phase()
  if ALONE[phase] then return on:wait(slot) end
  if not YIELDS[phase] then
    on:abandon(slot)
    host.check()
  end
  ask(slot)
  local waiter = table.remove(spare) or { wakes = semaphore.new() }
  waiter.done = false
  waiting[slot] = waiter
  repeat waiter.wakes:wait(FOREVER) until waiter.done
  woken[slot] = nil
  if waiter.asks then
    waiter.asks = false
    asks:post(1)
  end
  -- one whose thread is killed never comes back here: no semaphore is used again that may be posted
  spare[#spare + 1] = waiter
end

--- Leaves the light thread until somebody unparks it.
function host.park()
  local co = running()
  local wakes = parked[co] or semaphore.new()
  parked[co] = wakes
  wakes:wait(FOREVER)
end

--- Lets a parked light thread go on.
---@param co thread
function host.unpark(co)
  local wakes = parked[co]
  if wakes and wakes:count() < 0 then wakes:post(1) end
end

--- The coroutine that runs, where it may wait; or nil.
---@return thread?
function host.task()
  return YIELDS[get_phase()] and running() or nil
end

--- Starts a light thread of the request, or a timer where there can be none.
---@param fn function
---@return thread?
function host.spawn(fn)
  if YIELDS[get_phase()] then return ngx.thread.spawn(fn) end
  local ok, why = ngx.timer.at(0, function() fn() end)
  if not ok then errors.raise('unsupported', 'nginx refuses a timer: ' .. why) end
end

function host.turn_until()
  errors.raise('unsupported', ('stores.run cannot wait in %s_by_lua; stores.spawn does it later')
    :format(get_phase()))
end

local function pass_on(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

--- nginx's own coroutines pass waits through; but its coroutine.wrap raises past every pcall.
---@param fn function
---@return function
function host.wrap(fn)
  local co = coroutine.create(fn)
  return function(...) return pass_on(coroutine.resume(co, ...)) end
end

--- Told of a task that failed; its joiner gets the error all the same.
function host.report(err)
  ngx.log(ngx.ERR, 'stores: ', tostring(err))
end

--- Monotonic seconds.
---@return number
function host.now()
  return host.hub():now()
end

return host

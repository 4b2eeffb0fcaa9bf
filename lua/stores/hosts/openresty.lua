--- The host of nginx with lua-nginx-module, chosen by itself there. Callers wait on semaphores; who
--- turns the loop meanwhile is told in nginx_loop.lua.

local core = require('stores.core')
local errors = require('stores.errors')
local nginx_lasting = require('stores.hosts.nginx_lasting')
local nginx_loop = require('stores.hosts.nginx_loop')
local nginx_uncaught = require('stores.hosts.nginx_uncaught')
local semaphore = require('ngx.semaphore')
local wraps = require('stores.hosts.wraps')

local can_yield = core.can_yield
local ngx = ngx
local get_phase = ngx.get_phase
local running = coroutine.running

local host = { name = 'openresty', hub = nginx_loop.hub, in_use = nginx_loop.in_use,
  stops_at_exit = nginx_loop.stops_at_exit, on_look = nginx_loop.on_look,
  held = nginx_loop.held }

-- Where a light thread may wait.
local YIELDS = {
  server_rewrite = true, rewrite = true, access = true, content = true, timer = true,
  preread = true, ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}
-- Where nothing else runs in the worker: a call may turn the loop itself.
local ALONE = { init_worker = true, exit_worker = true }

local parked = setmetatable({}, { __mode = 'k' }) -- coroutine -> semaphore
-- Functions whose timer has not run yet -> since when. nginx drops timers without a word.
local spawned = {}
local BEGINS = 1 -- second: after so long they are started by whoever is there

--- How many processes share the servers.
---@return integer
function host.workers()
  return ngx.worker.count() or 1
end

--- Whether a call may be made here; raises unsupported before anything is sent.
function host.check()
  local phase = get_phase()
  if YIELDS[phase] then
    if not can_yield() then wraps.refuse_c_call() end
    return
  end
  if ALONE[phase] then return end
  errors.raise('unsupported', ('%s_by_lua cannot wait: call the store in another phase, or in '
    .. 'ngx.timer.at(0, ...)'):format(phase))
end

--- Whether what runs here can be left until somebody unparks it.
---@return boolean
function host.parks()
  return YIELDS[get_phase()] and can_yield() or false
end

-- ---- Light threads that are known to nginx ----------------------------------------------------

local anchors -- nginx's own table of them; nil: not found yet
local searched_at = -math.huge

-- nginx keeps the coroutines of its light threads in a table of the registry, and those that it
-- will use again, which have an empty stack. One that is not there was ended.
local function find_anchors(co)
  for key, value in pairs(debug.getregistry()) do
    if type(key) == 'userdata' and type(value) == 'table' then
      for _, one in pairs(value) do
        if one == co then return value end
      end
    end
  end
end

local function is_in(list, co)
  for _, one in pairs(list or {}) do -- it has gaps
    if one == co then return true end
  end
  return false
end

--- Whether the coroutine that runs is a light thread, which nginx knows until it ends; others, of
--- coroutine.create, are known to who resumes them alone.
---@param co thread
---@return boolean
function host.is_anchored(co)
  local now = not anchors and host.now()
  if now and now - searched_at >= BEGINS then
    searched_at = now
    anchors = find_anchors(co)
  end
  return is_in(anchors, co)
end

-- The same for an error: it is rare, and the search is worth it each time.
local function is_light_thread(co)
  anchors = anchors or find_anchors(co)
  return is_in(anchors, co)
end

-- a tail call: what stands above is who raises
errors.on_leaving(function(err) return nginx_uncaught.leaving(err, is_light_thread) end)

--- The light threads that there are.
---@return table<thread, boolean>
function host.known()
  local set = {}
  for _, one in pairs(anchors or {}) do
    if type(one) == 'thread' then set[one] = true end
  end
  return set
end

-- ---- Waiting ------------------------------------------------------------------------------------

--- Waits until the call is done.
---@param on userdata the hub that the slot belongs to
---@param slot integer
function host.wait(on, slot)
  local phase = get_phase()
  if ALONE[phase] then return on:wait(slot) end
  if not YIELDS[phase] or not can_yield() then
    on:abandon(slot)
    host.check()
  end
  nginx_loop.wait(slot)
end

local function run_spawned(fn)
  if not spawned[fn] then return end
  spawned[fn] = nil
  fn()
end

-- Those whose timer was dropped.
local function start_spawned()
  local now = host.now()
  for fn, since in pairs(spawned) do
    if now - since >= BEGINS then ngx.thread.spawn(run_spawned, fn) end
  end
end

--- Leaves the light thread until somebody unparks it, or for a second.
function host.park()
  local co = running()
  local wakes = parked[co] or semaphore.new()
  parked[co] = wakes
  if not wakes:wait(BEGINS) and next(spawned) then start_spawned() end
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
  local ok, why = ngx.timer.at(0, function() run_spawned(fn) end)
  if not ok then errors.raise('unsupported', 'nginx refuses a timer: ' .. why) end
  spawned[fn] = host.now()
end

--- Starts a function that must not raise, in no request: it goes on when those have ended. Also
--- where nothing can wait.
---@param fn function
function host.spawn_lasting(fn)
  if ngx.worker.exiting() then errors.raise('closed', 'the worker ends') end
  nginx_lasting.start(fn, host.now())
end

function host.turn_until()
  errors.raise('unsupported', ('stores.run cannot wait in %s_by_lua; stores.spawn does it later')
    :format(get_phase()))
end

local function pass_on(ok, ...)
  if not ok then errors.throw((...)) end
  return ...
end

local function resumer(co)
  return function(...) return pass_on(coroutine.resume(co, ...)) end
end
wraps.unpin(resumer)

--- nginx's own coroutines pass waits through; but its coroutine.wrap raises past every pcall.
---@param fn function
---@return function
function host.wrap(fn)
  return resumer(coroutine.create(fn))
end

--- Told of a task that failed; its joiner gets the error all the same. What the end of its worker
--- cut off is no error of the program.
function host.report(err)
  local is_cut = ngx.worker.exiting() and errors.is(err, 'closed')
  ngx.log(is_cut and ngx.NOTICE or ngx.ERR, 'stores: ', errors.text(err))
end

--- Whether the worker was told to end: calls that it has begun go on, and what is due later may not
--- come any more.
---@return boolean
function host.is_ending()
  return ngx.worker.exiting()
end

--- Monotonic seconds.
---@return number
function host.now()
  return host.hub():now()
end

return host

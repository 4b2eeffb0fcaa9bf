--- The host of cqueues programs: stores.use('cqueues'). Any coroutine of a controller may call a
--- store; one more coroutine of that controller waits for the loop of Stores meanwhile, as long as
--- calls are under way. Outside of controllers a call blocks.

local condition = require('cqueues.condition')
local core = require('stores.core')
local cqueues = require('cqueues')
local errors = require('stores.errors')
local wraps = require('stores.hosts.wraps')

local host = { name = 'cqueues' }

-- So many callers are woken before the sockets and timers of the program have their turn: a
-- controller runs all that are ready before it looks at these.
local BATCH = 64

local create = coroutine.create
local controller_of = cqueues.running
local current, WAIT, PARK = wraps.current, wraps.WAIT, wraps.PARK

---@class stores.Waiter of one call; the coroutine alone holds the guard
---@field slot integer?
---@field hub userdata that the slot belongs to: after a fork there is another one
---@field ready table a condition
---@field pump table of its controller
---@field guard userdata?

local hub
-- In the place of the loop's own descriptor, which would be one more epoll in the innermost of a
-- program's nested controllers. nil: the kernel has none.
local relay
local waiting = {} -- slot -> stores.Waiter
local spare = {} -- guarded waiters that nobody uses
local pumps = setmetatable({}, { __mode = 'k' }) -- controller -> {count, wake}
local owned = setmetatable({}, { __mode = 'k' }) -- coroutines that controllers resume
local parked = setmetatable({}, { __mode = 'k' }) -- coroutine -> condition
local early = {} -- functions that were spawned outside of controllers

--- The loop of this Lua state.
---@return userdata
function host.hub()
  if hub and not pcall(hub.pending, hub) then
    -- of the process before a fork: what waits on it waits there
    hub, waiting, spare, pumps, early = nil, {}, {}, setmetatable({}, { __mode = 'k' }), {}
  end
  if not hub then
    hub = core.hub()
    relay = core.relay(hub)
    if relay and not relay:arm() then relay = nil end
  end
  return hub
end

function host.in_use() return hub ~= nil or #early > 0 end

-- Whether a controller resumes the coroutine. It tells of the one that runs; others are remembered.
local function owns(co)
  if co == current() then
    local controller, is_its = controller_of()
    owned[co] = controller ~= nil and is_its or nil
  end
  return owned[co]
end

local own = wraps.new(function(on, slot) host.wait(on, slot) end, function() host.park() end, owns)

host.wrap = own.wrap

-- What cqueues polls: readable where the loop has something to do, at the latest after its timeout.
local backend = {
  pollfd = function() return relay and relay:fd() or hub:fd() end,
  events = function() return 'r' end,
  timeout = function() return hub:timeout() end,
}

-- What callers that are woken ask for goes out together, when the last of them has run.
local function turn()
  if relay then relay:clear() end
  if not hub:ready() then hub:turn(false) end
  for _ = 1, BATCH do
    local slot = hub:next()
    if not slot then return end
    local waiter = waiting[slot]
    if waiter then
      waiting[slot] = nil
      local its = waiter.pump
      its.count = its.count - 1
      if its.count == 0 then its.wake:signal() end -- it may be the pump of another controller
      waiter.ready:signal()
    end
  end
end

-- Turns the loop for one controller, until nobody in it waits.
local function pump(controller, mine)
  while true do
    -- those that are ready run first, and so a turn gathers what all of them asked for
    cqueues.poll(0)
    if mine.count == 0 then break end
    mine.is_asked = false
    turn()
    if mine.count > 0 and not mine.is_asked and not hub:ready() then
      if relay then relay:arm() end
      cqueues.poll(backend, mine.wake)
    end
  end
  hub:flush()
  pumps[controller] = nil
end

local function ask(controller)
  local mine = pumps[controller]
  if not mine then
    mine = { count = 0, wake = condition.new() }
    pumps[controller] = mine
    controller:wrap(pump, controller, mine)
  elseif not mine.is_asked then
    mine.wake:signal()
  end
  mine.is_asked = true
  return mine
end

-- A waiter, and what gives its call up when the coroutine that waits is collected, because its
-- controller was.
local function new_waiter()
  local waiter, guard = { ready = condition.new() }, newproxy(true)
  getmetatable(guard).__gc = function()
    local slot = waiter.slot
    local on = waiter.hub
    if slot and pcall(on.abandon, on, slot) and waiting[slot] == waiter then
      waiting[slot] = nil
      waiter.pump.count = waiter.pump.count - 1
    end
  end
  return { waiter = waiter, guard = guard }
end

--- Whether a call may be made here; raises before anything is sent.
function host.check()
  local co = current()
  if co then own.check(co) end
end

--- Whether what runs here can be left until somebody unparks it.
---@return boolean
function host.parks()
  local co = current()
  return co ~= nil and not own.is_stuck(co)
end

--- Waits until the call is done.
---@param on userdata the hub that the slot belongs to
---@param slot integer
function host.wait(on, slot)
  local co = current()
  if co == nil then
    on:wait(slot)
    -- calls of a controller that is not stepped just now may have ended, too
    if on:ready() then
      for _, mine in pairs(pumps) do mine.wake:signal() end
    end
    return
  end
  if own.pass(co, WAIT, on, slot) then return end
  local mine = ask(controller_of())
  local guarded = table.remove(spare) or new_waiter()
  local waiter = guarded.waiter
  waiter.slot, waiter.hub, waiter.pump = slot, on, mine
  waiting[slot] = waiter
  mine.count = mine.count + 1
  while not on:done(slot) do waiter.ready:wait() end
  waiter.slot = nil
  spare[#spare + 1] = guarded
end

--- Leaves the coroutine until somebody unparks it.
function host.park()
  local co = current()
  if own.pass(co, PARK) then return end
  local ready = parked[co] or condition.new()
  parked[co] = ready
  ready:wait()
end

--- Lets a parked coroutine go on.
---@param co thread
function host.unpark(co)
  if parked[co] then parked[co]:signal() end
end

--- The coroutine of a controller that runs, itself or a wrap in it; or nil.
---@return thread?
function host.task()
  local co = current()
  return co and own.root(co)
end

--- Starts a coroutine in the controller that runs; outside of one, in that of the next stores.run.
---@param fn function
---@return thread
function host.spawn(fn)
  local co = create(fn)
  local controller = controller_of()
  if controller then controller:attach(co) else early[#early + 1] = co end
  return co
end

--- Runs a controller until done(what) is true, or nothing is left in it: what was spawned in others
--- is theirs.
---@param done fun(what: any): boolean
---@param what any
function host.turn_until(done, what)
  if controller_of() then errors.raise('unsupported', 'the loop is being turned already') end
  local controller = cqueues.new()
  while not done(what) do
    local starting = early
    early = {}
    for _, co in ipairs(starting) do controller:attach(co) end
    if controller:empty() then break end
    local ok, why = controller:step()
    if not ok then errors.throw(why) end
  end
  -- what the last call left to be sent
  host.hub():flush()
end

--- Told of a task that failed while no stores.run is there to raise its error.
function host.report(err)
  io.stderr:write('stores: ', errors.text(err), '\n')
end

--- Monotonic seconds.
---@return number
function host.now()
  return host.hub():now()
end

return host

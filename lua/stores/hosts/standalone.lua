--- The host of plain scripts: it turns the loop itself. Outside any coroutine a call blocks until it
--- is done; inside stores.run, stores.spawn and stores.wrap it waits as a coroutine.

local core = require('stores.core')
local errors = require('stores.errors')

local standalone = { name = 'standalone' }

local running = coroutine.running
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status
local yield = coroutine.yield

---@type userdata? one loop for a Lua state; another one after a fork
local hub
local waiting = {} -- slot -> the coroutine that waits for it
local scheduled = setmetatable({}, { __mode = 'k' }) -- coroutines that the scheduler resumes
local wrapped = setmetatable({}, { __mode = 'k' }) -- coroutines of stores.wrap
local queue, first, last = {}, 1, 0 -- coroutines to resume, with their arguments
local turning = false

-- Yielded by a wrapped coroutine to its wrap: "wait for this slot, then resume me".
local WAIT = {}

--- The loop of this Lua state.
---@return userdata
function standalone.hub()
  if hub and not pcall(hub.pending, hub) then
    -- of the process before a fork: what waits on it waits there
    hub, waiting, queue, first, last, turning = nil, {}, {}, 1, 0, false
  end
  hub = hub or core.hub()
  return hub
end

--- The coroutine that runs, where it is one that may wait; nil outside coroutines.
local function current()
  local co, main = running()
  if co == nil or main then return nil end
  if scheduled[co] or wrapped[co] then return co end
  errors.raise('foreign_coroutine', 'a call inside a coroutine that coroutine.create or '
    .. 'coroutine.wrap made would yield to the wrong resumer: make it with stores.wrap or '
    .. 'stores.spawn')
end

--- Whether a call may be made here; raises foreign_coroutine before anything is sent.
function standalone.check()
  current()
end

--- Waits until the call is done.
---@param on userdata the hub that the slot belongs to
---@param slot integer
function standalone.wait(on, slot)
  local co = current()
  if co == nil then
    on:wait(slot)
  elseif wrapped[co] then
    yield(WAIT, on, slot)
  else
    waiting[slot] = co
    yield()
  end
end

--- Puts a coroutine at the end of those to be resumed.
---@param co thread
function standalone.unpark(co)
  last = last + 1
  queue[last] = co
end

--- Leaves the coroutine until somebody unparks it. Only in a coroutine of the scheduler.
function standalone.park()
  yield()
end

--- The coroutine of the scheduler that runs, or nil.
---@return thread?
function standalone.task()
  local co, main = running()
  if co == nil or main then return nil end
  return scheduled[co] and co or nil
end

--- Starts a coroutine, at the next turn of the scheduler.
---@param fn function
---@return thread
function standalone.spawn(fn)
  local co = create(fn)
  scheduled[co] = true
  standalone.unpark(co)
  return co
end

local function resume_queue()
  while first <= last do
    local co = queue[first]
    queue[first] = nil
    first = first + 1
    local ok, err = resume(co)
    -- tasks catch their own errors: this is a defect, and not to be swallowed
    if not ok then error(debug.traceback(co, tostring(err)), 0) end
  end
  first, last = 1, 0
end

--- Turns the loop and resumes coroutines until done() is true.
---@param done fun(): boolean
function standalone.turn_until(done)
  if turning then
    errors.raise('unsupported', 'stores.run inside of stores.run has to be called in its coroutine')
  end
  turning = true
  local on = standalone.hub()
  local ok, err = pcall(function()
    while true do
      resume_queue()
      if done() then return end
      if on:turn(true) == 0 and not on:ready() and first > last then
        errors.raise('internal', 'every coroutine waits, and nothing is under way')
      end
      for slot in on.next, on do
        local co = waiting[slot]
        waiting[slot] = nil
        if co then standalone.unpark(co) end
      end
    end
  end)
  turning = false
  on:flush()
  if not ok then error(err, 0) end
end

local function pass_on(co, ok, ...)
  if not ok then error((...), 0) end
  if (...) == WAIT then
    local _, on, slot = ...
    standalone.wait(on, slot)
    return pass_on(co, resume(co))
  end
  return ...
end

--- coroutine.wrap for coroutines that call a store: waits go through to whoever runs the wrap.
---@param fn function
---@return function
function standalone.wrap(fn)
  local co = create(fn)
  wrapped[co] = true
  return function(...)
    if status(co) == 'dead' then error('cannot resume dead coroutine', 2) end
    return pass_on(co, resume(co, ...))
  end
end

--- Monotonic seconds.
---@return number
function standalone.now()
  return standalone.hub():now()
end

return standalone

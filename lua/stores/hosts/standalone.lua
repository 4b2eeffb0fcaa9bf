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
-- Coroutines of stores.wrap -> the coroutine that resumes them just now, or true. Only while it
-- does: an entry that stays would keep two coroutines alive that nobody else knows.
local wrapped = setmetatable({}, { __mode = 'k' })
local queue, first, last = {}, 1, 0 -- coroutines to resume, with their arguments
local turning = false

-- Yielded by a coroutine that waits for a slot, and by one that waits to be unparked; a wrap passes
-- both on to who resumes it.
local WAIT, PARK = {}, {}

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

-- The coroutine that runs, nil outside coroutines.
local function current()
  local co, main = running()
  if main then return nil end
  return co
end

-- The coroutine of the scheduler that a coroutine runs in, through any number of wraps; nil: it
-- runs outside of the scheduler, and its calls block.
local function root(co)
  while wrapped[co] do
    co = wrapped[co]
    if co == true then return nil end
  end
  if scheduled[co] then return co end
  errors.raise('foreign_coroutine', 'a call inside a coroutine that coroutine.create or '
    .. 'coroutine.wrap made would yield to the wrong resumer: make it with stores.wrap or '
    .. 'stores.spawn')
end

--- Whether a call may be made here; raises foreign_coroutine before anything is sent.
function standalone.check()
  local co = current()
  if co then root(co) end
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
    yield(WAIT)
  end
end

--- Puts a coroutine at the end of those to be resumed.
---@param co thread
function standalone.unpark(co)
  last = last + 1
  queue[last] = co
end

--- Leaves the coroutine until somebody unparks it. Only in a coroutine of the scheduler, or in a
--- wrap that one of them runs.
function standalone.park()
  yield(PARK)
end

--- The coroutine of the scheduler that runs, itself or a wrap in it; or nil. Raises
--- foreign_coroutine.
---@return thread?
function standalone.task()
  local co = current()
  return co and root(co)
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

-- Those that are queued now; what they queue has its turn after the loop's.
local function resume_queue()
  local upto = last
  while first <= upto do
    local co = queue[first]
    queue[first] = nil
    first = first + 1
    local ok, why = resume(co)
    -- tasks catch their own errors: this is a defect, and not to be swallowed
    if not ok then error(debug.traceback(co, tostring(why)), 0) end
    -- a bare coroutine.yield() lets the others go first
    if why ~= WAIT and why ~= PARK and status(co) == 'suspended' then standalone.unpark(co) end
  end
  if first > last then first, last = 1, 0 end
end

--- Turns the loop and resumes coroutines until done() is true.
---@param done fun(): boolean
function standalone.turn_until(done)
  if turning then errors.raise('unsupported', 'the loop is being turned already') end
  turning = true
  local on = standalone.hub()
  local ok, err = pcall(function()
    while true do
      resume_queue()
      if done() then return end
      if on:turn(first > last) == 0 and not on:ready() and first > last then
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

local resume_wrapped

-- What a wrap gives to who called it, after the waits that it passes on.
local function pass_on(co, ok, ...)
  wrapped[co] = true
  if not ok then error((...), 0) end
  if (...) == WAIT then
    local _, on, slot = ...
    standalone.wait(on, slot)
    return resume_wrapped(co)
  elseif (...) == PARK then
    standalone.park()
    return resume_wrapped(co)
  end
  return ...
end

function resume_wrapped(co, ...)
  wrapped[co] = current() or true
  return pass_on(co, resume(co, ...))
end

--- coroutine.wrap for coroutines that call a store: waits go through to whoever runs the wrap.
---@param fn function
---@return function
function standalone.wrap(fn)
  local co = create(fn)
  wrapped[co] = true
  return function(...)
    local state = status(co)
    if state ~= 'suspended' then error(('cannot resume %s coroutine'):format(state), 2) end
    return resume_wrapped(co, ...)
  end
end

--- Whether a store was made, or a coroutine started.
---@return boolean
function standalone.in_use()
  return hub ~= nil or last > 0
end

--- Monotonic seconds.
---@return number
function standalone.now()
  return standalone.hub():now()
end

return standalone

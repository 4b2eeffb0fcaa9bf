--- The host of plain scripts: it turns the loop itself. Outside any coroutine a call blocks until
--- it is done; inside stores.run, stores.spawn and stores.wrap it waits as a coroutine.

local core = require('stores.core')
local errors = require('stores.errors')
local scheduler = require('stores.hosts.scheduler')

-- Coroutines run for so long before timers and answers have their turn again.
local SLICE = 0.002

local standalone = scheduler.equip({ name = 'standalone', resumes_yielders = true,
  blocks_inside = true })

---@type userdata? one loop for a Lua state; another one after a fork
local hub
local turning = false

--- The loop of this Lua state.
---@return userdata
function standalone.hub()
  if hub and not pcall(hub.pending, hub) then
    -- of the process before a fork: what waits on it waits there
    hub, turning = nil, false
    standalone.forget()
  end
  if not hub then
    hub = core.hub()
    hub:block()
  end
  return hub
end

--- Whether a store was made, or a coroutine started.
---@return boolean
function standalone.in_use()
  return hub ~= nil or standalone.busy()
end

--- Waits outside of coroutines.
function standalone.block(on, slot)
  on:wait(slot)
end

local function turn(on, done, what)
  while true do
    standalone.drain(on, SLICE)
    if done(what) then return end
    if on:turn(not standalone.busy()) == 0 and not on:ready() and not standalone.busy() then
      errors.raise('self_deadlock', scheduler.DEADLOCK)
    end
  end
end

--- Turns the loop and resumes coroutines until done(what) is true.
---@param done fun(what: any): boolean
---@param what any
function standalone.turn_until(done, what)
  if turning then errors.raise('unsupported', 'the loop is being turned already') end
  turning = true
  local on = standalone.hub()
  local ok, err = pcall(turn, on, done, what)
  turning = false
  -- what is no error of Stores came from outside: a signal, which ends all that this turns
  if not ok and not errors.is(err) then standalone.give_up(on) else on:flush() end
  if not ok then errors.throw(err) end
end

--- Monotonic seconds.
---@return number
function standalone.now()
  return standalone.hub():now()
end

return standalone

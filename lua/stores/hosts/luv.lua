--- The host of luv programs: stores.use('luv'). Stores lives on luv's own loop, so its calls and
--- the program's timers and sockets wait side by side.
---   In coroutines of stores.spawn, stores.run and stores.wrap, calls wait as coroutines.
---   Outside of coroutines a call turns the loop until it is done; in a callback of luv it raises,
---   for that would turn the loop twice: stores.spawn there.
--- Stores' handles are on the loop too, and uv.walk of luv takes every handle for one of its own:
--- do not walk the loop while a store is open.

local caught = require('stores.hosts.caught')
local core = require('stores.core')
local errors = require('stores.errors')
local scheduler = require('stores.hosts.scheduler')
local uv = require('luv')
local uv_hosts = require('stores.hosts.uv')
local wraps = require('stores.hosts.wraps')

local function find_loop()
  local path = package.searchpath('luv', package.cpath)
  local loop, why = core.luv_loop(path)
  if not loop then errors.raise('unsupported', 'the loop of luv cannot be shared: ' .. why) end
  return loop
end

local luv = uv_hosts.new('luv', find_loop)
local turning = false
local defect -- raised by the turn that met it

local function check_outside()
  if uv.loop_mode() then
    errors.raise('unsupported', 'inside a callback of luv no call can wait: use stores.spawn there')
  end
end

local check_coroutine = luv.check

--- Whether a call may be made here; raises before anything is sent.
function luv.check()
  if luv.outside() then check_outside() else check_coroutine() end
end

-- What nobody catches in a callback ends the program, and luv shows the text of a string alone.
local function leaving(err)
  if not uv.loop_mode() or wraps.current() or caught.here(uv.run) then return err end
  return tostring(err)
end

-- a tail call: what stands above is who raises
errors.on_leaving(function(err) return leaving(err) end)

local function turn(code, why, done, ...)
  check_outside()
  while not done(...) do
    local alive = uv.run('once')
    if defect then
      local err = defect
      defect = nil
      errors.throw(err)
    end
    if not alive and not done(...) and not luv.busy() and not luv.hub():ready() then
      errors.raise(code, why)
    end
  end
end

local report = luv.defect

function luv.defect(err)
  if turning then defect = defect or err else report(err) end
end

-- luv waits inside of its loop, which is to come back for what a signal has set to run.
local function turn_heeding(on, ...)
  on:pulse(true)
  local ok, err = pcall(turn, ...)
  on:pulse(false)
  return ok, err
end

--- Waits outside of coroutines.
function luv.block(on, slot)
  local ok, err = turn_heeding(on, 'internal', 'the call is not under way', on.done, on, slot)
  if not ok then on:abandon(slot) end
  on:flush()
  if not ok then errors.throw(err) end
end

--- Turns the loop until done(what) is true.
---@param done fun(what: any): boolean
---@param what any
function luv.turn_until(done, what)
  check_outside()
  turning = true
  local on = luv.hub()
  local ok, err = turn_heeding(on, 'self_deadlock', scheduler.DEADLOCK, done, what)
  turning = false
  -- what is no error of Stores came from outside: a signal, which ends all that this turns
  if not ok and not errors.is(err) then luv.give_up(on) else on:flush() end
  if not ok then errors.throw(err) end
end

return luv

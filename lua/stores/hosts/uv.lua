--- A libuv loop that somebody else turns: a C program's, handed in by
---   stores.use('uv', { loop = loop })    -- loop: the uv_loop_t * as a light userdata
--- Coroutines of stores.spawn are resumed by a handle on that loop. Outside of coroutines no call
--- can wait, for nobody knows whether the loop is being turned now. The host luv builds on it.
---
--- The Lua state must be closed before the loop, and not in one of the loop's callbacks.

local core = require('stores.core')
local errors = require('stores.errors')
local scheduler = require('stores.hosts.scheduler')

-- Coroutines run for so long before the sockets and timers of the host have their turn again.
local SLICE = 0.002

local hosts = {}

local function refuse()
  errors.raise('unsupported', 'the loop belongs to the program: call it in stores.spawn')
end

local function tell(err)
  io.stderr:write('stores: ', errors.text(err), '\n')
end

-- Nothing here turns the loop: what would have to is refused.
local function leave_loop(host)
  local check_coroutine = host.check
  host.block = refuse

  --- Whether a call may be made here; raises before anything is sent.
  function host.check()
    if host.outside() then refuse() else check_coroutine() end
  end

  function host.turn_until()
    errors.raise('unsupported', 'the loop belongs to the program: use stores.spawn, not stores.run')
  end
end

--- A host on a loop.
---@param name string
---@param get_loop fun(): lightuserdata
---@return table host
function hosts.new(name, get_loop)
  local hub
  local holders = 0 -- reasons for the loop to stay alive
  local queued = false -- coroutines are to be resumed: one of them
  local host = { name = name, resumes_yielders = false, blocks_inside = false }

  scheduler.equip(host)
  leave_loop(host)

  local function hold(more)
    local before = holders
    holders = holders + (more and 1 or -1)
    if before == 0 or holders == 0 then hub:hold(holders > 0) end
  end

  local function after_turn()
    local ok, err = pcall(host.drain, hub, SLICE)
    if host.busy() or hub:ready() then
      hub:rouse()
    elseif queued then
      queued = false
      hold(false)
    end
    if not ok then host.defect(err) end
  end

  --- The loop's hub. Raises forked in a process that fork made.
  ---@return userdata
  function host.hub()
    if not hub then
      hub = core.hub(get_loop())
      hub:drive(after_turn)
    end
    return hub
  end

  function host.in_use() return hub ~= nil end

  host.waits = hold

  function host.queued()
    host.hub():rouse()
    if queued then return end
    queued = true
    hold(true)
  end

  host.defect = tell -- of an error that no task catches
  host.report = tell -- of a task that failed while no stores.run is there to raise its error

  --- Monotonic seconds.
  ---@return number
  function host.now()
    return host.hub():now()
  end

  return host
end

--- The host on a loop that the program hands in.
---@param opts {loop: lightuserdata}
---@return table host
function hosts.configure(opts)
  if type(opts) ~= 'table' or type(opts.loop) ~= 'userdata' then
    errors.raise('invalid_option',
      "stores.use('uv') takes {loop = a uv_loop_t *}, as a light userdata")
  end
  return hosts.new('uv', function() return opts.loop end)
end

return hosts

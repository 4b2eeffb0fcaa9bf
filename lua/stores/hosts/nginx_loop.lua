--- The loop of Stores in nginx, and who turns it: a service, one timer with two light threads,
--- which lives only while calls are under way: a timer that stays would keep old workers alive, and
--- every Lua VM where lua_code_cache is off. What many requests ask for in one turn of nginx's loop
--- goes out together.
---
--- nginx may take the timer and drop it without a word (lua_max_running_timers, no free
--- connections), or refuse it. Then one of those who wait turns the loop for all, until its own
--- call has ended; it hands over to another one, and the timer is tried again.

local core = require('stores.core')
local errors = require('stores.errors')
local nginx_bell = require('stores.hosts.nginx_bell')
local nginx_lasting = require('stores.hosts.nginx_lasting')
local semaphore = require('ngx.semaphore')

local ngx = ngx

local nginx_loop = {}

-- The service stays so long without calls, for what is unfinished of the last; and looks so often
-- whether that time is over, or the worker ends.
local LINGER = 0.1
-- And after the last read of rows that this worker holds for so many of their leases: for one, and
-- once more where a writer asks, who waits for this worker to turn.
local HOLDS = 2
local LOOK = 0.5 -- how often it is looked for callers that are gone
local WITHOUT_BELL = 0.001 -- how often who has no doorbell looks at the loop
-- What nginx has posted to itself it runs before it looks at its timers and sockets: when answers
-- come quickly there is no end of that. So after SLICE the next turn waits for the doorbell, which
-- nginx hears when it looks; and callers are woken in batches, between which the time is looked at.
local SLICE = 0.001
local BATCH = 32
-- A timer of 0 s runs in nginx's next turn; one that has not by then was dropped, or is late, which
-- does no harm. It is tried again after RETRY, and later and later.
local BEGINS = 0.02
local RETRY_FIRST, RETRY_MOST = 0.5, 5
-- Who turns the loop does so many times a second. Who has not for so long is gone, or the worker
-- was busy: then two turn it for a moment.
local STALE = 0.5

---@class stores.NginxWaiter of one call
---@field wakes table a semaphore
---@field done boolean
---@field turns number|false while it turns the loop, or was asked to: when it last did, or was
---@field asks boolean the last of a batch: asks for the next one when it runs
---@field sweep integer? the sweep at which it was woken, or seen not to turn

local hub
local waiting = {} -- slot -> waiter, whose call is under way
local woken = {} -- slot -> waiter that was woken, and has not taken its result
local spare = {} -- waiters that nobody uses
-- Posted once a turn, when something is to be sent. Not made before the hub is: a semaphore keeps
-- the log of the cycle that it was made in, and that of init_by_lua is gone after a reload.
local asks
local is_asked, is_ringing = false, false
local service_at, started_at = -math.huge, nil -- when the service turned; when its timer was made
local held_until = -math.huge -- for rows that this worker holds and were read, by nginx's time
local retry_at, retry_in = -math.huge, RETRY_FIRST
local turner -- the waiter that turns the loop in the place of the service
local sweeps, looked = 0, 0
local lookers = {}
local endless = setmetatable({}, { __mode = 'k' }) -- what is stopped when the worker ends

--- The loop of this VM. Raises forked in init_by_lua: the master's engine would be of no use.
---@return userdata
function nginx_loop.hub()
  if not hub then
    if ngx.get_phase() == 'init' then
      errors.raise('forked', 'init_by_lua runs in the master, before the workers are forked: make '
        .. 'the store in init_worker_by_lua, or at its first use')
    end
    hub = core.hub()
    asks = semaphore.new()
  end
  return hub
end

function nginx_loop.in_use() return hub ~= nil end

--- Calls a function every LOOK while calls are under way, and when none is any more; it must not
--- raise, nor wait.
---@param fn function
function nginx_loop.on_look(fn)
  lookers[#lookers + 1] = fn
end

--- Stops the object when the worker is to end, which would wait for it.
---@param object {stop: fun(self)}
function nginx_loop.stops_at_exit(object)
  endless[object] = true
end

-- ---- A turn -------------------------------------------------------------------------------------

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
  if not waiter.turns and waiter.wakes:count() >= 0 then
    return hub:abandon(slot) -- its light thread was killed
  end
  waiter.done, waiter.sweep = true, sweeps
  woken[slot] = waiter
  if not waiter.turns then waiter.wakes:post(1) end
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

-- Whether the light thread of one whose call is under way was killed: nobody waits on its
-- semaphore, or it turned the loop and does not any more.
local function is_gone(waiter, now)
  if not waiter.turns then return waiter.wakes:count() >= 0 end
  if now - waiter.turns < STALE then
    waiter.sweep = nil
    return false
  end
  waiter.sweep = waiter.sweep or sweeps
  return waiter.sweep < sweeps -- a worker that was busy gives it a turn before the second look
end

-- Gives up the calls of light threads that were killed.
local function sweep(now)
  sweeps = sweeps + 1
  for slot, waiter in pairs(waiting) do
    if is_gone(waiter, now) then
      waiting[slot] = nil
      if turner == waiter then turner = nil end
      hub:abandon(slot)
    end
  end
  for slot, waiter in pairs(woken) do
    if waiter.sweep < sweeps - 1 then
      woken[slot] = nil
      hub:abandon(slot)
    end
  end
end

local function look()
  for _, fn in ipairs(lookers) do fn() end
end

-- What is done besides in every turn, by whoever turns.
local function look_after()
  if ngx.worker.exiting() then stop_endless() end
  local now = hub:now()
  if now - looked >= LOOK then
    looked = now
    sweep(now)
    look()
  end
  return now
end

-- ---- The service --------------------------------------------------------------------------------

-- A loop that nothing holds does not turn, though rollbacks and what follows a call are to be done.
local HOLD = 1e8

local function is_quiet()
  return hub:pending() <= 1 and not next(waiting) and not next(woken) and hub:transactions() == 0
    and not nginx_lasting.need_service()
    and (ngx.now() >= held_until or ngx.worker.exiting())
end

local function serve(bell)
  local quiet_since
  while true do
    if not is_late() then
      turn()
    elseif bell and not bell.failure then
      if not is_ringing then bell:ring() end
      is_ringing = true -- its reader sends what is asked for meanwhile
    else
      ngx.sleep(WITHOUT_BELL)
      turn()
    end
    local now = look_after()
    service_at = now
    nginx_lasting.start_late(now)
    if not is_quiet() then
      quiet_since = nil
    elseif ngx.worker.exiting() or (quiet_since and now - quiet_since >= LINGER) then
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

local function heard(rang)
  cached, came_round, is_ringing = ngx.now(), hub:now(), false
  if rang then turn() else asks:post(1) end
end

local function is_served()
  return hub:now() - service_at < STALE
end

local function service()
  if is_served() then return end -- it was late, and another one took its place
  service_at, started_at, retry_in, is_ringing = hub:now(), nil, RETRY_FIRST, false
  local bell, why = nginx_bell.open(hub, heard)
  if not bell then
    ngx.log(ngx.ERR, 'stores: the loop is looked at every millisecond, for there is no doorbell: ',
      why)
  end
  local holder = hub:sleep(HOLD)
  local ok, err = pcall(serve, bell)
  hub:abandon(holder)
  look()
  service_at = -math.huge
  if bell then bell:close() end
  if ok then return end
  ngx.log(ngx.ERR, 'stores: ', err)
  -- those who wait turn the loop meanwhile; without a pause this could be all that the worker does
  retry_at = hub:now() + retry_in
end

local function try_later(now)
  started_at = nil
  retry_at, retry_in = now + retry_in, math.min(retry_in * 2, RETRY_MOST)
end

-- Whether the timer of the service was made, and may still run.
local function is_starting(now)
  if not started_at then return false end
  if now - started_at < BEGINS then return true end
  try_later(now)
  return false
end

-- Makes the timer of the service, where that is not in vain.
local function start(now)
  if started_at or now < retry_at then return end
  started_at = now
  if not ngx.timer.at(0, service) then try_later(now) end
end

-- ---- Waiting ------------------------------------------------------------------------------------

local function is_turned(now)
  return now - service_at < STALE
    or (turner ~= nil and turner.turns and now - turner.turns < STALE)
end

-- Another one that waits turns the loop from now on. Until nginx runs it nobody waits on its
-- semaphore: it is not to be taken for one that was killed.
local function hand_over()
  hub:flush()
  for _, waiter in pairs(waiting) do
    if not waiter.turns and waiter.wakes:count() < 0 then
      waiter.turns = hub:now()
      return waiter.wakes:post(1)
    end
  end
end

-- Turns the loop for all who wait, until the waiter's own call has ended or the service is there.
local function turn_for_all(waiter)
  turner, waiter.turns = waiter, hub:now()
  while true do
    turn()
    local now = look_after()
    if waiter.done or turner ~= waiter or now - service_at < STALE then break end
    waiter.turns = now
    if not is_starting(now) then start(now) end
    asks:wait(WITHOUT_BELL)
    is_asked = false
  end
  waiter.turns = false
  if turner ~= waiter then return end
  turner = nil
  if not is_served() then hand_over() end
end

--- A row was read that this worker holds: it has a lease, and hears of writes for as long.
---@param lease number in seconds
function nginx_loop.held(lease)
  held_until = math.max(held_until, ngx.now() + HOLDS * lease)
  if service_at ~= -math.huge then return end
  local now = hub:now()
  if not is_starting(now) then start(now) end
end

--- Waits until the call is done. Its light thread may be killed meanwhile.
---@param slot integer
function nginx_loop.wait(slot)
  local waiter = table.remove(spare) or { wakes = semaphore.new() }
  waiter.done, waiter.turns, waiter.asks, waiter.sweep = false, false, false, nil
  waiting[slot] = waiter
  local now = hub:now()
  if not is_turned(now) then
    start(now)
  elseif not is_asked and not is_ringing then
    is_asked = true
    asks:post(1)
  end
  repeat
    if is_turned(now) then
      waiter.wakes:wait(STALE)
    elseif is_starting(now) then
      waiter.wakes:wait(BEGINS)
    else
      turn_for_all(waiter)
    end
    waiter.turns = false
    now = hub:now()
  until waiter.done
  woken[slot] = nil
  if waiter.asks then asks:post(1) end
  -- one whose thread is killed never comes back here: no semaphore is used again that may be posted
  spare[#spare + 1] = waiter
end

return nginx_loop

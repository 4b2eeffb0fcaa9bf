--- Coroutines and the calls that they wait for, for hosts whose loop is libuv's: the queue of those
--- to be resumed, and who waits for which slot. The host turns the loop, and calls drain after it.

local core = require('stores.core')
local wraps = require('stores.hosts.wraps')

local where = core.where

local create, resume = coroutine.create, coroutine.resume
local yield = coroutine.yield
local getinfo = debug.getinfo
local current, WAIT, PARK = wraps.current, wraps.WAIT, wraps.PARK
local MORE, YIELDS, FAILED, ODD = core.MORE, core.YIELDS, core.FAILED, core.ODD

local DEAD = 'cannot resume dead coroutine' -- says LuaJIT

local LOOK = 32 -- coroutines: then it is looked how long they have worked, as hub:resume does

local scheduler = {}

--- What is said where no coroutine can ever be resumed.
scheduler.DEADLOCK = 'every coroutine waits for another one, and nothing is under way that would '
  .. 'wake one: do tasks join each other?'

local ROUNDS = 32 -- of coroutines that wake each other, before the loop has its turn

---@class stores.Scheduler
---@field block fun(hub: userdata, slot: integer) waits outside of coroutines
---@field queued fun()? told of the first coroutine in an empty queue
---@field waits fun(more: boolean)? told when the first coroutine waits, and when none does any more
---@field blocks_inside boolean inside of string.gsub and the like, where no coroutine can be left,
--- a call blocks; false: it raises
---@field resumes_yielders boolean a bare coroutine.yield() lets others go first; false: who yields
--- so is resumed by somebody else

--- Gives a host check, parks, wait, park, unpark, task, resumes, spawn, wrap, drain, known, busy,
--- give_up and era.
---@param host table
---@return table host
function scheduler.equip(host)
  local waiting, count = {}, 0 -- slot -> the coroutine that waits for it
  local scheduled = setmetatable({}, { __mode = 'k' }) -- coroutines that are resumed here
  local queue, first, last = {}, 1, 0 -- those that were started, or unparked
  local woken = false -- some whose calls are done were not resumed yet
  local known -- the hub that has been told of `waiting`
  local own = wraps.new(function(on, slot) host.wait(on, slot) end, function() host.park() end,
    function(co) return scheduled[co] end)

  host.wrap = own.wrap
  host.waits_here = true -- calls may wait by themselves: see wait.here
  host.era = 0 -- how often all that ran here was given up

  --- Whether no coroutine runs.
  ---@return boolean
  function host.outside()
    return current() == nil
  end

  --- Whether a call may be made here; raises before anything is sent.
  function host.check()
    local co, is_free = where()
    if not co then return end
    if scheduled[co] then -- no wrap, and of nobody else
      if not is_free and not host.blocks_inside then wraps.refuse_c_call() end
    elseif host.blocks_inside then
      own.root(co)
    else
      own.check(co)
    end
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
    local co, is_free = where()
    if co == nil or (not is_free and host.blocks_inside) then return host.block(on, slot) end
    if not scheduled[co] and own.pass(co, WAIT, on, slot) then return end
    waiting[slot] = co
    count = count + 1
    if count == 1 and host.waits then host.waits(true) end
    -- somebody else may resume it meanwhile
    repeat yield(WAIT) until waiting[slot] ~= co
  end

  --- Puts a coroutine at the end of those to be resumed.
  ---@param co thread
  function host.unpark(co)
    last = last + 1
    queue[last] = co
    if first == last and host.queued then host.queued() end
  end

  --- Leaves the coroutine until somebody unparks it.
  function host.park()
    local co = current()
    if not own.pass(co, PARK) then yield(PARK) end
  end

  --- The coroutine of the scheduler that runs, itself or a wrap in it; or nil.
  ---@return thread?
  function host.task()
    local co = current()
    return co and own.root(co)
  end

  --- Whether a coroutine is resumed here, or runs in one that is; raises where it is of somebody
  --- else.
  ---@param co thread
  ---@return boolean
  function host.resumes(co)
    return scheduled[co] or own.root(co) ~= nil
  end

  --- Starts a coroutine, at the next turn of the scheduler.
  ---@param fn function
  ---@return thread
  function host.spawn(fn)
    local co = create(fn)
    scheduled[co] = true
    host.unpark(co)
    return co
  end

  -- Who cannot be resumed.
  local function refuse(co)
    local _, why = resume(co)
    if why == DEAD and not getinfo(co, 0) then return end -- it had ended before
    error(debug.traceback(co, tostring(why)), 0)
  end

  -- What hub:go and hub:resume leave to be done.
  local function heed(change, left, co, why)
    if change ~= 0 then
      local before = count
      count = count + change
      if host.waits and (before == 0) ~= (count == 0) then host.waits(count > 0) end
    end
    if left == YIELDS then
      if host.resumes_yielders then host.unpark(co) end
    elseif left == FAILED then
      -- tasks catch their own errors: this is a defect, and not to be swallowed
      error(debug.traceback(co, tostring(why)), 0)
    elseif left == ODD then
      refuse(co)
    end
  end

  -- Those whose calls are done, until it is looked whether the slice is over, and it is.
  local function resume_woken(on)
    repeat
      local change, left, co, why = on:resume(waiting)
      woken = left ~= nil
      heed(change, left, co, why)
    until not left or left == MORE
  end

  -- Those that are queued now; what they queue has its turn after the loop's. Some of them go on
  -- however much the others work.
  local function resume_queue(on)
    local upto, done = last, 0
    while first <= upto do
      local co = queue[first]
      queue[first] = nil
      first, done = first + 1, done + 1
      heed(on:go(co))
      if done % LOOK == 0 and on:slice_over() then return end
    end
    if first > last then first, last = 1, 0 end
  end

  --- Resumes those whose calls are done, and after them those that are queued: who holds a lock
  --- goes on before thousands that have not begun. Then those that these woke, and so on for some
  --- rounds: who hands something on to another coroutine need not wait for a turn of the loop, with
  --- its system calls.
  ---@param on userdata the hub
  ---@param seconds number stop after so much work; the rest stays queued
  function host.drain(on, seconds)
    on:begin_slice(seconds)
    on:tell()
    if known ~= on then on:wait_in(waiting) end
    known = on
    for round = 1, ROUNDS do
      -- who only yields has its turn after the loop's
      if not on:take() and (round > 1 or not host.busy()) then return end
      resume_woken(on)
      resume_queue(on)
      if on:slice_over() then return end
    end
  end

  --- Whether coroutines are there to be resumed.
  ---@return boolean
  function host.busy()
    return first <= last or woken
  end

  --- The coroutines that will be resumed here, by a call that ends or by their place in a queue.
  ---@return table<thread, boolean>
  function host.known()
    local set = {}
    for _, co in pairs(waiting) do set[co] = true end
    for i = first, last do set[queue[i]] = true end
    return set
  end

  --- Gives up all calls, and the coroutines that wait for them: the program was interrupted.
  ---@param on userdata the hub
  function host.give_up(on)
    for slot in pairs(waiting) do on:abandon(slot) end
    if count > 0 and host.waits then host.waits(false) end
    host.era = host.era + 1
    host.forget()
    on:wait_in(waiting) -- which lets go of the coroutines of before
    on:flush()
  end

  --- Forgets all: what waits in the process before a fork waits there.
  function host.forget()
    waiting, count, queue, first, last = {}, 0, {}, 1, 0
    woken, known = false, nil
  end

  return host
end

return scheduler

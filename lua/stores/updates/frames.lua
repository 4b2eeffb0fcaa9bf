--- What coroutines are in the middle of: a transaction, a turn of updateObject, a call that is
--- watched. Such a frame belongs to the function that runs in it, and not to the coroutine: nginx
--- ends a request in the middle of a function, and gives its coroutine to another one. So a frame
--- counts as long as its function stands on the stack of the coroutine, which is looked at.
---
--- A coroutine that is dropped (nginx ends its thread, nobody resumes it any more) hears of nothing
--- itself. The loop looks for such frames, and has done for them what is to be done: a transaction
--- is rolled back, and who waits for a row goes on. What only the collector can tell, that nobody
--- knows a coroutine any more, it is made to tell soon, in small portions.

local core = require('stores.core')
local guards = require('stores.updates.guards')
local wait = require('stores.wait')
local wraps = require('stores.hosts.wraps')

---@class stores.Frames
---@field count integer frames that are not over; 0: there is nothing to look up
local frames = { count = 0 }

local current, stands = wraps.current, core.stands

-- Seconds between two looks; a frame that did nothing for so many looks may have been dropped.
local LOOK, IDLE_LOOKS = 0.25, 2
-- The collector works for so long at once, and after a pass rests for so many times what it took.
local PORTION, STEP, RESTS = 0.004, 200, 10
-- What became garbage while a pass was under way is found by the next one.
local PASSES = 2

---@class stores.Frame
---@field dropped fun(frame: stores.Frame)? what is to be done where its coroutine was dropped; it
--- must not wait
---@field outer stores.Frame? of the same coroutine
---@field hub userdata?
---@field is_over boolean?
---@field era integer? of its host, where that resumes its coroutine: over with it
---@field is_anchored boolean? its host knows the coroutine as long as somebody resumes it
---@field idle integer? how many looks it has seen since it did something

local MAIN = {} -- stands for the coroutine that is none
-- Neither a coroutine nor a frame is kept by this: the stack of the coroutine keeps the frame.
local innermost = setmetatable({}, { __mode = 'kv' }) -- coroutine -> stores.Frame
local ticking -- the hub whose tick comes; nil: none has to
local looks_at, passes_left, worked, rests_until = 0, 0, 0, 0

local function drop(frame)
  if frame.is_over then return end
  frame.is_over = true
  frames.count = frames.count - 1
  -- what began before a fork goes on in the process before it
  if not frame.dropped or not pcall(frame.hub.pending, frame.hub) then return end
  local ok, err = pcall(frame.dropped, frame)
  if not ok then wait.report(err) end
end

local function leave(frame, guard, watch, co, ...)
  if guard then guards.give_back(guard, watch) end
  local at = innermost[co]
  while at and at ~= frame do
    drop(at) -- an error went through it
    at = at.outer
  end
  innermost[co] = frame.outer
  if not frame.is_over then
    frame.is_over = true
    frames.count = frames.count - 1
  end
  return ...
end

-- A frame is there as long as this function is on the stack, with the frame as its first local.
local function within(frame, guard, watch, co, fn, ...)
  return leave(frame, guard, watch, co, fn(...))
end

-- Its host has said so. Whether anything still leads to the coroutine does not matter: what LuaJIT
-- has compiled keeps the functions that it calls, with all that they know.
local function is_given_up(frame)
  return frame.era and frame.era ~= wait.host.era
end

-- The innermost frame that is still there; those that are not have been dropped.
local function find_there(co, frame)
  while frame and (is_given_up(frame) or not stands(co ~= MAIN and co or nil, within, frame)) do
    drop(frame)
    frame = frame.outer
  end
  return frame
end

-- The same for the coroutine that runs: it can have lost a frame only where its host gives
-- coroutines to others, for all that run in frames catch their errors.
local function look_up(co, frame)
  if not wait.host.is_anchored then return frame end
  return find_there(co, frame)
end

local tick

local function begin_ticks(hub)
  ticking = hub
  hub:on_tick(tick)
  hub:tick(LOOK)
end

--- Runs fn(...) in a frame, and returns what it returns. Where fn raises, its frame is dropped: so
--- it had better catch what it can.
---@param hub userdata
---@param frame stores.Frame
---@param fn function
---@param ... any
---@return any ...
function frames.run(hub, frame, fn, ...)
  local co = current() or MAIN
  local outer = innermost[co]
  if outer then outer = look_up(co, outer) end
  frame.outer, frame.hub = outer, hub
  innermost[co] = frame
  frames.count = frames.count + 1
  frame.is_anchored = outer and outer.is_anchored
  local guard, watch
  if frame.dropped and co ~= MAIN then
    guard, watch = guards.take(drop, frame)
    local host = wait.host
    if frame.is_anchored == nil and host.is_anchored then
      frame.is_anchored = host.is_anchored(co)
    end
    frame.era = host.era and host.resumes(co) and host.era
    if ticking ~= hub then begin_ticks(hub) end
  end
  return within(frame, guard, watch, co, fn, ...)
end

--- The innermost frame of the coroutine that runs; its outer ones follow by `outer`.
---@return stores.Frame?
function frames.mine()
  if frames.count == 0 then return nil end
  local co = current() or MAIN
  local frame = innermost[co]
  if not frame then return nil end
  local there = look_up(co, frame)
  if there ~= frame then innermost[co] = there end
  return there
end

-- ---- Looking for those that were dropped --------------------------------------------------------

-- Whether only the collector can tell whether the coroutine of a frame was dropped.
local function is_suspect(frame)
  frame.idle = (frame.idle or 0) + 1
  return frame.idle >= IDLE_LOOKS
end

-- Drops what is gone; returns whether the collector should be asked.
local function look()
  local known = wait.host.known and wait.host.known()
  local any = false
  for co, frame in pairs(innermost) do
    if co ~= MAIN then
      local waits = known and known[co]
      -- who is resumed where it waits has lost none, but where its host gives coroutines to others
      local there = waits and not wait.host.is_anchored and frame or find_there(co, frame)
      if there and there.is_anchored and known and not waits then
        while there do
          drop(there)
          there = there.outer
        end
      end
      if there ~= frame then innermost[co] = there end
      if there and not waits then
        if is_suspect(there) then any = true end
      elseif there then
        there.idle = 0
      end
    end
  end
  return any
end

local function collect(now)
  local ends = now + PORTION
  repeat
    local ok, is_over = pcall(collectgarbage, 'step', STEP)
    if not ok then
      wait.report(is_over)
    elseif is_over then
      passes_left = passes_left - 1
    end
    local at = wait.host.now()
    if passes_left == 0 then
      worked = worked + at - now
      rests_until = at + RESTS * worked
      return
    end
  until at >= ends
  worked = worked + wait.host.now() - now
end

function tick()
  local hub = ticking
  if not hub then return end
  -- Before anything else: LuaJIT raises what a finalizer of the program raises out of whatever asks
  -- for memory, and so perhaps out of this.
  hub:tick(LOOK)
  local now = wait.host.now()
  if now >= looks_at then
    looks_at = now + LOOK
    if look() and passes_left == 0 and now >= rests_until then
      passes_left, worked = PASSES, 0
    end
  end
  if passes_left > 0 then collect(now) end
  if passes_left > 0 then
    hub:tick(PORTION)
  elseif next(innermost) then
    hub:tick(math.max(looks_at - now, 0.001))
  else
    ticking = nil
  end
end

return frames

--- Values that tell of their collection: who may be dropped in the middle of something keeps one on
--- its stack until that has ended, and gives it back then, for somebody else.

local guards = {}

-- What a guard watches is its environment: nothing else may lead there, for from what is watched
-- there may be a way back to the coroutine that holds the guard.
local getfenv, setfenv = debug.getfenv, debug.setfenv

local SPARE = 256
local spare, environments, spares = {}, {}, 0

local first = setfenv(newproxy(true), {}) -- that of who makes it is the program's
getmetatable(first).__gc = function(guard)
  local what = getfenv(guard)
  if what.dropped then pcall(what.dropped, what.watched) end
end

--- A guard; dropped(watched) is called by the collector where it is not given back.
---@param dropped fun(watched: any)
---@param watched any
---@return userdata guard
---@return table environment of the guard; for give_back, and for the same stack
function guards.take(dropped, watched)
  local guard, what
  if spares > 0 then
    guard, what = spare[spares], environments[spares]
    spare[spares], environments[spares], spares = nil, nil, spares - 1
    what.dropped, what.watched = dropped, watched
  else
    what = { dropped = dropped, watched = watched }
    guard = setfenv(newproxy(first), what)
  end
  return guard, what
end

--- Its holder has come to the end.
---@param guard userdata
---@param what table its environment
function guards.give_back(guard, what)
  what.dropped, what.watched = false, false
  if spares < SPARE then
    spares = spares + 1
    spare[spares], environments[spares] = guard, what
  end
end

return guards

--- Values that tell of their collection: who may be dropped in the middle of something keeps one on
--- its stack until that has ended, and gives it back then, for somebody else.

local guards = {}

-- What a guard watches is its environment: nothing else may lead there, for from what is watched
-- there may be a way back to the coroutine that holds the guard.
local getfenv, setfenv = debug.getfenv, debug.setfenv

local SPARE = 256
local spare, spares = {}, 0

local first = newproxy(true)
getmetatable(first).__gc = function(guard)
  local what = getfenv(guard)
  if what.dropped then pcall(what.dropped, what.watched) end
end

--- A guard; dropped(watched) is called by the collector where it is not given back.
---@param dropped fun(watched: any)
---@param watched any
---@return userdata guard
function guards.take(dropped, watched)
  local guard
  if spares > 0 then
    guard, spare[spares], spares = spare[spares], nil, spares - 1
  else
    guard = setfenv(newproxy(first), { dropped = false, watched = false })
  end
  local what = getfenv(guard)
  what.dropped, what.watched = dropped, watched
  return guard
end

--- Its holder has come to the end.
---@param guard userdata
function guards.give_back(guard)
  local what = getfenv(guard)
  what.dropped, what.watched = false, false
  if spares < SPARE then
    spares = spares + 1
    spare[spares] = guard
  end
end

return guards

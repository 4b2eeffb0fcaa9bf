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
  if what.dropped then pcall(what.dropped, what.store, what.row, what.call) end
end

--- A guard; dropped(store, row, call) is called by the collector where it is not given back.
---@param dropped fun(store: stores.Store, row: table, call: table)
---@param store stores.Store
---@param row table
---@param call table
---@return userdata guard
function guards.take(dropped, store, row, call)
  local guard
  if spares > 0 then
    guard, spare[spares], spares = spare[spares], nil, spares - 1
  else
    guard = setfenv(newproxy(first), {})
  end
  local what = getfenv(guard)
  what.dropped, what.store, what.row, what.call = dropped, store, row, call
  return guard
end

--- Its holder has come to the end.
---@param guard userdata
function guards.give_back(guard)
  local what = getfenv(guard)
  what.dropped, what.store, what.row, what.call = nil, nil, nil, nil
  if spares < SPARE then
    spares = spares + 1
    spare[spares] = guard
  end
end

return guards

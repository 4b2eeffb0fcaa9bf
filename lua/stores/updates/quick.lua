--- Which functions of updateObject have never waited for anything, by their places in their
--- sources: those may run without a lock.

local core = require('stores.core')

local quick = {}

local KEPT = 1024 -- functions that are remembered

local never, known = {}, 0 -- place of a function in its source -> whether it never waited

--- Remembers whether the function of a call has waited for something; once is enough.
---@param call stores.Update
---@param waited boolean
function quick.learn(call, waited)
  local place = call.place
  if not place or never[place] == false or (never[place] and not waited) then return end
  if never[place] == nil then
    if known >= KEPT then never, known = {}, 0 end
    known = known + 1
  end
  never[place] = not waited
end

--- Whether a call may be served without a lock: its function is known, and has never waited.
---@param call stores.Update
---@return boolean?
function quick.may_run(call)
  return not call.create and never[call.place]
end

local stands_for = setmetatable({}, { __mode = 'k' })

--- A function that does nothing but call another one is to be known by that one's place.
---@param wrapper function
---@param fn function
function quick.stand_for(wrapper, fn)
  stands_for[wrapper] = fn
end

--- Where a function stands in its source.
---@param fn function
---@return number|false
function quick.place(fn)
  return core.function_place(stands_for[fn] or fn) or false
end

return quick

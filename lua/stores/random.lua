--- Numbers of chance. Not by math.random, whose sequence is the program's own, and which LuaJIT
--- seeds alike in all processes: they would wait for each other in step, and begin in one place.

local core = require('stores.core')

local random = {}

--- A number between the two.
---@param least number
---@param most number
---@return number
function random.between(least, most)
  return least + core.random() * (most - least)
end

--- One of the numbers from 1 to count.
---@param count integer
---@return integer
function random.one_of(count)
  return 1 + math.floor(core.random() * count)
end

--- A name that nobody else has, for what is marked in databases as one's own.
---@param store stores.Store
---@return string
function random.name(store)
  return ('%s-%08x'):format(store:generateId(), math.floor(core.random() * 2 ^ 32))
end

return random

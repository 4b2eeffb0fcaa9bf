--- A pause between two looks at what other runners do, of a random length: two that look at once
--- would keep step for ever.

local random = require('stores.random')
local tasks = require('stores.tasks')

--- Sleeps for a random time between the two.
---@param least number seconds
---@param most number seconds
return function(least, most)
  tasks.sleep(random.between(least, most))
end

--- A pause between two looks at what other runners do, of a random length: two that look at once
--- would keep step for ever.

local tasks = require('stores.tasks')

-- LuaJIT seeds every process alike, so math.random would keep two runners in step.
local function random()
  local address = tonumber(tostring({}):match('0x(%x+)') or '0', 16)
  return (address / 16 + os.clock() * 1e6) % 1009 / 1009
end

--- Sleeps for a random time between the two.
---@param least number seconds
---@param most number seconds
return function(least, most)
  tasks.sleep(least + random() * (most - least))
end

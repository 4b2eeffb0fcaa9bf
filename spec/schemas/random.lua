--- Numbers of chance that a seed repeats, whatever else in the process draws some.

local random = {}

---@class spec.Random
---@field state number
local Random = {}
Random.__index = Random

---@param seed integer
---@return spec.Random
function random.new(seed)
  local self = setmetatable({ state = seed % 2147483647 + 1 }, Random)
  for _ = 1, 5 do self:below(2) end
  return self
end

--- A whole number from 1 to n (Park and Miller's generator).
---@param n integer
---@return integer
function Random:below(n)
  self.state = self.state * 48271 % 2147483647
  return math.floor(self.state / 2147483647 * n) + 1
end

---@param percent number
---@return boolean
function Random:chance(percent)
  return self:below(1000) <= percent * 10
end

---@generic T
---@param list T[]
---@return T
function Random:of(list)
  return list[self:below(#list)]
end

return random

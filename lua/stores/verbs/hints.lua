--- Which row had a value when it was last asked for: hints, each of which is looked at before it
--- counts (unique.lua), and so may be old, or lost. Bounded: in two generations, of which the older
--- one goes when the younger one is full.

local hints = {}

-- So many at most, and bytes of the longest.
local KEPT, LONGEST = 8192, 512

---@class stores.Hints
---@field young table<string, string|false> what was asked for -> the id of the row
---@field old table<string, string|false>
---@field count integer of the young ones

--- The hints of a store.
---@return stores.Hints
function hints.new()
  return { young = {}, old = {}, count = 0 }
end

--- Keeps a hint; nil: there is none any more.
---@param self stores.Hints
---@param key string
---@param id string?
function hints.keep(self, key, id)
  if #key > LONGEST then return end
  if self.young[key] == nil then
    if id == nil and not self.old[key] then return end
    self.count = self.count + 1
    if self.count > KEPT / 2 then self.young, self.old, self.count = {}, self.young, 1 end
  end
  self.young[key] = id or false
end

--- The id that a hint leads to.
---@param self stores.Hints
---@param key string
---@return string|false|nil
function hints.look(self, key)
  local id = self.young[key]
  if id == nil then id = self.old[key] end
  return id
end

return hints

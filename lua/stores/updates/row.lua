--- The calls of one process for one row: those that wait stand at first..last, in their order.

local row = {}

---@class stores.UpdatedRow
---@field key string? nil: no other call can know of it
---@field first integer
---@field last integer

---@param key string?
---@return stores.UpdatedRow
function row.new(key)
  return { key = key, first = 1, last = 0 }
end

---@param self stores.UpdatedRow
---@return boolean
function row.is_empty(self)
  return self.first > self.last
end

--- Puts a call behind those that wait.
---@param self stores.UpdatedRow
---@param call stores.Update
function row.add(self, call)
  self.last = self.last + 1
  self[self.last] = call
end

--- Takes the call that has waited longest; there must be one.
---@param self stores.UpdatedRow
---@return stores.Update
function row.take(self)
  local call = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  return call
end

--- Puts a call that was taken before those that wait.
---@param self stores.UpdatedRow
---@param call stores.Update
function row.put_back(self, call)
  self.first = self.first - 1
  self[self.first] = call
end

--- Takes a call out from where it stands; harmless where it does not.
---@param self stores.UpdatedRow
---@param call stores.Update
function row.remove(self, call)
  for i = self.first, self.last do
    if self[i] == call then
      for j = i, self.last do self[j] = self[j + 1] end
      self.last = self.last - 1
      break
    end
  end
end

return row

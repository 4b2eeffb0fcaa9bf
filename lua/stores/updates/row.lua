--- The calls of one process for one row: those that wait stand at first..last, in their order.

local row = {}

---@class stores.UpdatedRow
---@field key string? nil: no other call can know of it
---@field first integer
---@field last integer
---@field busy boolean a call leads
---@field batch stores.UpdateBatch|false that is open
---@field text string|false what the last batch stored, as PostgreSQL gave it back
---@field text_at number when, on the clock of the hub
---@field next stores.UpdatedRow|false of those that are used again

--- A row that is led.
---@param key string?
---@return stores.UpdatedRow
function row.new(key)
  return { key = key, first = 1, last = 0, busy = true, batch = false, text = false,
    text_at = 0, next = false }
end

-- Rows that nobody changes any more stay, up to so many, or as many as are busy. LuaJIT gives the
-- place of a key that was removed to no other one, and where a table is full it counts all keys and
-- makes it as large as they are: of 256 rows that come and go, each would have had that done.
local IDLE_MOST = 256

---@class stores.UpdatedRows the rows of a store
---@field by_key table<string, stores.UpdatedRow>
---@field busy integer
---@field idle integer
---@field most integer how many were busy at once since one was
---@field before integer the same of the time before that
---@field spare stores.UpdatedRow|false the first of those that were forgotten, to be used again
---@field spares integer

--- The rows of a store that has changed none yet.
---@return stores.UpdatedRows
function row.list()
  return { by_key = {}, busy = 0, idle = 0, most = 0, before = 0, spare = false, spares = 0 }
end

--- The row, where calls change it just now.
---@param list stores.UpdatedRows
---@param key string
---@return stores.UpdatedRow?
function row.find(list, key)
  local found = list.by_key[key]
  return found and found.busy and found or nil
end

--- A row that none of them changes; it is to be led.
---@param list stores.UpdatedRows
---@param key string
---@return stores.UpdatedRow
function row.enter(list, key)
  local self = list.by_key[key]
  list.busy = list.busy + 1
  if list.busy > list.most then list.most = list.busy end
  if self then
    self.first, self.last, self.busy = 1, 0, true
    list.idle = list.idle - 1
  else
    self = list.spare
    if self then
      list.spare, list.spares = self.next, list.spares - 1
      self.key, self.first, self.last, self.busy, self.next = key, 1, 0, true, false
    else
      self = row.new(key)
    end
    list.by_key[key] = self
  end
  return self
end

--- How many rows are busy at once in these times: who comes first of those that were served
--- together, and come again together, is not alone.
---@param list stores.UpdatedRows
---@return integer
function row.together(list)
  return list.most > list.before and list.most or list.before
end

-- May be called by a finalizer, in the middle of itself.
local function forget_idle(list)
  for key, one in pairs(list.by_key) do
    if not one.busy then
      list.by_key[key] = nil
      list.idle = list.idle - 1
      one.text = false
      if list.spares < IDLE_MOST then
        one.next, list.spare, list.spares = list.spare, one, list.spares + 1
      end
    end
  end
end

--- Nobody leads it any more.
---@param list stores.UpdatedRows
---@param self stores.UpdatedRow
function row.leave(list, self)
  self.busy = false
  list.busy, list.idle = list.busy - 1, list.idle + 1
  if list.busy == 0 then list.before, list.most = list.most, 0 end
  if list.idle > IDLE_MOST and list.idle > list.busy then forget_idle(list) end
end

--- Wakes a call, where it sleeps.
---@param store stores.Store
---@param call stores.Update
function row.wake(store, call)
  if call.slot then store.hub:wake(call.slot, call.sleep) end
end

--- Whether nobody waits for it.
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

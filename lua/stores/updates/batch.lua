--- A batch: calls for one row whose functions run one after the other, each on what the one before
--- made of the document, and that are stored together. It is open while its leader has the
--- document: who waits for the row then, or comes, takes part at once, in its own coroutine and in
--- its turn. One that waits for something ends the batch.

local change = require('stores.updates.change')
local errors = require('stores.errors')
local json = require('stores.json')
local quick = require('stores.updates.quick')
local rows = require('stores.updates.row')

local batch = {}

local MOST = 256 -- calls

---@class stores.UpdateBatch
---@field leader stores.Update
---@field calls stores.Update[] who took part, the leader first
---@field text string? the document as the last one left it, as JSON text; nil: there is no row
---@field stores boolean whether one of them left something to be stored
---@field running stores.Update|false whose function runs just now
---@field is_over boolean nobody takes part any more
---@field is_read boolean the document that each of them stores is in its `result`
---@field is_whole boolean so is it for all of them: memory did not run out
---@field unlocked boolean there is no lock: only those take part that may be without one

--- Opens the batch of a row, which its leader takes part in first.
---@param row stores.UpdatedRow
---@param leader stores.Update
---@param text string?
---@param unlocked boolean
---@return stores.UpdateBatch
function batch.open(row, leader, text, unlocked)
  local self = { leader = leader, calls = { leader }, text = text, stores = false, running = false,
    is_over = false, is_read = false, is_whole = true, unlocked = unlocked }
  leader.batch, row.batch = self, self
  return self
end

--- Nobody takes part any more; harmless where there is none.
---@param row stores.UpdatedRow
function batch.close(row)
  if not row.batch then return end
  row.batch.is_over = true
  row.batch = false
end

--- Whether a call that waits for the row may take part: the one that has waited longest.
---@param row stores.UpdatedRow
---@param call stores.Update
---@return boolean?
function batch.may_join(row, call)
  local self = row.batch
  return self and not self.is_over and not self.running and row[row.first] == call
    and #self.calls < MOST and (not self.unlocked or quick.may_run(call))
end

--- Wakes those that may take part.
---@param store stores.Store
---@param row stores.UpdatedRow
---@return boolean any whether somebody may come; false: the first of those that wait may not
function batch.call_in(store, row)
  if not rows.is_empty(row) and not batch.may_join(row, row[row.first]) then return false end
  for i = row.first, math.min(row.last, row.first + MOST - 1) do rows.wake(store, row[i]) end
  return true
end

--- Runs the function of a call of the batch.
---@param store stores.Store
---@param self stores.UpdateBatch
---@param call stores.Update
---@return boolean was_taken false: the leader gave up meanwhile, and put the call back
function batch.take_part(store, self, call)
  self.running = call
  local waited = change.run_on_text(call, self.text)
  if self.running ~= call then return false end
  self.running = false
  if call.ok and call.text then self.text, self.stores = call.text, true end
  if waited then
    self.is_over = true
    rows.wake(store, self.leader)
  end
  return true
end

--- The first of those that wait takes part.
---@param store stores.Store
---@param row stores.UpdatedRow
function batch.join(store, row)
  local self, call = row.batch, rows.take(row)
  self.calls[#self.calls + 1] = call
  call.state, call.batch = 'runs', self
  if batch.take_part(store, self, call) then call.state = 'served' end
end

--- The coroutine of a call whose function runs is gone.
---@param store stores.Store
---@param call stores.Update
function batch.drop(store, call)
  local self = call.batch
  call.ok, call.text = false, nil
  if self.running ~= call then return end
  self.running, self.is_over = false, true
  rows.wake(store, self.leader)
end

local function read(calls)
  for _, call in ipairs(calls) do
    if call.ok and call.text then call.result = json.decode(call.text) end
  end
end

--- Makes of the text that each call stores the document that its caller is given, should it be
--- stored. Where there is no memory for all of them the others hear so when it is.
---@param self stores.UpdateBatch
function batch.read_texts(self)
  if self.is_read then return end
  self.is_read = true
  self.is_whole = pcall(read, self.calls)
end

--- What was stored is committed: a call whose document there was no memory for hears that.
---@param self stores.UpdateBatch
---@param call stores.Update
function batch.explain_unread(self, call)
  if self.is_whole or not call.ok or not call.text or call.result then return end
  call.ok, call.err = false, errors.new('no_memory', 'the document was stored, and memory ran out '
    .. 'when it was to be given back', { outcome = 'committed' })
end

--- Nothing was stored: nobody is given a document.
---@param self stores.UpdateBatch
function batch.forget_texts(self)
  for _, call in ipairs(self.calls) do call.text = nil end
end

--- One that took part waits again, before those who came later; it is of no batch any more.
---@param row stores.UpdatedRow
---@param call stores.Update
function batch.wait_again(row, call)
  call.state, call.batch = 'waits', false
  rows.put_back(row, call)
end

--- The batch is not stored, and runs again: those that took part stand before those who came later.
---@param row stores.UpdatedRow
---@param leader stores.Update it stays the leader
function batch.put_back(row, leader)
  local self = leader.batch
  if not self then return end
  batch.close(row)
  self.running, leader.batch = false, false
  for i = #self.calls, 2, -1 do
    local call = self.calls[i]
    if call.state == 'runs' or call.state == 'served' then batch.wait_again(row, call) end
  end
end

return batch

--- updateObject without a lock, for functions that do not wait. While many calls for different rows
--- are under way, a row is read with the other reads of the tick, the function runs, and the row is
--- replaced with the other writes of the tick, where it still holds the very text that was read
--- (optimistic concurrency control: Kung and Robinson, 1981). So hundreds of calls share a few
--- round trips and flushes to disk. A function that does not wait cannot tell this from a lock.
--- Where somebody else changed the row in between, and for every function that has waited for
--- something before, or has not run here before, the row is locked instead.
---
--- A batch that comes right behind another one of its row does not read at all: it starts from what
--- that one has stored. What its functions return or raise counts, as their changes do, only where
--- the row held that very text when it was replaced; else they run again, under the lock.

local batches = require('stores.updates.batch')
local deadline = require('stores.updates.deadline')
local errors = require('stores.errors')
local holds = require('stores.updates.holds')
local json = require('stores.json')
local quick = require('stores.updates.quick')
local rows = require('stores.updates.row')
local wait = require('stores.wait')

local optimistic = {}

local FEWEST = 4 -- rows under way: fewer have a connection each, and locks cost them nothing
local CONTENDED = 1 -- seconds for which a row is locked at once after a conflict
local FOLLOWS = 0.05 -- seconds behind a batch in which the next one may start from what it stored
local TEXT_MOST = 8192 -- bytes of that
local MANY = 8 -- calls of a batch whose documents are worth a tick
local OPENING = ('{'):byte()
local KEPT = 1024 -- rows of conflicts that are remembered

local function is_contended(store, key)
  local at = store.conflicts[key]
  return at and store.hub:now() - at <= CONTENDED
end

--- Whether a call had better not lock its row.
---@param store stores.Store
---@param key string of the row
---@param call stores.Update
---@return boolean?
function optimistic.suits(store, key, call)
  return rows.together(store.updating) >= FEWEST and quick.may_run(call)
    and not is_contended(store, key)
end

local function remember_conflict(store, key)
  if store.conflict_count >= KEPT then store.conflicts, store.conflict_count = {}, 0 end
  if not store.conflicts[key] then store.conflict_count = store.conflict_count + 1 end
  store.conflicts[key] = store.hub:now()
end

local function left(store, call)
  return deadline.left(store.hub, call.deadline, 'the call')
end

local function next_tick(hub)
  wait.slot(hub, (hub:sleep(0)))
end

-- Stores it where the row still holds that text. Nil: it does not.
local function replace(store, row, name, call, text, changed)
  call.storing = true
  local batch = call.batch
  local slot = store.engine:replace(name, call.id, changed, text, left(store, call),
    call.opts.cache, batch ~= false)
  if batch and #batch.calls >= MANY then
    -- a tick sends it: while the server works for it there is nothing else to do
    call.sent = slot
    local waited, err = pcall(next_tick, store.hub)
    if waited then
      batches.read_texts(batch)
    elseif not errors.is(err, 'no_memory') then
      errors.throw(err)
    end
    call.sent = false
  end
  local found, _, stored = wait.rest(store.hub, slot)
  if found then return true, stored end
  remember_conflict(store, row.key)
  return nil
end

local function read_and_replace(store, row, name, call, serve)
  local text = wait.slot(store.hub,
    store.engine:find(name, call.id, left(store, call), false, true))
  if text and text:byte() ~= OPENING then return nil end -- under the lock it is said what it is
  local read, document = true, nil
  if text then read, document = pcall(json.decode, text) end
  if not read then return nil end
  if document then document.id = call.id end -- whatever is stored
  local changed = serve(store, row, call, document, true)
  if not changed then return true end
  if not text then return nil end
  return replace(store, row, name, call, text, changed)
end

-- Where nothing is to be stored nobody has said that the text was the row's.
local function follow(store, row, name, call, serve)
  local text = row.text
  row.text = false
  local changed = serve(store, row, call, text)
  if not changed then return nil end
  return replace(store, row, name, call, text, changed)
end

--- Nobody waits any more for what a call has sent.
---@param store stores.Store
---@param call stores.Update
function optimistic.give_up(store, call)
  if call.sent then store.hub:abandon(call.sent) end
  call.sent = false
end

local function run(attempt, store, row, name, call, serve)
  if call.outer then holds.check_begin(store) end
  call.connects = true
  local ok, done, stored = pcall(attempt, store, row, name, call, serve)
  call.connects = false
  if not ok then
    optimistic.give_up(store, call)
    return false, done
  end
  return done, stored
end

--- Reads the row, calls serve(store, row, call, document, true), which gives what is to be stored
--- (nil: nothing), and stores it. A function that waits for the first time is not run again for
--- that: it locks from then on.
---@param store stores.Store
---@param row stores.UpdatedRow
---@param name string
---@param call stores.Update the first that is served
---@param serve fun(store: table, row: table, call: table, document: table?, unlocked: true): table?
---@return boolean? done true; false: it failed; nil: nothing was stored, and the lock is needed
---@return any stored the document as it is now, or the error; of a batch as JSON text
function optimistic.run(store, row, name, call, serve)
  return run(read_and_replace, store, row, name, call, serve)
end

--- Keeps what a batch has stored: the next one, if it comes soon, may start from it.
---@param store stores.Store
---@param row stores.UpdatedRow
---@param stored string
function optimistic.keep(store, row, stored)
  if #stored > TEXT_MOST or stored:byte() ~= OPENING then return end
  row.text, row.text_at = stored, store.hub:now()
end

--- Whether a call had better start from what the batch before has stored: where many rows are under
--- way their batches share reads and transactions, which is more than a read that is spared.
---@param store stores.Store
---@param row stores.UpdatedRow
---@param call stores.Update
---@return boolean?
function optimistic.follows(store, row, call)
  return row.text and rows.together(store.updating) < FEWEST and quick.may_run(call)
    and store.hub:now() - row.text_at < FOLLOWS and not is_contended(store, row.key)
end

--- Calls serve(store, row, call, text) with what the batch before has stored, and stores what it
--- gives.
---@param store stores.Store
---@param row stores.UpdatedRow
---@param name string
---@param call stores.Update
---@param serve fun(store: table, row: table, call: table, text: string): table?
---@return boolean? done as that of run; nil also where there was nothing to be stored
---@return any stored
function optimistic.follow(store, row, name, call, serve)
  return run(follow, store, row, name, call, serve)
end

return optimistic

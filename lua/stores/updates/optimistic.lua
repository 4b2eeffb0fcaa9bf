--- updateObject without a lock, for functions that do not wait. While many calls for different rows
--- are under way, a row is read with the other reads of the tick, the function runs, and the row is
--- replaced with the other writes of the tick, where it still holds the very text that was read
--- (optimistic concurrency control: Kung and Robinson, 1981). So hundreds of calls share a few
--- round trips and flushes to disk. A function that does not wait cannot tell this from a lock.
--- Where somebody else changed the row in between, and for every function that has waited for
--- something before, or has not run here before, the row is locked instead.

local core = require('stores.core')
local deadline = require('stores.updates.deadline')
local errors = require('stores.errors')
local holds = require('stores.updates.holds')
local json = require('stores.json')
local wait = require('stores.wait')

local optimistic = {}

local FEWEST = 4 -- rows under way: fewer have a connection each, and locks cost them nothing
local CONTENDED = 1 -- seconds for which a row is locked at once after a conflict
local KEPT = 1024 -- functions, and rows of conflicts, that are remembered

local quick, known = {}, 0 -- place of a function in its source -> whether it never waited

--- Remembers whether the function of a call has waited for something; once is enough.
---@param call stores.Update
---@param waited boolean
function optimistic.learn(call, waited)
  local place = call.place
  if not place or quick[place] == false or (quick[place] and not waited) then return end
  if quick[place] == nil then
    if known >= KEPT then quick, known = {}, 0 end
    known = known + 1
  end
  quick[place] = not waited
end

--- Whether a call may be served without a lock: its function is known, and has never waited.
---@param call stores.Update
---@return boolean?
function optimistic.may_serve(call)
  return not call.create and quick[call.place]
end

local stands_for = setmetatable({}, { __mode = 'k' })

--- A function that does nothing but call another one is to be known by that one's place.
---@param wrapper function
---@param fn function
function optimistic.stand_for(wrapper, fn)
  stands_for[wrapper] = fn
end

--- Where a function stands in its source.
---@param fn function
---@return number|false
function optimistic.place(fn)
  return core.function_place(stands_for[fn] or fn) or false
end

--- Whether a call had better not lock its row.
---@param store stores.Store
---@param key string of the row
---@param call stores.Update
---@return boolean?
function optimistic.suits(store, key, call)
  if store.updating.busy < FEWEST or not optimistic.may_serve(call) then return false end
  local at = store.conflicts[key]
  return not at or store.hub:now() - at > CONTENDED
end

local function remember_conflict(store, key)
  if store.conflict_count >= KEPT then store.conflicts, store.conflict_count = {}, 0 end
  if not store.conflicts[key] then store.conflict_count = store.conflict_count + 1 end
  store.conflicts[key] = store.hub:now()
end

local function left(store, call)
  return deadline.left(store.hub, call.deadline, 'the call')
end

local function attempt(store, row, name, call, serve)
  local text = wait.slot(store.hub,
    store.engine:find(name, call.id, left(store, call), false, true))
  if text and text:sub(1, 1) ~= '{' then return nil end -- under the lock it is said what it is
  local read, document = true, nil
  if text then read, document = pcall(json.decode, text) end
  if not read then return nil end
  if document then document.id = call.id end -- whatever is stored
  local changed = serve(store, row, call, document, true)
  if not changed then return true end
  if not store.engine then errors.raise('closed', 'the store was closed') end
  if not text then return nil end
  call.storing = true
  local found, _, stored = wait.slot(store.hub, store.engine:replace(name, call.id, changed, text,
    left(store, call), call.opts.cache, false))
  if found then return true, stored end
  remember_conflict(store, row.key)
  return nil
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
---@return any stored the document as it is now, or the error
function optimistic.run(store, row, name, call, serve)
  holds.check_begin(store)
  -- a verb of the function that touches the row raises
  local hold = holds.of_row(store, name, call.id, true)
  local ok, done, stored = holds.run(hold, pcall, attempt, store, row, name, call, serve)
  if not ok then return false, done end
  return done, stored
end

return optimistic

--- updateObject: a Lua function changes a document inside a transaction that holds the row's lock.
---
--- Calls of one process for the same row queue here before they take a connection. The first one
--- leads: when it has the lock, those that wait are served with it, each function on the result of
--- the one before, by one UPDATE and one COMMIT. Each function runs in the coroutine of its caller,
--- on a document of its own. One that raises is undone alone; one that waits for something ends the
--- batch: it and those before it commit, the others start the next one. While many rows are under
--- way, a batch of functions that do not wait takes no lock at first: optimistic.lua.

local arguments = require('stores.verbs.arguments')
local deadline = require('stores.updates.deadline')
local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local holds = require('stores.updates.holds')
local json = require('stores.json')
local optimistic = require('stores.updates.optimistic')
local rows = require('stores.updates.row')
local seen = require('stores.verbs.seen')
local transaction = require('stores.updates.transaction')
local wait = require('stores.wait')

local updates = {}

-- Another one made the row between our look and our insert: look again.
local CREATE_RETRIED = { serialization = true, deadlock = true, duplicate = true }
local BATCH_MOST = 256

---@class stores.Update : stores.Frame one call
---@field fn fun(document: table?): table|false|nil
---@field id string
---@field create boolean?
---@field definition stores.Definition|false of its table
---@field store_of stores.Store
---@field place number|false where its function stands in its source
---@field opts table
---@field deadline number
---@field state 'waits'|'leads'|'turn'|'served'|'done'|'left'
---@field slot integer|false what it sleeps on
---@field sleep number which of the slot's sleeps that is
---@field turns integer how many turns it was given
---@field given string? the document as JSON text, at its turn; nil: there is no row
---@field served stores.Update[]|false of a leader: whom its batch serves, itself among them
---@field storing boolean of a leader: what they made of the row was sent
---@field ok boolean whether its function, and then its transaction, succeeded
---@field err any
---@field changed table? what its function made of the document; nil: nothing to store
---@field text string? the same as JSON text
---@field result table|false|nil

-- ---- The function -------------------------------------------------------------------------------

local function apply(call, document)
  local definition, old = call.definition, nil
  if definition then
    document, old = documents.to_change(definition, document, seen.now(call.store_of))
  end
  if document == nil and not call.create then return end
  local result = call.fn(document)
  if result == nil then result = document end
  if result == false then
    call.result = false
  elseif result ~= nil then
    local changed = transaction.check_changed(result, call.id)
    if definition then documents.check(definition, changed, old) end
    call.changed = changed
  end
end

local function write_changed(call)
  call.text = json.encode(call.changed)
end

-- Runs the function on a document that is its own; whether it waited for something meanwhile.
local function run(call, document)
  local waits = wait.count()
  call.changed, call.text, call.result = nil, nil, nil
  call.ok, call.err = pcall(apply, call, document)
  local waited = wait.count() ~= waits
  optimistic.learn(call, waited)
  return waited
end

-- The same between others, whose documents go by text: what cannot be stored fails alone.
local function run_on_text(call, text)
  local waited = run(call, text and json.decode(text))
  if call.ok and call.changed then
    call.ok, call.err = pcall(write_changed, call)
  end
  call.changed = nil
  return waited
end

-- ---- Sleeping and waking ------------------------------------------------------------------------

local function wake(store, call)
  if call.slot then store.hub:wake(call.slot, call.sleep) end
end

local function hand_over(store, call, state)
  call.state = state
  wake(store, call)
end

-- Sleeps once, until woken or the deadline. False: the deadline is over.
local function sleep(store, call)
  local left = call.deadline - store.hub:now()
  if left <= 0 then return false end
  call.slot, call.sleep = store.hub:sleep(math.min(left, 1e6))
  local ok, err = pcall(wait.slot, store.hub, call.slot)
  call.slot = false
  if not ok then errors.throw(err) end
  return true
end

-- ---- A batch ------------------------------------------------------------------------------------

-- The leader gives the document to one that waits, and waits until it comes back.
local function give_turn(store, leader, call, text)
  call.given, call.leader, call.turns = text, leader, call.turns + 1
  hand_over(store, call, 'turn')
  while call.state == 'turn' do
    if not sleep(store, leader) then
      errors.raise('timeout', 'another function for the same row did not end within the deadline')
    end
  end
  return call.waited
end

-- Serves the leader and those that wait; returns the document as the last one left it, or nil where
-- nothing is to be stored. unlocked: only those are served that may be without a lock.
local function serve(store, row, leader, document, unlocked)
  local served = leader.served
  if rows.is_empty(row) then
    run(leader, document)
    return leader.ok and leader.changed or nil
  end
  local text = document and json.encode(document)
  local stored
  local ended = run_on_text(leader, text)
  if leader.ok and leader.text then text, stored = leader.text, true end
  while not ended and #served < BATCH_MOST and not rows.is_empty(row)
    and not (unlocked and not optimistic.may_serve(row[row.first])) do
    local call = rows.take(row)
    served[#served + 1] = call
    ended = give_turn(store, leader, call, text)
    if call.ok and call.text then text, stored = call.text, true end
  end
  return stored and json.decode(text) or nil
end

local function serve_locked(tx, store, row, name, leader)
  local document = tx:lock_row(name, leader.id)
  local changed = serve(store, row, leader, document)
  if changed then
    leader.storing = true
    local kind = document == nil and 'insert' or 'update'
    local stored = tx:store_and_commit(kind, name, leader.id, changed, leader.opts)
    if leader.changed then leader.result = stored end
  end
end

local function serve_and_end(tx, store, row, name, leader)
  local ok, err = pcall(serve_locked, tx, store, row, name, leader)
  tx:end_use()
  return ok, err
end

-- One transaction for the leader and whom it serves. False and why where it was rolled back.
local function run_batch(store, row, name, leader)
  local tx = transaction.begin(store, nil, leader.deadline)
  return tx:around(serve_and_end, tx, store, row, name, leader)
end

-- The same without a lock. Nil: the lock is needed, and nothing was stored.
local function run_unlocked(store, row, name, leader)
  local done, stored = optimistic.run(store, row, name, leader, serve)
  if done and leader.changed then leader.result = stored end
  return done, stored
end

-- The batch runs again: those who were served stand before those who came later.
local function put_back(row, leader, served)
  for i = #served, 1, -1 do
    local call = served[i]
    if call ~= leader and (call.state == 'turn' or call.state == 'served') then
      call.state = 'waits'
      rows.put_back(row, call)
    end
  end
end

-- Those who were served hear how it ended: their own error, the transaction's, or their document.
-- Whose function still runs, because the leader's time is over, runs again; and so do all, where
-- that is all that failed.
local function conclude(store, row, leader, ok, err)
  local served = leader.served
  local is_late = not ok and errors.is(err, 'timeout') and err.outcome == 'none'
  for i = #served, 1, -1 do
    local call = served[i]
    if call ~= leader and call.state == 'turn' or (is_late and call.state == 'served') then
      table.remove(served, i)
      put_back(row, leader, { call })
    end
  end
  for _, call in ipairs(served) do
    if call.ok and not ok then
      call.ok, call.err = false, err
    elseif call.ok and call.text then
      call.result = json.decode(call.text)
    end
    if call ~= leader and call.state ~= 'left' then hand_over(store, call, 'done') end
  end
  if leader.ok and not ok then leader.ok, leader.err = false, err end
end

-- Whether the batch may run again. A row that is in the way by another unique column than the id
-- stays in the way.
local function may_retry(err, codes)
  return transaction.may_retry(err, codes) and not (err.code == 'duplicate' and err.constraint)
end

local function attempt(_, store, row, name, leader, codes)
  if not store.engine then errors.raise('closed', 'the store was closed') end
  local done, why
  leader.served, leader.storing = { leader }, false
  if row.key and optimistic.suits(store, row.key, leader) then
    done, why = run_unlocked(store, row, name, leader)
    if done == nil then
      put_back(row, leader, leader.served)
      leader.served, leader.storing = { leader }, false
    end
  end
  if done == nil then done, why = run_batch(store, row, name, leader) end
  if not done and may_retry(why, codes) then
    put_back(row, leader, leader.served)
    return false, why
  end
  conclude(store, row, leader, done, why)
  return true
end

local function lead(store, row, name, leader)
  local codes = leader.create and CREATE_RETRIED or transaction.RETRIED
  leader.ok = true
  local ok, err = pcall(transaction.retry, store, leader.opts.retries, leader.deadline, codes,
    attempt, store, row, name, leader, codes)
  if not ok and leader.ok then leader.ok, leader.err = false, err end
end

-- ---- The calls of a row -------------------------------------------------------------------------

-- The first that still waits leads next; without one the row is free.
local function pass_lead(store, row)
  if not rows.is_empty(row) then
    hand_over(store, rows.take(row), 'leads')
  else
    rows.leave(store.updating, row)
  end
end

-- Sleeps; who is not woken by its host, but raised out of it, waits no more.
local function sleep_in(store, row, call)
  local ok, woken = pcall(sleep, store, call)
  if ok then return woken end
  rows.remove(row, call)
  call.state = 'left'
  errors.throw(woken)
end

-- Follows the states of a call until it is served.
local function follow(store, row, name, call)
  while call.state ~= 'done' do
    if call.state == 'leads' then
      lead(store, row, name, call)
      call.state = 'done'
      pass_lead(store, row)
    elseif call.state == 'turn' then
      local leader, turn = call.leader, call.turns
      -- its leader holds the row for it: a verb of the function that touches the row raises
      local hold = holds.of_row(store, name, call.id, false)
      call.waited = holds.run(hold, run_on_text, call, call.given)
      -- a leader that gave up meanwhile put this call back, and it may have another turn already
      if call.state == 'turn' and call.turns == turn then
        call.state = 'served'
        wake(store, leader)
      end
    elseif not sleep_in(store, row, call) then
      local outcome = call.state == 'served' and 'unknown' or 'none'
      rows.remove(row, call)
      call.state = 'left'
      errors.raise('timeout', 'the call did not end within its deadline: it waited for the row',
        { outcome = outcome })
    end
  end
end

-- The leader is gone: whom it served runs again, where nothing was sent yet.
local function abandon(store, row, leader)
  leader.slot = false
  if not leader.storing then return put_back(row, leader, leader.served) end
  for _, call in ipairs(leader.served) do
    if call ~= leader and call.state == 'served' then
      call.ok, call.err = false, errors.new('abandoned',
        'the call that stored the row for this one went away', { outcome = 'unknown' })
      hand_over(store, call, 'done')
    end
  end
end

-- What is done for a coroutine that is dropped before its call ended: others go on without it. It
-- may run in the collector, and so only changes states and wakes.
local function dropped(call)
  local store, row = call.store, call.row
  local state = call.state
  if state == 'done' or state == 'left' then return end
  call.state = 'left'
  if state == 'leads' then
    if call.served then abandon(store, row, call) end
    pass_lead(store, row)
  elseif state == 'waits' then
    rows.remove(row, call)
  elseif state == 'turn' then
    call.ok, call.text, call.waited = false, nil, true
    wake(store, call.leader)
  end
end

--- Runs updateObject; its arguments are checked.
---@param store stores.Store
---@param name string
---@param id string
---@param fn fun(document: table?): table|false|nil
---@param opts table
---@return table|false|nil document as it is now; nil: no row has the id; false: fn returned false
function updates.run(store, name, id, fn, opts)
  arguments.check_function(fn, 'updateObject')
  -- all of its fields at once: a table that grows is made again each time
  local call = { fn = fn, id = id, create = opts.create or false, opts = opts,
    definition = store.tables[name], store_of = store,
    place = optimistic.place(fn), deadline = deadline.of(store, opts.timeout),
    state = 'waits', slot = false, sleep = 0, turns = 0, leader = false, given = false, ok = true,
    waited = false, served = false, storing = false, err = nil, changed = nil, text = nil,
    result = nil, store = false, row = false, dropped = false, outer = nil, hub = nil, idle = 0,
    is_over = false, is_anchored = false }
  local key = name .. '/' .. id
  local combine = opts.combine
  if combine == nil then combine = store.combine ~= false end
  local row = rows.find(store.updating, key)
  -- one that blocks cannot wait for coroutines, and options of its own are its own transaction
  local own = not combine or arguments.raw_of(store, opts) or opts.cache == false
    or (row and not wait.host.parks())
  if own then
    lead(store, rows.new(), name, call)
  else
    if row then
      rows.add(row, call)
    else
      call.state = 'leads'
      row = rows.enter(store.updating, key)
    end
    call.store, call.row, call.dropped = store, row, dropped
    local ok, err = frames.run(store.hub, call, pcall, follow, store, row, name, call)
    if not ok then errors.throw(err) end
  end
  if not call.ok then
    if call.definition then call.definition:explain(call.err) end
    errors.throw(call.err)
  end
  return call.result
end

return updates

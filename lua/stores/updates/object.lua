--- updateObject: a Lua function changes a document inside a transaction that holds the row's lock.
---
--- Calls of one process for the same row queue here before they take a connection. The first one
--- leads: when it has the lock, those that wait are served with it, by one UPDATE and one COMMIT,
--- as are those that come before it is sent: batch.lua. Each function runs in the coroutine of its
--- caller, on a document of its own. One that raises is undone alone; one that waits for something
--- ends the batch: it and those before it commit, the others start the next one. While many rows
--- are under way, or where a batch follows directly on another one, functions that do not wait take
--- no lock at first: optimistic.lua.

local arguments = require('stores.verbs.arguments')
local batches = require('stores.updates.batch')
local change = require('stores.updates.change')
local deadline = require('stores.updates.deadline')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local json = require('stores.json')
local optimistic = require('stores.updates.optimistic')
local quick = require('stores.updates.quick')
local rows = require('stores.updates.row')
local transaction = require('stores.updates.transaction')
local wait = require('stores.wait')

local updates = {}

-- Another one made the row between our look and our insert: look again.
local CREATE_RETRIED = { serialization = true, deadlock = true, table_not_found = true,
  duplicate = true }

---@class stores.Update : stores.Hold one call
---@field fn fun(document: table?): table|false|nil
---@field id string
---@field row stores.UpdatedRow|false that it waits for, or leads; false: it shares none
---@field create boolean?
---@field definition stores.Definition|false of its table
---@field place number|false where its function stands in its source
---@field opts table
---@field deadline number
---@field state 'waits'|'leads'|'runs'|'served'|'done'|'left'
---@field slot integer|false what it sleeps on
---@field sleep number which of the slot's sleeps that is
---@field batch stores.UpdateBatch|false that it leads, or takes part in
---@field storing boolean of a leader: what they made of the row was sent
---@field sent integer|false the slot of that, while something else is waited for
---@field ok boolean whether its function, and then its transaction, succeeded
---@field err any
---@field changed table? what its function made of the document; nil: nothing to store
---@field text string? the same as JSON text
---@field result table|false|nil

-- ---- Sleeping and waking ------------------------------------------------------------------------

local function hand_over(store, call, state)
  call.state = state
  rows.wake(store, call)
end

-- Sleeps once, until woken or the deadline. False: the deadline is over.
local function sleep(store, call)
  local left = call.deadline - store.hub:now()
  if left <= 0 then return false end
  local slot, which = store.hub:sleep(left < 1e6 and left or 1e6)
  call.slot, call.sleep = slot, which
  wait.slot(store.hub, slot)
  call.slot = false
  return true
end

-- ---- A batch ------------------------------------------------------------------------------------

-- Has the leader and those that wait, or come within this tick, take part in a batch. Gives the
-- document as the last one left it; nil: nothing is to be stored.
local function gather(store, row, leader, text, unlocked)
  local batch = batches.open(row, leader, text, unlocked)
  batches.take_part(store, batch, leader)
  if not batch.is_over and batches.call_in(store, row) then
    wait.slot(store.hub, (store.hub:sleep(0)))
  end
  while batch.running do
    if not sleep(store, leader) then
      errors.raise('timeout', 'another function for the same row did not end within the deadline')
    end
  end
  batches.close(row)
  return batch.stores and json.decode(batch.text) or nil
end

-- Serves the leader, and those that wait.
local function serve(store, row, leader, document, unlocked)
  if rows.is_empty(row) then
    change.run(leader, document)
    return leader.ok and leader.changed or nil
  end
  return gather(store, row, leader, document and json.encode(document), unlocked or false)
end

local function serve_on_text(store, row, leader, text)
  return gather(store, row, leader, text, true)
end

-- What became of the row. A lone leader gets it; of a batch each has its own. Nil where something
-- was to be stored: a trigger kept the row.
local function take_stored(store, row, leader, stored)
  local batch = leader.batch
  if not batch then
    if leader.changed then leader.result = stored end
  elseif not stored then
    batches.forget_texts(batch)
  elseif batch.calls[2] then
    optimistic.keep(store, row, stored)
  else
    leader.text = stored
  end
end

local AS_TEXT = { raw = true }

local function serve_locked(tx, store, row, name, leader)
  local document = tx:lock_row(name, leader.id, nil, true)
  local changed = serve(store, row, leader, document)
  if changed then
    leader.storing = true
    local kind = document == nil and 'insert' or 'update'
    take_stored(store, row, leader, tx:store_and_commit(kind, name, leader.id, changed,
      leader.batch and AS_TEXT or leader.opts))
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
local function run_unlocked(store, row, name, leader, try, how)
  local done, stored = try(store, row, name, leader, how)
  if done then
    take_stored(store, row, leader, stored)
  elseif done == nil then
    batches.put_back(row, leader)
    leader.storing, leader.ok = false, true
  end
  return done, stored
end

-- What the others of a batch hear of an error of the leader's that is none of Stores and says
-- nothing of what was stored: memory ran out, or somebody pressed Ctrl-C.
local function for_others(leader, err)
  if errors.is(err) or not leader.storing then return err end
  return errors.new('abandoned', 'the call that stored the row for this one failed: '
    .. errors.text(err), { outcome = 'unknown' })
end

-- Those who took part hear how it ended: their own error, the transaction's, or their document.
-- Whose function still runs, because the leader's time is over, runs again; and so do all, where
-- that is all that failed.
local function conclude_batch(store, row, leader, ok, err)
  local batch = leader.batch
  local is_late = not ok and errors.is(err, 'timeout') and err.outcome == 'none'
  batches.close(row)
  batch.running = false
  for i = #batch.calls, 1, -1 do
    local call = batch.calls[i]
    if call.state == 'runs' or (is_late and call.state == 'served') then
      table.remove(batch.calls, i)
      batches.wait_again(row, call)
    end
  end
  if ok then batches.read_texts(batch) end
  local told = not ok and for_others(leader, err)
  for _, call in ipairs(batch.calls) do
    if call.ok and not ok then call.ok, call.err = false, call == leader and err or told end
    if ok then batches.explain_unread(batch, call) end
    if call ~= leader and call.state ~= 'left' then hand_over(store, call, 'done') end
  end
end

local function conclude(store, row, leader, ok, err)
  if leader.batch then
    conclude_batch(store, row, leader, ok, err)
    leader.batch = false
  end
  if leader.ok and not ok then leader.ok, leader.err = false, err end
end

-- Whether the batch may run again. A row that is in the way by another unique column than the id
-- stays in the way.
local function may_retry(err, codes)
  return transaction.may_retry(err, codes) and not (err.code == 'duplicate' and err.constraint)
end

-- Whether it ended; else why another attempt may succeed.
local function attempt(store, row, name, leader, codes)
  local done, why
  leader.storing, leader.ok = false, true
  if row.key and optimistic.follows(store, row, leader) then
    done, why = run_unlocked(store, row, name, leader, optimistic.follow, serve_on_text)
  end
  if done == nil and row.key and optimistic.suits(store, row.key, leader) then
    done, why = run_unlocked(store, row, name, leader, optimistic.run, serve)
  end
  if done == nil then done, why = run_batch(store, row, name, leader) end
  if not done and may_retry(why, codes) then
    batches.put_back(row, leader)
    return false, why
  end
  conclude(store, row, leader, done, why)
  return true
end

local function lead(store, row, name, leader)
  local codes = leader.create and CREATE_RETRIED or transaction.RETRIED
  local try = 1
  while not store.closed do
    local done, why = attempt(store, row, name, leader, codes)
    if done then return end
    if not transaction.goes_on(store, leader.opts.retries, leader.deadline, codes, try, why) then
      leader.ok, leader.err = false, why
      return
    end
    try = try + 1
  end
  leader.ok, leader.err = false, errors.new('closed', 'the store is closed')
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

-- Follows the states of a call until it is served.
local function follow(store, row, name, call)
  while call.state ~= 'done' do
    if call.state == 'leads' then
      lead(store, row, name, call)
      call.state = 'done'
      pass_lead(store, row)
    elseif call.state == 'waits' and batches.may_join(row, call) then
      batches.join(store, row)
    elseif not sleep(store, call) then
      local outcome = call.state == 'served' and 'unknown' or 'none'
      errors.raise('timeout', 'the call did not end within its deadline: it waited for the row',
        { outcome = outcome })
    end
  end
end

-- The leader is gone: whom it served runs again, where nothing was sent yet.
local function abandon(store, row, leader)
  local batch = leader.batch
  leader.slot = false
  optimistic.give_up(store, leader)
  if not batch then return end
  if not leader.storing then return batches.put_back(row, leader) end
  for _, call in ipairs(batch.calls) do
    if call ~= leader and call.state == 'served' then
      call.ok, call.err = false, errors.new('abandoned',
        'the call that stored the row for this one went away', { outcome = 'unknown' })
      hand_over(store, call, 'done')
    end
  end
end

-- What is done for a call that ends before it is served, for its deadline came, or its coroutine
-- was dropped: others go on without it. It may run in the collector, and so only changes states and
-- wakes.
local function leave(call)
  local store, row = call.store, call.row
  local state = call.state
  if state == 'done' or state == 'left' then return end
  call.state = 'left'
  if state == 'leads' then
    abandon(store, row, call)
    pass_lead(store, row)
  elseif state == 'waits' then
    rows.remove(row, call)
  elseif state == 'runs' then
    batches.drop(store, call)
  end
end

-- Calls that have ended and are used again: a table of theirs is a third of what a call leaves to
-- the collector. Nobody knows one that ended in the ordinary way.
local SPARE = 64
local spare, spares = {}, 0

local function new_call(store, name, id, fn, opts)
  local call
  if spares > 0 then
    call, spares = spare[spares], spares - 1
  else
    -- all of its fields at once: a table that grows is made again each time
    call = { fn = false, name = false, id = false, create = false, opts = false,
      definition = false, place = false, deadline = 0, state = 'waits', slot = false, sleep = 0,
      batch = false, sent = false, storing = false, ok = true, err = false, changed = false,
      text = false, result = false, store = false, rows = false, connects = false,
      taken = false, row = false,
      dropped = false, outer = false, hub = false, era = false, idle = 0, is_over = false,
      is_anchored = false }
  end
  call.fn, call.name, call.id, call.opts, call.store = fn, name, id, opts, store
  call.create, call.definition = opts.create, store.tables[name]
  call.place, call.deadline = quick.place(fn), deadline.of(store, opts.timeout)
  call.state, call.ok, call.result = 'waits', true, nil
  return call
end

local function give_back(call)
  if spares >= SPARE then return end
  call.fn, call.opts, call.store, call.definition, call.row = false, false, false, false, false
  call.batch, call.rows, call.storing, call.changed, call.text = false, false, false, nil, nil
  call.dropped, call.outer, call.hub, call.era = false, false, false, false
  call.idle, call.is_over, call.is_anchored, call.result = 0, false, false, nil
  spares = spares + 1
  spare[spares] = call
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
  local call = new_call(store, name, id, fn, opts)
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
    call.row, call.dropped = row, leave
    local ok, err = frames.run(store.hub, call, pcall, follow, store, row, name, call)
    if not ok then
      if call.state == 'served' then errors.was_begun(err) end -- it is stored with others'
      leave(call)
      errors.throw(err)
    end
  end
  if not call.ok then
    if call.definition then call.definition:explain(call.err) end
    errors.throw(call.err)
  end
  local result = call.result
  give_back(call)
  return result
end

return updates

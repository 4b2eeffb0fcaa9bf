--- Runs one migration statement by statement, outside a transaction, and journals each, so that a
--- run that was cut short goes on where it stopped. What can have a transaction of its own gets
--- one, with its journal row in it: such a statement is done once, whatever happens. The others
--- run on the very connection that holds the runner's lock: if it breaks, both are lost at once.

local distribute = require('stores.migrate.distribute')
local errors = require('stores.errors')
local failure = require('stores.migrate.failure')
local index = require('stores.migrate.index')
local run = require('stores.migrate.run')

local outside = {}

local SETTING = "SELECT coalesce(current_setting($1, true), '') AS value"

-- Calls fn while the session has the settings, puts back the old ones, and gives what pcall gives.
local function with_settings(session, settings, fn)
  local before = {}
  local ok, err = pcall(function()
    for place, pair in ipairs(settings) do
      local rows = session:query(SETTING, { pair[1] })
      before[place] = { pair[1], rows[1].value }
      session:query('SELECT set_config($1, $2, false)', pair)
    end
    fn()
  end)
  -- A connection that broke has no settings to put back; the first error is the one to see.
  for _, pair in ipairs(before) do
    pcall(session.query, session, 'SELECT set_config($1, $2, false)', pair)
  end
  return ok, err
end

local function refuse_invalid(step, at, name)
  failure.raise(step, at, ('the index %s is INVALID: a concurrent build of it failed, and IF NOT'
    .. ' EXISTS would accept it'):format(name), index.remedy({ name }),
    { invalid_indexes = { name } })
end

-- How the index stands that the statement wants to make; raises where it is INVALID already.
local function check_index(context, step, at)
  local named = index.named(step.statements[at])
  if not named then return nil end
  local state, name = index.state(context.store, named)
  if state == 'invalid' then refuse_invalid(step, at, name) end
  if state == 'building' then
    failure.raise(step, at, ('the index %s is being built by another session'):format(name))
  end
  return state
end

-- The names of the INVALID indexes that were not there before.
local function new_invalid(context, before)
  local ok, rows = pcall(index.invalid, context.store)
  local names = {}
  for _, row in ipairs(ok and rows or {}) do
    if not before[row.name] then names[#names + 1] = row.name end
  end
  return names
end

local function alone(context, step, at)
  local statement, session = step.statements[at], context.held.session
  local before
  if statement.concurrent then before = select(2, index.invalid(context.store)) end
  -- A concurrent build waits for every older transaction; cut short it leaves an INVALID index.
  local patience = statement.concurrent and (step.lock_timeout or 0) or nil
  local begun = false
  local ok, err = with_settings(session, run.settings(context, step, patience), function()
    context.ledger:mark(session, step, at, false)
    begun = true
    session:query(statement.text, nil, run.call(context, step))
  end)
  if ok then
    context.ledger:mark(session, step, at, true)
    return
  end
  -- The server refused: nothing was done, or a procedure that commits on its way chose to fail, and
  -- has to bear being called again. Without the server's word the journal keeps the open end.
  local refused = begun and errors.is(err) and err.sqlstate and err.outcome ~= 'unknown'
  if refused then
    context.store:in_transaction(function(tx) context.ledger:unmark(tx, step, at) end)
  end
  local left = before and new_invalid(context, before) or {}
  if #left > 0 then
    error(failure.new(step, at, err, { hint = index.remedy(left),
      message = 'it left the INVALID index ' .. table.concat(left, ', '),
      fields = { invalid_indexes = left } }), 0)
  end
  error(err, 0)
end

local function in_own_transaction(context, step, at)
  context.store:in_transaction(function(tx)
    run.set_local(tx, run.settings(context, step))
    context.ledger:mark(tx, step, at, true)
    tx:query(step.statements[at].text, nil, run.call(context, step))
    distribute.created(tx, step)
  end, run.WHOLE)
end

local function perform(context, step, at)
  local statement = step.statements[at]
  context.notify({ event = 'statement', name = step.name, statement = at,
    statements = #step.statements, line = statement.line })
  local how = statement.atomic and in_own_transaction or alone
  local ok, err = pcall(function()
    -- A concurrent build that gave up left something behind, and is not tried twice.
    if statement.concurrent then return how(context, step, at) end
    return run.retrying(context, step, function() return how(context, step, at) end)
  end)
  if ok then return end
  if errors.is(err, 'migration_failed') then error(err, 0) end
  error(failure.new(step, at, err), 0)
end

-- A statement was begun, and nobody wrote down how it ended: the process or its connection died.
-- Whether it is known to be done (false: it may simply run, again).
local function settled(context, step, at, mark, state)
  local statement, wish = step.statements[at], context.options.unfinished
  if state == 'valid' then return true end
  if statement.again or index.named(statement) then return false end
  if wish then return wish == 'done' end
  failure.raise(step, at,
    ('it was begun at %s and nothing says how it ended'):format(mark.started_on),
    "look whether it is done, then run again with unfinished = 'done' or unfinished = 'again'")
end

-- What was done must still stand in the file as it was done.
local function check_done(step, journal)
  for at, mark in pairs(journal) do
    local statement = step.statements[at]
    if mark.done and not (statement and statement.text == mark.text) then
      errors.raise('migration_changed', ("migration '%s': its statement %d ran already and is not"
        .. ' what the file says now; only what did not run yet may be edited'):format(
        step.name, at),
        { migration = step.name, statement = at })
    end
  end
end

--- Runs what is left of a step, and writes its ledger row when all of it is done.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return boolean ran
function outside.run(context, step)
  local ledger, store = context.ledger, context.store
  local journal = context.journal[step.name] or {}
  check_done(step, journal)
  ledger:create_journal(store)
  store:in_transaction(function(tx) ledger:begin(tx, step) end)
  for at = 1, #step.statements do
    local mark = journal[at]
    if not (mark and mark.done) then
      local state = check_index(context, step, at)
      if mark and settled(context, step, at, mark, state) then
        ledger:mark(context.held.session, step, at, true)
      else
        perform(context, step, at)
      end
    end
  end
  for _, name in ipairs(step.invalidates or {}) do
    store:invalidate(name)
  end
  store:in_transaction(function(tx) ledger:finish(tx, step) end)
  return true
end

return outside

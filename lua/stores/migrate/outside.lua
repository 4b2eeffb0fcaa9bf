--- Runs one migration statement by statement, outside a transaction, and journals each, so that a
--- run that was cut short goes on where it stopped. The row of the journal is the claim: who wrote
--- it runs the statement, whoever holds the lock. What can have a transaction of its own gets one,
--- with its row in it: such a statement is done once, whatever happens. The others run on the very
--- connection that holds the runner's lock: if it breaks, both are lost at once.

local core = require('stores.core')
local distribute = require('stores.migrate.distribute')
local errors = require('stores.errors')
local failure = require('stores.migrate.failure')
local index = require('stores.migrate.index')
local pause = require('stores.migrate.pause')
local run = require('stores.migrate.run')
local sql = require('stores.sql.text')
local worker = require('stores.migrate.worker')

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

-- Drops what a concurrent build that failed left behind, as the statement is to build it anew.
local function drop_invalid(context, step, name)
  local session = context.held.session
  local ok, err = with_settings(session, run.settings(context, step, step.lock_timeout or 0, true),
    function() session:query('DROP INDEX CONCURRENTLY IF EXISTS ' .. name) end)
  if not ok then errors.throw(err) end
end

-- How the index stands that the statement wants to make; raises where it is INVALID already.
local function check_index(context, step, at)
  local named = index.named(step.statements[at])
  if not named then return nil end
  local state, name = index.state(context.store, named)
  if state == 'invalid' and step.rebuild then
    drop_invalid(context, step, name)
    return nil
  end
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

-- The number of transactions that the session has begun: a procedure that commits begins another.
local BEGUN = "SELECT split_part(virtualtransaction, '/', 2)::bigint::text AS count FROM pg_locks"
  .. " WHERE pid = pg_backend_pid() AND locktype = 'virtualxid' AND granted LIMIT 1"

local function begun_by(session)
  local ok, rows = pcall(session.query, session, BEGUN)
  return ok and rows[1] and tonumber(rows[1].count) or nil
end

-- Runs the text of a statement. What is raised says in `partial` that it may have committed on its
-- way before it failed.
local function perform_text(context, step, at)
  local statement, session = step.statements[at], context.held.session
  local before = statement.commits and begun_by(session)
  local ok, err = pcall(session.query, session, statement.text, nil, run.call(context, step))
  if ok then return end
  local partial = false
  if statement.commits then
    -- its own transaction, and the one that looks
    local after = begun_by(session)
    partial = not before or not after or after - before ~= 2
  end
  error({ cause = err, partial = partial }, 0)
end

local function tell(context, step)
  for _, name in ipairs(step.invalidates or {}) do context.store:invalidate(name) end
end

-- A name that is none would leave a cache untold in silence. Looked at when the statement is about
-- to run: one before it may have made the table.
local function check_invalidates(context, step, at)
  for _, name in ipairs(step.invalidates or {}) do
    local ok, rows = pcall(context.store.query, context.store,
      'SELECT to_regclass($1) IS NOT NULL AS there', { name })
    if not ok or not rows[1].there then
      failure.raise(step, at, ("invalidates names no table: '%s'"):format(name))
    end
  end
end

local function raise_partial(context, step, at, cause)
  pcall(tell, context, step) -- what it committed before it failed is there
  errors.throw(failure.new(step, at, cause, {
    message = 'it may have committed on its way before that, and is not repeated',
    hint = "look what it has done, then run again with unfinished = 'done' or unfinished = 'again'",
    fields = { outcome = 'unknown', retryable = false },
  }))
end

-- Whether it is the server's own word that the statement failed. What a coordinator of Citus says
-- of its workers is not.
local function is_refusal(context, err)
  if not errors.is(err) or not err.sqlstate or err.code == 'connection_lost' then return false end
  local of_worker = err.sqlstate == 'XX000' or err.sqlstate:find('^08') ~= nil
  return not (of_worker and core.is_citus(context.store.engine))
end

-- Runs a statement on the session that holds the lock. Gives false where another runner has it.
local function alone(context, step, at, seen)
  local statement, session = step.statements[at], context.held.session
  local before
  if statement.commits then check_invalidates(context, step, at) end
  if statement.concurrent then before = select(2, index.invalid(context.store)) end
  -- A concurrent build waits for every older transaction; cut short it leaves an INVALID index.
  local patience = statement.concurrent and (step.lock_timeout or 0) or nil
  local settings = run.settings(context, step, patience, statement.concurrent)
  local mine, begun = true, false
  local ok, err = with_settings(session, settings, function()
    mine = context.ledger:mark(session, step, at, false, seen)
    if not mine then return end
    begun = true
    perform_text(context, step, at)
  end)
  if ok then
    if mine then context.ledger:done(session, step, at) end
    return mine
  end
  local partial = begun and err.partial
  if begun then err = err.cause end
  -- The server refused, and nothing was done: the row goes. Without the server's word, or where a
  -- procedure committed on its way, the journal keeps the open end.
  local refused = begun and is_refusal(context, err)
  if refused and partial then raise_partial(context, step, at, err) end
  if refused then
    err.outcome = 'none' -- the core goes by its words, and does not know how far it went
    context.store:in_transaction(function(tx) context.ledger:unmark(tx, step, at) end)
  end
  local left = before and new_invalid(context, before) or {}
  if #left > 0 then
    errors.throw(failure.new(step, at, err, { hint = index.remedy(left),
      message = 'it left the INVALID index ' .. table.concat(left, ', '),
      fields = { invalid_indexes = left } }))
  end
  errors.throw(err)
end

local function in_own_transaction(context, step, at, seen)
  return context.store:in_transaction(function(tx)
    run.set_local(tx, run.settings(context, step))
    if not context.ledger:mark(tx, step, at, true, seen) then return false end
    tx:query(step.statements[at].text, nil, run.call(context, step))
    context.ledger:check(tx, step)
    distribute.created(tx, step, { step.statements[at] })
    context.store:note_written(tx)
    return true
  end, run.WHOLE)
end

-- Gives false where another runner has the statement.
local function perform(context, step, at, seen)
  local statement = step.statements[at]
  context.notify({ event = 'statement', name = step.name, statement = at,
    statements = #step.statements, line = statement.line })
  local how = statement.atomic and in_own_transaction or alone
  local ok, err = pcall(function()
    -- A concurrent build that gave up left something behind, and is not tried twice.
    if statement.concurrent then return how(context, step, at, seen) end
    return run.retrying(context, step, function() return how(context, step, at, seen) end)
  end)
  if ok then return err end
  if not errors.is(err, 'migration_failed') then
    err = failure.new(step, at, err)
    worker.explain(context, step, err)
  end
  errors.throw(err)
end

-- A statement was begun, and nobody wrote down how it ended: the process or its connection died.
-- Whether it is known to be done (false: it may simply run, again).
local function settled(context, step, at, mark, state)
  local statement, wish = step.statements[at], context.options.unfinished
  if state == 'valid' then return true end
  if statement.again or index.named(statement) then return false end
  if wish then return wish == 'done' end
  pcall(tell, context, step) -- what it may have committed
  failure.raise(step, at,
    ('it was begun at %s and nothing says how it ended'):format(mark.started_on),
    "look whether it is done, then run again with unfinished = 'done' or unfinished = 'again'")
end

-- What was done must still stand in the file as it was done.
local function check_mark(step, at, mark)
  local statement = step.statements[at]
  if mark.done and not (statement and sql.same(statement.text, mark.text)) then
    errors.raise('migration_changed', ("migration '%s': its statement %d ran already and is not"
      .. ' what the file says now; only what did not run yet may be edited'):format(step.name, at),
      { migration = step.name, statement = at })
  end
end

-- How often a statement is looked at that others are about to run; they are waited for in between.
local LOOKS = 100

-- Runs a statement, unless another runner has: then it waits for that. Gives false where another
-- one has finished the whole step.
local function settle(context, step, at)
  local ledger, session = context.ledger, context.held.session
  for _ = 1, LOOKS do
    context.held:check()
    local open, mark = ledger:look(context.store, step, at)
    if open == nil then failure.raise(step, nil, ledger:bereft()) end
    if not open then return false end
    if mark then check_mark(step, at, mark) end
    if mark and mark.done then return true end
    if mark and mark.alive then
      worker.wait_for_others(context, step, run.patience(context, step))
      pause(0.1, 0.2)
    else
      local state = check_index(context, step, at)
      if mark and settled(context, step, at, mark, state) then
        if ledger:mark(session, step, at, true, mark.runner) then return true end
      elseif perform(context, step, at, mark and mark.runner) then
        return true
      end
    end
  end
  failure.raise(step, at, 'another runner works on it, and does not end')
end

--- Runs what is left of a step, and writes its ledger row when all of it is done.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return boolean ran false: another runner has finished it
function outside.run(context, step)
  local ledger, store = context.ledger, context.store
  for at, mark in pairs(context.journal[step.name] or {}) do check_mark(step, at, mark) end
  ledger:create_journal(store)
  local mine = store:in_transaction(function(tx)
    return ledger:begin(tx, step, context.seen[step.name] or '')
  end)
  if not mine then return false end
  for at = 1, #step.statements do
    if not settle(context, step, at) then return false end
  end
  tell(context, step)
  if not store:in_transaction(function(tx) return ledger:finish(tx, step) end) then
    failure.raise(step, nil, ledger:bereft())
  end
  return true
end

return outside

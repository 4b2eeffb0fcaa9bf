--- Runs one migration, inside a transaction. What PostgreSQL refuses there is in outside.lua.

local distribute = require('stores.migrate.distribute')
local errors = require('stores.errors')
local failure = require('stores.migrate.failure')
local pause = require('stores.migrate.pause')
local sorted = require('stores.sorted')
local worker = require('stores.migrate.worker')

local run = {}

---@class stores.MigrationRun
---@field store stores.MigrationTarget
---@field ledger stores.Ledger
---@field held stores.MigrationLock
---@field options table
---@field notify fun(event: table)
---@field journal table what Ledger:unfinished gave when the lock was taken
---@field seen table<string, string> texts of the ledger that differ from those of the list, by name
---@field workers table<string, string>? application names of who runs a migration, by its name
---@field tell fun(step: stores.MigrationStep) after a transaction, when its work is not over yet
---@field at string the name of the one that is about to run, or does
---@field stopping fun(): boolean whether the caller wants it to stop at a safe place

local LOCK_TIMEOUT = 5
local LOCK_TRIES = 5
local STATEMENT_TIMEOUT = 3600
local AGAIN = { ['55P03'] = true, ['40P01'] = true, ['40001'] = true }

-- Beyond this a time means that there is no limit; a call takes no more either.
local LONGEST = 3600

--- The options of a transaction: it ends with its statements, each of which has its own limit. What
--- a migration leaves in its session nobody is to find: closing it takes back more than a reset.
run.WHOLE = { timeout = math.huge, close = true }

local function seconds_of(context, step)
  return step.timeout or context.options.timeout or STATEMENT_TIMEOUT
end

--- The options of the call that runs a statement of the step.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return {timeout: number}
function run.call(context, step)
  local seconds = seconds_of(context, step)
  return { timeout = seconds > LONGEST and math.huge or seconds }
end

-- To PostgreSQL 0 is no limit.
local function milliseconds(seconds)
  return seconds > LONGEST and '0' or ('%.0fms'):format(seconds * 1000)
end

--- The PostgreSQL settings that a step runs with, as names and texts, in the order to set them.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@param lock_timeout? number seconds; the step's own, or the run's, where nil
---@param finishes? boolean it is to come to its end though the runner is gone
---@return {[1]: string, [2]: string}[]
function run.settings(context, step, lock_timeout, finishes)
  local timeout = milliseconds(seconds_of(context, step))
  local settings = {
    { 'lock_timeout', milliseconds(lock_timeout or step.lock_timeout
      or context.options.lock_timeout or LOCK_TIMEOUT) },
    { 'statement_timeout', timeout },
    { 'idle_in_transaction_session_timeout', timeout },
  }
  if context.held.limits.transaction_timeout then
    settings[#settings + 1] = { 'transaction_timeout', '0' }
  end
  for _, name in ipairs(sorted(step.settings or {})) do
    settings[#settings + 1] = { name, tostring(step.settings[name]) }
  end
  for _, pair in ipairs(worker.settings(context, step, finishes)) do
    settings[#settings + 1] = pair
  end
  return settings
end

--- How long a step waits for the locks of others, all tries together.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return number seconds
function run.patience(context, step)
  return (step.lock_timeout or context.options.lock_timeout or LOCK_TIMEOUT)
    * (context.options.lock_tries or LOCK_TRIES)
end

--- Sets the settings for the rest of the transaction.
---@param tx table
---@param settings {[1]: string, [2]: string}[]
function run.set_local(tx, settings)
  for _, pair in ipairs(settings) do tx:query('SELECT set_config($1, $2, true)', pair) end
end

--- Calls fn until it does not meet a lock or a deadlock, or the tries are used up.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@param fn fun(): any it must have left nothing behind when it raises
---@return any
function run.retrying(context, step, fn)
  local tries = context.options.lock_tries or LOCK_TRIES
  for try = 1, tries do
    local ok, result = pcall(fn)
    if ok then return result end
    local state = errors.is(result) and result.outcome ~= 'unknown' and result.sqlstate
    if not AGAIN[state] or try == tries then errors.throw(result) end
    context.notify({ event = 'retry', name = step.name, try = try, sqlstate = state })
    pause(0.1 * try, 0.5 * try)
  end
end

local function statements(context, step, tx, at)
  for index, statement in ipairs(step.statements) do
    at.statement = index
    context.notify({ event = 'statement', name = step.name, statement = index,
      statements = #step.statements, line = statement.line })
    tx:query(statement.text, nil, run.call(context, step))
  end
  at.statement = nil
end

--- Runs a step and writes its ledger row, all in one transaction.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return boolean ran false: another runner did it meanwhile
function run.transactional(context, step)
  local at = {}
  local ok, result = pcall(run.retrying, context, step, function()
    at.statement = nil
    return context.store:in_transaction(function(tx)
      run.set_local(tx, run.settings(context, step))
      if not context.ledger:claim(tx, step, context.seen[step.name] or '') then return false end
      if step.type == 'lua' then
        step.migration(tx)
      elseif not step.passes then
        statements(context, step, tx, at)
      end
      context.ledger:check(tx, step)
      for _, covered in ipairs(step.covers or {}) do context.ledger:claim(tx, covered, '') end
      distribute.created(tx, step, step.statements)
      context.store:note_written(tx)
      return true
    end, run.WHOLE)
  end)
  if not ok then
    local err = failure.new(step, at.statement, result)
    worker.explain(context, step, err)
    errors.throw(err)
  end
  return result
end

return run

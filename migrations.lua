--- Migrations: a list in one Lua file, a ledger in the database, and what is missing there runs.
---
---     local migrations = require('stores.migrations')       -- or require('migrations')
---     migrations.runMigrations(migrations.load('migrations_list.lua'), { database = 'shop' })
---
--- In order; new ones run, those that ran are skipped, an edited one raises `migration_changed`
--- unless it says `repeatable = true`. Each runs in one transaction with its row of the ledger;
--- one that says `transaction = false`, or builds an index CONCURRENTLY, runs statement by
--- statement outside of one, and goes on where it stopped when it is run again. Runners exclude
--- each other. A failure stops the run and raises `migration_failed`.

local errors = require('stores.errors')
local index = require('stores.migrate.index')
local list = require('stores.migrate.list')
local lock = require('stores.migrate.lock')
local options = require('stores.config.options')
local outside = require('stores.migrate.outside')
local plan = require('stores.migrate.plan')
local run = require('stores.migrate.run')
local targets = require('stores.migrate.targets')
local worker = require('stores.migrate.worker')

local migrations = {}

---@alias stores.MigrationPlace stores.DbConfig|stores.Store|stores.Shards

---@class stores.MigrationOptions
---@field ledger? string the ledger's table, 'migrations' unless told otherwise; may name a schema
---@field lock_wait? number seconds to wait for another runner, 60 unless told otherwise
---@field lock_timeout? number seconds a statement may wait for a lock, 5 unless told otherwise
---@field lock_tries? integer how often one is tried that met a lock, 5 unless told otherwise
---@field timeout? number seconds a statement may take, 3600 unless told otherwise; math.huge: any
---@field dry_run? boolean checks and plans as a run does, and writes nothing at all
---@field unfinished? 'done'|'again' about a statement outside a transaction whose end is unknown
---@field concurrency? integer over shards: how many at a time, after the first
---@field redis? stores.RedisConfig|false with a db config: whose caches are to be told; false: none
---@field prefix? string with redis: the prefix of their keys, where they have one of their own
---@field on? fun(event: table) told of progress: event, name, statement, statements, line, shard

---@class stores.MigrationResult
---@field ran string[] the names of those that ran
---@field skipped string[]
---@field ledger? string
---@field shards? table
---@field pending? string[] of a dry run
---@field untold? string[] tables whose rows changed, and no cache was told

---@class stores.BaselineOptions
---@field ledger? string
---@field lock_wait? number
---@field concurrency? integer
---@field upto? string the name of the last one; all unless told otherwise
---@field accept? boolean
---@field on? fun(event: table)

local LOCK_WAIT = 60
local CONCURRENCY = 8

local KEYS = {
  ledger = options.text,
  lock_wait = list.seconds_or_zero,
  lock_timeout = list.seconds_or_zero,
  lock_tries = options.integer(1, 1000),
  timeout = list.seconds,
  dry_run = options.boolean,
  unfinished = options.one_of({ 'done', 'again' }),
  concurrency = options.integer(1, 1000),
  on = options.callback(),
  redis = function(value)
    if value == false or type(value) == 'table' then return value end
    return nil, 'false, or a table such as {host = .., port = ..}, got ' .. errors.kind(value)
  end,
  prefix = options.text,
}

-- The checks of the named options, for a function that takes only those.
local function taking(where, ...)
  local keys = {}
  for _, name in ipairs({ ... }) do keys[name] = KEYS[name] end
  return { where = where, keys = keys }
end

local RUN = { where = 'the options of runMigrations', keys = KEYS }
local LOOK = taking('the options', 'ledger', 'concurrency')
local BASELINE = taking('the options of baseline', 'ledger', 'lock_wait', 'concurrency', 'on')
BASELINE.keys.upto = options.text
BASELINE.keys.accept = options.boolean

local function notifier(opts, shard)
  return function(event)
    if not opts.on then return end
    event.shard = shard
    opts.on(event)
  end
end

-- A list of its own for every database: the runner marks its entries.
local function planned_for(entries, store, opts)
  local steps = list.read(entries)
  local state = plan.state(store, opts.ledger)
  local planned = plan.make(steps, state)
  return steps, state, planned
end

local function new_result(state, planned)
  local result = { ran = {}, skipped = {}, ledger = state.ledger.name }
  for _, item in ipairs(planned) do
    if item.action == 'skip' then result.skipped[#result.skipped + 1] = item.name end
  end
  return result
end

local function run_one(context, step, item)
  context.notify({ event = 'start', name = step.name, action = item.action,
    statements = item.statements })
  context.held:check()
  local perform = step.outside and outside.run or run.transactional
  local ok, ran = pcall(function()
    worker.wait_for_others(context, step,
      math.min(context.options.lock_wait or LOCK_WAIT, run.patience(context, step)))
    return perform(context, step)
  end)
  if not ok then
    context.notify({ event = 'failed', name = step.name, error = ran })
    error(ran, 0)
  end
  context.notify({ event = ran and 'done' or 'skip', name = step.name })
  return ran
end

-- Notes the tables whose rows a step changed, and no cache was told.
local function add_untold(result, names)
  if #names > 0 then result.untold = result.untold or {} end
  for _, name in ipairs(names) do
    if not result.untold[name] then
      result.untold[name] = true
      result.untold[#result.untold + 1] = name
    end
  end
end

local function untold(result, names, step, notify)
  if #names == 0 then return end
  add_untold(result, names)
  notify({ event = 'untold', name = step, tables = names })
end

-- What another runner did while this one waited is seen here, for the ledger is read again.
local function run_locked(entries, store, opts, notify, held)
  local steps, state, planned = planned_for(entries, store, opts)
  plan.check(steps, planned)
  local result = new_result(state, planned)
  local context = { store = store, ledger = state.ledger, journal = state.journal, held = held,
                    options = opts, notify = notify, seen = {} }
  for _, item in ipairs(planned) do
    if item.action == 'rerun' then context.seen[item.name] = state.rows[item.name].text end
  end
  if #plan.pending(planned) > 0 then
    store:find_caches()
    state.ledger:create(store)
  end
  for place, item in ipairs(planned) do
    if item.action == 'skip' then
      notify({ event = 'skip', name = item.name })
    else
      local ok, ran = pcall(run_one, context, steps[place], item)
      if not ok then
        if errors.is(ran) then ran.ran = result.ran end
        error(ran, 0)
      end
      local names = ran and result.ran or result.skipped
      names[#names + 1] = item.name
      untold(result, store:tell_written(), item.name, notify)
    end
  end
  return result
end

local function run_store(entries, store, opts, shard)
  local notify = notifier(opts, shard)
  local steps, state, planned = planned_for(entries, store, opts)
  plan.check(steps, planned)
  local pending = plan.pending(planned)
  local result = new_result(state, planned)
  if opts.dry_run then
    result.pending, result.plan = pending, planned
    return result
  elseif #pending == 0 then
    -- Nothing can be missing that is there already, so a program that starts takes no lock.
    for _, name in ipairs(result.skipped) do notify({ event = 'skip', name = name }) end
    return result
  end
  return lock.hold(store, state.ledger, opts.lock_wait or LOCK_WAIT, notify, function(held)
    return run_locked(entries, store, opts, notify, held)
  end)
end

-- Over shards every name counts once: as run where any shard ran it.
local function sum_of_shards(entries, shards)
  local sum = { ran = {}, skipped = {}, shards = {} }
  local ran = {}
  for place, item in ipairs(shards) do
    sum.shards[place] = item.result
    item.result.shard = item.shard
    for _, name in ipairs(item.result.ran) do ran[name] = true end
    add_untold(sum, item.result.untold or {})
  end
  for _, entry in ipairs(list.read(entries)) do
    local names = ran[entry.name] and sum.ran or sum.skipped
    names[#names + 1] = entry.name
  end
  return sum
end

-- Calls fn for one database and gives its result, or for shards an array of results by shard.
local function look(db, opts, fn)
  local result, shards = targets.each(db, opts, opts.concurrency or CONCURRENCY, fn)
  if not shards then return result end
  local results = {}
  for place, item in ipairs(shards) do results[place] = item.result end
  return results
end

-- Loud, for what is stale afterwards is seen by others than who runs this.
local function warn(names, is_known)
  local advice = is_known and 'Redis was not reachable: store:invalidate(name) tells it now'
    or 'where programs cache them, run the migrations through a store, or give redis = {..} in the'
    .. ' options (redis = false: nobody does)'
  io.stderr:write(('stores: migrations changed rows of %s, and no cache was told; %s\n'):format(
    table.concat(names, ', '), advice))
end

--- Runs what the database does not have yet. The whole list is checked before anything runs.
---Raises migration_failed (fields migration, statement, line, sqlstate, cause, ran ...),
---migration_changed (migration, difference), lock_timeout where another runner does not end.
---@param entries stores.Migration[] what a migration file returns
---@param db stores.MigrationPlace
---@param opts? stores.MigrationOptions
---@return stores.MigrationResult
function migrations.runMigrations(entries, db, opts)
  opts = options.check(opts, RUN)
  list.read(entries)
  local concurrency = opts.concurrency or CONCURRENCY
  local result, shards = targets.each(db, opts, concurrency, function(store, shard)
    return run_store(entries, store, opts, shard)
  end)
  result = shards and sum_of_shards(entries, shards) or result
  if result.untold then warn(result.untold, targets.names_cache(db, opts)) end
  return result
end

--- Says what runMigrations would do, without raising for edited ones. Reads only.
---@param entries stores.Migration[]
---@param db stores.MigrationPlace
---@param opts? {ledger?: string, concurrency?: integer}
---@return stores.PlannedMigration[] in the order of the list; for Shards an array of those
function migrations.plan(entries, db, opts)
  opts = options.check(opts, LOOK)
  list.read(entries)
  return look(db, opts, function(store)
    local _, _, planned = planned_for(entries, store, opts)
    return planned
  end)
end

local STATES = { run = 'pending', rerun = 'pending', resume = 'unfinished', skip = 'done',
                 changed = 'changed' }

local function status_of(entries, store, opts)
  local _, state, planned = planned_for(entries, store, opts)
  local rows, known = {}, {}
  for place, item in ipairs(planned) do
    known[item.name] = true
    rows[place] = { name = item.name, state = STATES[item.action], ran_on = item.ran_on,
                    difference = item.difference }
  end
  for _, row in ipairs(state.ordered) do
    if not known[row.name] then
      rows[#rows + 1] = { name = row.name, state = 'unknown', ran_on = row.ran_on }
    end
  end
  return rows
end

--- How each migration stands: 'done', 'pending', 'unfinished', 'changed', and 'unknown' for those
--- that are in the ledger but not in the list. Reads only.
---@param entries stores.Migration[]
---@param db stores.MigrationPlace
---@param opts? {ledger?: string, concurrency?: integer}
---@return {name: string, state: string, ran_on: string?, difference: string?}[] or, for Shards,
---        an array of those
function migrations.status(entries, db, opts)
  opts = options.check(opts, LOOK)
  list.read(entries)
  return look(db, opts, function(store) return status_of(entries, store, opts) end)
end

--- Compares a database with the list: what it has that the list does not, what it lacks, what was
--- edited, what stopped half-way, and which INVALID indexes failed concurrent builds left. Reads
--- only.
---@param entries stores.Migration[]
---@param db stores.MigrationPlace
---@param opts? {ledger?: string, concurrency?: integer}
---@return table report ok, unknown, pending, changed, unfinished, invalid_indexes: arrays of names
function migrations.verify(entries, db, opts)
  opts = options.check(opts, LOOK)
  local report_of = function(store)
    local report = { ok = true, unknown = {}, pending = {}, changed = {}, unfinished = {},
                     invalid_indexes = {} }
    local function add(kind, name)
      report[kind][#report[kind] + 1], report.ok = name, false
    end
    for _, row in ipairs(status_of(entries, store, opts)) do
      if row.state ~= 'done' then add(row.state, row.name) end
    end
    for _, row in ipairs((index.invalid(store))) do add('invalid_indexes', row.name) end
    return report
  end
  list.read(entries)
  return look(db, opts, report_of)
end

local function baseline_locked(entries, store, opts, notify)
  local steps, state, planned = planned_for(entries, store, opts)
  local result = new_result(state, planned)
  state.ledger:create(store)
  store:in_transaction(function(tx)
    for place, item in ipairs(planned) do
      local step = steps[place]
      if item.action == 'changed' and not opts.accept then plan.check({ step }, { item }) end
      if item.action ~= 'skip' then
        state.ledger:claim(tx, step)
        if state.journal[step.name] then state.ledger:finish(tx, step) end
        result.ran[#result.ran + 1] = step.name
      end
      if step.name == opts.upto then break end
    end
  end)
  for _, name in ipairs(result.ran) do notify({ event = 'baseline', name = name }) end
  return result
end

--- Writes into the ledger that migrations ran, without running them: for a database that has their
--- work already. With `accept` also the new text of edited ones.
---@param entries stores.Migration[]
---@param db stores.MigrationPlace
---@param opts? stores.BaselineOptions
---@return {ran: string[], skipped: string[], ledger: string} ran: the names that were written
function migrations.baseline(entries, db, opts)
  opts = options.check(opts, BASELINE)
  local known = false
  for _, step in ipairs(list.read(entries)) do known = known or step.name == opts.upto end
  if opts.upto and not known then
    errors.raise('invalid_argument',
      ("upto names no migration of the list: '%s'"):format(opts.upto))
  end
  return look(db, opts, function(store, shard)
    local notify = notifier(opts, shard)
    local ledger = plan.state(store, opts.ledger).ledger
    return lock.hold(store, ledger, opts.lock_wait or LOCK_WAIT, notify, function()
      return baseline_locked(entries, store, opts, notify)
    end)
  end)
end

--- Reads a migration file: a Lua file that returns the list. Raises where it cannot be read, or its
--- list is wrong.
---@param file string
---@return stores.Migration[]
function migrations.load(file)
  if type(file) ~= 'string' then
    errors.raise('invalid_argument', 'the migration file must be a path, got ' .. errors.kind(file))
  end
  local chunk, problem = loadfile(file)
  if not chunk then
    errors.raise('invalid_argument', 'the migration file cannot be read: ' .. tostring(problem))
  end
  local ok, entries = pcall(chunk, file)
  if not ok then
    errors.raise('invalid_argument', 'the migration file fails: ' .. tostring(entries),
      { cause = entries })
  elseif type(entries) ~= 'table' then
    errors.raise('invalid_argument', ('%s must return an array of migrations, got %s'):format(file,
      errors.kind(entries)))
  end
  list.read(entries)
  return entries
end

return migrations

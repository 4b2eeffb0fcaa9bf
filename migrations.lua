--- Migrations: a list in one Lua file, a ledger in the database, and what is missing there runs.
---
---     local migrations = require('stores.migrations')       -- or require('migrations')
---     migrations.runMigrations(migrations.load('migrations_list.lua'), { database = 'shop' })
---
--- In order; new ones run, those that ran are skipped, an edited one raises `migration_changed`
--- unless it says `repeatable = true`. Each runs in one transaction with its row of the ledger;
--- one that says `transaction = false`, or builds an index CONCURRENTLY, runs statement by
--- statement outside of one, and goes on where it stopped when it is run again. So does a backfill,
--- batch by batch. Runners exclude each other. A failure stops the run and raises
--- `migration_failed`.

local errors = require('stores.errors')
local json = require('stores.json')
local lint = require('stores.migrate.lint')
local list = require('stores.migrate.list')
local new = require('stores.migrate.new')
local options = require('stores.config.options')
local report = require('stores.migrate.report')
local runner = require('stores.migrate.runner')
local targets = require('stores.migrate.targets')
local trial = require('stores.migrate.trial')

local migrations = {}

---@alias stores.MigrationPlace stores.DbConfig|stores.Store|stores.Shards

---@class stores.MigrationOptions
---@field ledger? string the ledger's table, 'migrations' unless told otherwise; may name a schema
---@field lock_wait? number seconds to wait for another runner, 60 unless told otherwise
---@field lock_timeout? number seconds a statement may wait for a lock, 5 unless told otherwise
---@field lock_tries? integer how often one is tried that met a lock, 5 unless told otherwise
---@field timeout? number seconds a statement may take, 3600 unless told otherwise; math.huge: any
---@field dry_run? boolean checks and plans as a run does, and writes nothing at all
---@field finish? boolean runs those of `phase = 'contract'`, too
---@field takeover? boolean ends the processes on the server that stand in the way of the run
---@field unfinished? 'done'|'again' about a statement outside a transaction whose end is unknown
---@field concurrency? integer over shards: how many at a time, after the first
---@field redis? stores.RedisConfig|false with a db config: whose caches are to be told; false: none
---@field prefix? string with redis: the prefix of their keys, where they have one of their own
---@field stopping? fun(): boolean asked between migrations, and batches of a backfill: true stops
---@field on? fun(event: stores.MigrationEvent) told of progress

---@alias stores.MigrationEventName 'start'|'statement'|'progress'|'done'|'skip'|'stopped'|'failed'
---|'later'|'retry'|'waiting'|'takeover'|'untold'|'baseline'|'way'

---@class stores.MigrationEvent
---@field event stores.MigrationEventName
---@field name? string of the migration
---@field shard? integer
---@field statement? integer
---@field statements? integer how many it has
---@field line? integer of its text
---@field rows? integer of a backfill: how many it has gone through
---@field from? integer likewise: how many before this run
---@field total? integer likewise: how many the table has, about
---@field after? string likewise: the id of the last of them
---@field holder? string who is waited for, or was ended
---@field tables? string[] whose rows changed, and no cache was told
---@field error? any

---@class stores.MigrationResult
---@field ran string[] the names of those that ran
---@field skipped string[]
---@field covered? string[] those that a checkpoint stood for, on a new database
---@field later? string[] of `phase = 'contract'`, which wait for a run that finishes
---@field ledger? string
---@field shards? table
---@field pending? string[] of a dry run
---@field plan? stores.PlannedMigration[] likewise
---@field untold? string[] tables whose rows changed, and no cache was told
---@field stopped? string `stopping` said so, and this one was not done

---@class stores.VerifyOptions
---@field ledger? string
---@field concurrency? integer
---@field schema? boolean
---@field scratch? stores.DbConfig a server where databases may be made, in place of a private one

---@class stores.BaselineOptions
---@field ledger? string
---@field lock_wait? number
---@field concurrency? integer
---@field upto? string the name of the last one; all unless told otherwise
---@field accept? boolean
---@field on? fun(event: stores.MigrationEvent)

local CONCURRENCY = 8

local KEYS = {
  ledger = options.text,
  lock_wait = list.seconds_or_zero,
  lock_timeout = list.seconds_or_zero,
  lock_tries = options.integer(1, 1000),
  timeout = list.seconds,
  dry_run = options.boolean,
  finish = options.boolean,
  takeover = options.boolean,
  unfinished = options.one_of({ 'done', 'again' }),
  concurrency = options.integer(1, 1000),
  stopping = options.callback(),
  on = options.callback(),
  redis = function(value)
    if value == false or type(value) == 'table' then return value end
    return nil, 'false, or a table such as {host = .., port = ..}, got ' .. errors.kind(value)
  end,
  prefix = options.text,
}

local function a_table(value)
  if type(value) == 'table' then return value end
  return nil, 'a table, got ' .. errors.kind(value)
end

-- The checks of the named options, for a function that takes only those.
local function taking(where, ...)
  local keys = {}
  for _, name in ipairs({ ... }) do keys[name] = KEYS[name] end
  return { where = where, keys = keys }
end

local RUN = { where = 'the options of runMigrations', keys = KEYS }
local LOOK = taking('the options', 'ledger', 'concurrency')
local PLAN = taking('the options of plan', 'ledger', 'concurrency', 'finish')
local BASELINE = taking('the options of baseline', 'ledger', 'lock_wait', 'concurrency', 'on')
BASELINE.keys.upto = options.text
BASELINE.keys.accept = options.boolean
local VERIFY = taking('the options of verify', 'ledger', 'concurrency')
VERIFY.keys.schema = options.boolean
VERIFY.keys.scratch = a_table
local TEST = taking('the options of test', 'on', 'stopping')
TEST.keys.scratch = a_table
local LINT = taking('the options of lint', 'ledger', 'concurrency', 'lock_timeout')
LINT.keys.large = options.integer(0, 2 ^ 53)
LINT.keys.all = options.boolean

-- Over shards every name counts once: as the first of these that it is on any of them.
local COUNTED = { 'ran', 'covered', 'pending', 'later', 'skipped' }

local function kind_of(name, shards)
  for _, kind in ipairs(COUNTED) do
    for _, item in ipairs(shards) do
      for _, one in ipairs(item.result[kind] or {}) do
        if one == name then return kind end
      end
    end
  end
  return nil -- the run was stopped before it
end

local function sum_of_shards(entries, shards)
  local sum = { ran = json.array(), skipped = json.array(), shards = {} }
  for place, item in ipairs(shards) do
    sum.shards[place] = item.result
    item.result.shard = item.shard
    sum.stopped = sum.stopped or item.result.stopped
    runner.add_untold(sum, item.result.untold or {})
  end
  for _, entry in ipairs(list.read(entries)) do
    local kind = kind_of(entry.name, shards)
    if kind then
      sum[kind] = sum[kind] or {}
      table.insert(sum[kind], entry.name)
    end
  end
  return sum
end

-- Calls fn for one database and gives its result, or for shards an array of results by shard.
local function look(db, opts, fn)
  local result, shards = targets.each(db, opts, opts.concurrency or CONCURRENCY, fn)
  if not shards then return result end
  local results = json.array()
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

-- A run that failed may have changed rows before that.
local function warn_of_failure(err, is_known)
  if not errors.is(err) then return end
  if err.untold then warn(err.untold, is_known) end
  for _, item in ipairs(err.shards or {}) do warn_of_failure(item.error, is_known) end
end

-- A run has connections of its own: what replicas answer next is to have it as well.
local function tell_readers(db)
  if not db.is_stores_target then return end
  for _, store in ipairs(db.shards or { db }) do
    if store.engine then store.engine:wrote_elsewhere() end
  end
end

--- Runs what the database does not have yet. The whole list is checked before anything runs.
---Raises migration_failed (fields migration, statement, line, sqlstate, cause, ran ...),
---migration_changed (migration, difference), lock_timeout where another runner does not end.
---@param entries stores.MigrationList what a migration file returns
---@param db stores.MigrationPlace
---@param opts? stores.MigrationOptions
---@return stores.MigrationResult
function migrations.runMigrations(entries, db, opts)
  opts = options.check(opts, RUN)
  list.read(entries)
  targets.check(db)
  local concurrency, is_known = opts.concurrency or CONCURRENCY, targets.names_cache(db, opts)
  local cluster = not opts.dry_run and targets.cluster(db) or nil
  local ok, result, shards = pcall(targets.each, db, opts, concurrency, function(store, shard)
    if not opts.dry_run then targets.check_writes(store) end
    if cluster then cluster:settle(store.store) end
    return runner.run(entries, store, opts, shard)
  end)
  tell_readers(db)
  if not ok then
    warn_of_failure(result, is_known)
    errors.throw(result)
  end
  result = shards and sum_of_shards(entries, shards) or result
  if result.untold then warn(result.untold, is_known) end
  return result
end

--- Says what runMigrations would do, without raising for edited ones. Reads only.
---@param entries stores.MigrationList
---@param db stores.MigrationPlace
---@param opts? {ledger?: string, concurrency?: integer, finish?: boolean}
---@return stores.PlannedMigration[] in the order of the list; for Shards an array of those
function migrations.plan(entries, db, opts)
  opts = options.check(opts, PLAN)
  list.read(entries)
  return look(db, opts, function(store)
    local _, _, planned = runner.planned_for(entries, store, opts)
    return json.array(planned)
  end)
end

--- How each migration stands: 'done', 'pending', 'unfinished', 'changed', 'later' for a contract
--- that waits, 'unknown' for those that are in the ledger but not in the list, 'replaced' where a
--- checkpoint took their place. Reads only.
---@param entries stores.MigrationList
---@param db stores.MigrationPlace
---@param opts? {ledger?: string, concurrency?: integer}
---@return stores.MigrationState[] or, for Shards, an array of those
function migrations.status(entries, db, opts)
  opts = options.check(opts, LOOK)
  list.read(entries)
  return look(db, opts, function(store) return report.states(entries, store, opts) end)
end

--- Compares a database with the list: what it has that the list does not, what it lacks, what was
--- edited, what stopped half-way, and which INVALID indexes failed concurrent builds left. With
--- `schema` also its tables, with what the migrations that it has run make of an empty database on
--- a private server, or on the one of `scratch`. Only reads the database.
---@param entries stores.MigrationList
---@param db stores.MigrationPlace
---@param opts? stores.VerifyOptions
---@return stores.MigrationReport
function migrations.verify(entries, db, opts)
  opts = options.check(opts, VERIFY)
  list.read(entries)
  local known = {}
  return look(db, opts, function(store)
    local found, done = report.verify(entries, store, opts)
    if opts.schema or opts.scratch then
      found.differences = trial.differences(entries, done, store, opts, known)
      found.ok = found.ok and #found.differences == 0
    end
    return found
  end)
end

--- Runs all migrations of a list on a private server, or on the one of `scratch`: from empty, in
--- two phases where there are contracts, and from each checkpoint; and compares the schemas.
---Raises migration_failed where one fails, or where the schemas differ (field differences).
---@param entries stores.MigrationList
---@param opts? {scratch?: stores.DbConfig, on?: fun(event: table), stopping?: fun(): boolean}
---@return {ways: string[], stopped?: string} what was tried, and where it was stopped
function migrations.test(entries, opts)
  opts = options.check(opts, TEST)
  list.read(entries)
  return trial.run(entries, opts)
end

--- A difference of two schemas, for people.
---@param difference stores.SchemaDifference
---@return string
function migrations.describe(difference)
  return trial.describe(difference)
end

--- Says what in the list may hurt a database that is in use, and the safe form of each. With a
--- database only what it has not run yet, and the sizes of its tables are known. Reads only.
---@param entries stores.MigrationList
---@param db? stores.MigrationPlace
---@param opts? stores.LintOptions
---@return stores.LintFinding[]
function migrations.lint(entries, db, opts)
  opts = options.check(opts, LINT)
  local steps = list.read(entries)
  if not db then return lint.run(steps, nil, opts) end
  local findings = look(db, opts, function(store) return lint.over(entries, store, opts) end)
  return type(db.shards) == 'table' and lint.merged(findings) or findings
end

--- Adds an entry to a migration file, which is made where there is none.
---@param file string
---@param name string
---@param opts? {type?: 'db'|'lua'|'backfill'}
---@return string text of the entry
function migrations.new(file, name, opts)
  return new.add(file, name, opts, migrations.load)
end

--- Writes into the ledger that migrations ran, without running them: for a database that has their
--- work already. With `accept` also the new text of edited ones.
---@param entries stores.MigrationList
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
    return runner.baseline(entries, store, opts, shard)
  end)
end

--- Reads a migration file: a Lua file that returns the list. The `file` of an entry is looked for
--- beside it. Raises where it cannot be read, or its list is wrong.
---@param file string
---@return stores.MigrationList
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
  list.read_files(entries, file:match('^.*/') or '')
  list.read(entries)
  return entries
end

return migrations

--- What says in a database that a copy goes on, or went. The row of stores_shard has it, which is
--- read when a connection is opened (core/pg/shard.c); and every table has a trigger that refuses
--- to write, which open connections meet as well. It is made under a lock that waits for whoever
--- has written, and is part of the catalog, which no snapshot hides: so no write slips behind it,
--- not even one of a transaction that began before. What it says are words of the trigger itself.
---
---   read_only    of the old side, while it is copied: its rows are read, and not written
---   moved        of the old side, afterwards: no row is read or written, for its tables are moved
---                into a schema of their own, and views stand in their place that raise
---   unfinished   of the new side, until all is there; the copy alone writes

local away = require('stores.copy.away')
local errors = require('stores.errors')
local json = require('stores.json')
local literal = require('stores.sql.expression').literal
local sequences = require('stores.copy.sequences')
local tables = require('stores.copy.tables')

local marks = {}

---@class stores.copy.State what a database says
---@field shard integer
---@field count integer
---@field state 'read_only'|'moved'|'unfinished'|nil
---@field copy string? the copy that it is of, or was of
---@field runner string? the process of the copy
---@field tables string? the names of its tables, as JSON
---@field sequences string? what its sequences had given when it moved, as JSON

local THERE = "SELECT to_regclass('stores_shard') IS NOT NULL AS is_there"
local STATE = [[SELECT shard, count, to_jsonb(s) ->> 'state' AS state,
  to_jsonb(s) ->> 'copy' AS copy, to_jsonb(s) ->> 'runner' AS runner,
  to_jsonb(s) ->> 'tables' AS tables, to_jsonb(s) ->> 'sequences' AS sequences
  FROM stores_shard AS s]]
local COLUMNS = 'ALTER TABLE stores_shard ADD COLUMN IF NOT EXISTS state text,'
  .. ' ADD COLUMN IF NOT EXISTS why text, ADD COLUMN IF NOT EXISTS since timestamptz,'
  .. ' ADD COLUMN IF NOT EXISTS copy text, ADD COLUMN IF NOT EXISTS runner text,'
  .. ' ADD COLUMN IF NOT EXISTS tables text, ADD COLUMN IF NOT EXISTS sequences text'
local TRIGGER = [[
CREATE OR REPLACE FUNCTION stores_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_catalog.current_setting('stores.copy', true) = TG_ARGV[3] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = TG_ARGV[1], HINT = TG_ARGV[2];
END $$]]
local USED = 'SELECT EXISTS (SELECT 1 FROM pg_trigger'
  .. " WHERE tgfoid = to_regproc('stores_refuse')) AS is_there"
local NOW = [[SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS now,
  current_database()::text AS name]]

-- A lock that is waited for keeps others waiting: for so long at a time.
local PATIENCE, TRIES = '2s', 30

-- It has triggers on the tables that it spreads only where that is said to be safe: these are.
local OF_CITUS = "SET LOCAL citus.enable_unsafe_triggers = on;"
  .. " SET LOCAL citus.multi_shard_modify_mode = 'sequential'"

local READ = { transaction = false, readonly = true }
local READ_ONLY, MOVED = 'ST001', 'ST002'

--- What a database says; nil: nothing.
---@param store stores.Store
---@return stores.copy.State?
function marks.read(store)
  if not store:query(THERE, {}, READ)[1].is_there then return nil end
  local row = store:query(STATE, {}, READ)[1]
  if not row then return nil end
  for _, name in ipairs({ 'state', 'copy', 'runner', 'tables', 'sequences' }) do
    if type(row[name]) ~= 'string' then row[name] = nil end
  end
  return row
end

-- ---- Transactions that change them --------------------------------------------------------------

local function is_locked(err)
  return errors.is(err) and (err.code == 'lock_timeout' or err.code == 'deadlock')
end

--- Runs fn(tx) in a transaction that waits a little for locks, and again where it did not get them.
---@param store stores.Store
---@param fn fun(tx: stores.Transaction): any
---@return any
---Raises lock_timeout.
function marks.change(store, fn)
  for try = 1, TRIES do
    local ok, result = pcall(store.transaction, store, function(tx)
      tx:query(("SET LOCAL lock_timeout = '%s'"):format(PATIENCE))
      if tables.is_citus(tx) then tx:query(OF_CITUS) end
      return fn(tx)
    end)
    if ok then return result end
    if try == TRIES or not is_locked(result) then errors.throw(result) end
  end
end

local function taken_over()
  errors.raise('conflict', 'another process goes on with the copy, or has given it up')
end

--- Locks the row of a database, where it still is of this copy and this process.
---@param tx stores.Transaction
---@param copy string
---@param runner string
---@return stores.copy.State
---Raises conflict.
function marks.hold(tx, copy, runner)
  local row = tx:query('SELECT state FROM stores_shard WHERE copy = $1 AND runner = $2 FOR UPDATE',
    { copy, runner })[1]
  if not row then taken_over() end
  if type(row.state) ~= 'string' then row.state = nil end
  return row
end

marks.taken_over = taken_over

--- Notes which copy a database is of, and which process goes on with it from now on: what another
--- one still has under way is over when this returns, and what it begins is refused.
---@param store stores.Store
---@param copy string
---@param runner string
---@param names string? the names of its tables, as JSON; nil: as it was
function marks.claim(store, copy, runner, names)
  marks.change(store, function(tx)
    tx:query(COLUMNS)
    tx:query('UPDATE stores_shard SET copy = $1, runner = $2, tables = coalesce($3, tables)',
      { copy, runner, names or json.null })
  end)
end

-- ---- Words --------------------------------------------------------------------------------------

local function set_state(tx, state, why)
  tx:query('UPDATE stores_shard SET state = $1, why = $2, since = now()', { state, why })
end

local function facts(tx)
  local row = tx:query(NOW)[1]
  return row.now, row.name
end

local BACK = 'stores copy with --abort takes writes again here'
local ONWARD = 'use the configuration of the databases that they went to'

local function guard(tx, one, words)
  local list = {}
  for i, word in ipairs(words) do list[i] = literal(word) end
  if one.is_marked then tx:query(('DROP TRIGGER stores_refuse ON %s'):format(one.full)) end
  -- of a table that Citus spreads those of rows alone fire, on the workers
  tx:query(('CREATE TRIGGER stores_refuse BEFORE INSERT OR UPDATE OR DELETE%s ON %s FOR EACH %s'
    .. ' EXECUTE FUNCTION stores_refuse(%s)'):format(one.is_spread and '' or ' OR TRUNCATE',
    one.full, one.is_spread and 'ROW' or 'STATEMENT', table.concat(list, ', ')))
  tx:query(('ALTER TABLE %s ENABLE ALWAYS TRIGGER stores_refuse'):format(one.full))
end

local function unguard(tx, list)
  for _, one in ipairs(list) do
    if one.is_marked then tx:query(('DROP TRIGGER stores_refuse ON %s'):format(one.full)) end
  end
end

-- What nobody needs any more; tables of an earlier copy may.
local function drop_function(tx)
  if tx:query(USED)[1].is_there then return end
  tx:query('DROP FUNCTION IF EXISTS stores_refuse()')
end

-- All tables, as this transaction sees them.
local function all_of(side, tx, ledger)
  local target = { query = function(_, sql, params) return tx:query(sql, params) end }
  return tables.all(side, target, ledger)
end

---@param chosen stores.copy.Table[]
---@return table<string, boolean> by name
local function set_of(chosen)
  local set = {}
  for _, one in ipairs(chosen) do set[one.name] = true end
  return set
end

-- ---- The old side -------------------------------------------------------------------------------

--- Writes are refused from now on, by all tables; those that were under way are over.
---@param work stores.copy.Work
---@param at integer
---Raises lock_timeout, conflict.
function marks.read_only(work, at)
  local side = work.from
  marks.change(side.stores[at], function(tx)
    local row = marks.hold(tx, work.copy, work.runner)
    if row.state then return end
    tx:query(TRIGGER)
    local now, name = facts(tx)
    local message = ('the database %s takes no writes since %s: its rows are being copied to other '
      .. 'databases'):format(name, now)
    for _, one in ipairs(all_of(side, tx, work.ledger)) do
      guard(tx, one, { READ_ONLY, message, BACK })
    end
    set_state(tx, 'read_only', ('since %s its rows are being copied to other databases'):format(
      now))
  end)
end

--- Writes are taken again.
---@param work stores.copy.Work
---@param at integer
---Raises conflict.
function marks.lift(work, at)
  local side = work.from
  marks.change(side.stores[at], function(tx)
    local row = tx:query('SELECT state FROM stores_shard FOR UPDATE')[1]
    if row.state == 'moved' then
      errors.raise('conflict', ('the rows of %s have moved: the same command without --abort ends '
        .. 'what is left to be done'):format(side:called(at)))
    end
    unguard(tx, all_of(side, tx, work.ledger))
    drop_function(tx)
    -- which copy it was of it still says: to end what is left of that on the new side
    tx:query('UPDATE stores_shard SET state = NULL, why = NULL, since = NULL, runner = NULL')
  end)
end

-- Tables that could be written: made, or freed, while the copy went on.
local function check_guards(side, at, all)
  for _, one in ipairs(all) do
    if not one.is_marked then
      errors.raise('conflict', ('%s has the table %s, which takes writes: it was made while the '
        .. 'copy went on, or its trigger stores_refuse was dropped'):format(side:called(at),
        one.name), { table = one.name })
    end
  end
end

-- A column that was added, or given another type, no row was read with.
local function check_shapes(side, at, all, chosen)
  local shapes = {}
  for _, one in ipairs(chosen) do shapes[one.name] = tables.shape(one) end
  for _, one in ipairs(all) do
    if shapes[one.name] and shapes[one.name] ~= tables.shape(one) then
      errors.raise('conflict', ('%s of %s has other columns than those that were copied: %s')
        :format(one.name, side:called(at), tables.shape(one)), { table = one.name,
          hint = 'take that back, and the same call goes on' })
    end
  end
end

local function lock_all(tx, all)
  local names = {}
  for i, one in ipairs(all) do names[i] = one.full end
  tx:query(('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE'):format(table.concat(names, ', ')))
end

local function tell(cache, chosen)
  for _, one in ipairs(cache and chosen or {}) do cache:invalidate(one.name) end
end

-- The rows of a database are nobody's from here on, until the new side has them.
local function move(work, at, cache)
  local side, chosen = work.from, set_of(work.tables)
  marks.change(side.stores[at], function(tx)
    if marks.hold(tx, work.copy, work.runner).state == 'moved' then return end
    local all, counted = all_of(side, tx, work.ledger), sequences.of(side, tx, work.tables)
    lock_all(tx, all)
    check_guards(side, at, all)
    check_shapes(side, at, all, work.tables)
    away.prepare(tx, all, counted)
    local now, name = facts(tx)
    local words = { MOVED, ('the rows of the database %s went to other databases at %s'):format(
      name, now), ONWARD }
    for _, one in ipairs(all) do
      guard(tx, one, words)
      if chosen[one.name] or one.is_part then away.table(tx, one, words) end
    end
    tx:query('UPDATE stores_shard SET sequences = $1',
      { sequences.put_away(tx, counted, away.schema_of) })
    set_state(tx, 'moved', ('they went to other databases at %s; %s'):format(now, ONWARD))
    -- nobody reads the tables now, and what was cached of them no longer counts
    tell(cache, work.tables)
  end)
end

--- Rows are neither read nor written from now on, not even from a cache.
---@param work stores.copy.Work
---@param at integer
---Raises conflict, cache_failure, lock_timeout.
function marks.move(work, at)
  work.from:with_cache(at, function(cache)
    tell(cache, work.tables) -- a name that it knows it need not ask about under the locks
    move(work, at, cache)
  end)
end

-- ---- The new side -------------------------------------------------------------------------------

local LEDGER = 'CREATE TABLE IF NOT EXISTS stores_copy (shard integer NOT NULL, name text NOT NULL,'
  .. ' last bigint NOT NULL, rows bigint NOT NULL, PRIMARY KEY (shard, name))'

local function check_empty(tx, side, at, one)
  if tx:query(('SELECT 1 AS one FROM %s LIMIT 1'):format(one.full))[1] then
    errors.raise('conflict', ('%s of %s has rows already: a copy goes into tables that are empty')
      :format(one.name, side:called(at)), { table = one.name })
  end
end

-- Of those that a copy had begun to fill, into which nobody else could write. Elsewhere marked
-- tables are what is left of an old side, with rows of somebody's.
local function make_room(tx, all, is_filled)
  local names = {}
  for _, one in ipairs(all) do
    if one.is_marked and is_filled then names[#names + 1] = one.full end
    one.is_marked = false
  end
  if names[1] then tx:query('TRUNCATE ' .. table.concat(names, ', ')) end
end

--- Nobody but the copy writes from now on. Rows of a copy that was given up make room.
---@param work stores.copy.Work
---@param at integer
---Raises conflict, lock_timeout.
function marks.unfinished(work, at)
  local side, chosen = work.to, set_of(work.tables)
  marks.change(side.stores[at], function(tx)
    tx:query(COLUMNS)
    tx:query(TRIGGER)
    tx:query(LEDGER)
    local now, name = facts(tx)
    local words = { MOVED, ('the database %s does not own its rows yet: they are being copied into '
      .. 'it since %s'):format(name, now), 'they belong to the old servers until that is done',
      work.copy }
    local all = all_of(side, tx, work.ledger)
    tx:query('DELETE FROM stores_copy')
    local was = tx:query('SELECT state FROM stores_shard FOR UPDATE')[1].state
    unguard(tx, all)
    make_room(tx, all, was == 'unfinished')
    for _, one in ipairs(all) do
      -- rows that come by the whole of it meet no trigger of a part
      local is_of = one.is_part and not one.is_spread and chosen[one.root]
      if chosen[one.name] or is_of then guard(tx, one, words) end
    end
    for _, one in ipairs(all) do
      if chosen[one.name] then check_empty(tx, side, at, one) end
    end
    tx:query('UPDATE stores_shard SET copy = $1, runner = $2', { work.copy, work.runner })
    set_state(tx, 'unfinished', ('they are being copied into it since %s, and belong to the old '
      .. 'servers until that is done'):format(now))
  end)
end

--- What it has stays unfinished: the old side goes on without it.
---@param work stores.copy.Work
---@param at integer
---@param copy string which copy is given up
function marks.give_up(work, at, copy)
  marks.change(work.to.stores[at], function(tx)
    tx:query('UPDATE stores_shard SET copy = NULL, runner = NULL, why = $1'
      .. " WHERE state = 'unfinished' AND copy = $2",
      { 'a copy into it was given up; another one begins it anew', copy })
  end)
end

local function open(work, at, cache, given)
  local side = work.to
  marks.change(side.stores[at], function(tx)
    if not marks.hold(tx, work.copy, work.runner).state then return end
    sequences.set(tx, sequences.of(side, tx, work.tables), given)
    unguard(tx, all_of(side, tx, work.ledger))
    drop_function(tx)
    tx:query('DROP TABLE IF EXISTS stores_copy')
    tx:query('UPDATE stores_shard SET state = NULL, why = NULL, since = now(), runner = NULL')
    tell(cache, work.tables)
  end)
end

--- Its rows are its own from now on.
---@param work stores.copy.Work
---@param at integer
---@param given stores.copy.Given[] what the sequences of the old side have given
---Raises conflict, cache_failure, lock_timeout.
function marks.open(work, at, given)
  work.to:with_cache(at, function(cache)
    tell(cache, work.tables)
    open(work, at, cache, given)
  end)
end

return marks

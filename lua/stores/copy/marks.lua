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
---
--- Here is what both sides have of it; what each does is in old.lua and new.lua.

local errors = require('stores.errors')
local json = require('stores.json')
local literal = require('stores.sql.expression').literal
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
---@field keys string? constraints that were taken off, as JSON; nil: nobody looked for them yet

local NAMES = { 'state', 'copy', 'runner', 'tables', 'sequences', 'keys' }
local THERE = "SELECT to_regclass('stores_shard') IS NOT NULL AS is_there"
local STATE = [[SELECT shard, count, to_jsonb(s) ->> 'state' AS state,
  to_jsonb(s) ->> 'copy' AS copy, to_jsonb(s) ->> 'runner' AS runner,
  to_jsonb(s) ->> 'tables' AS tables, to_jsonb(s) ->> 'sequences' AS sequences,
  to_jsonb(s) ->> 'keys' AS keys
  FROM stores_shard AS s]]
local COLUMNS = 'ALTER TABLE stores_shard ADD COLUMN IF NOT EXISTS state text,'
  .. ' ADD COLUMN IF NOT EXISTS why text, ADD COLUMN IF NOT EXISTS since timestamptz,'
  .. ' ADD COLUMN IF NOT EXISTS copy text, ADD COLUMN IF NOT EXISTS runner text,'
  .. ' ADD COLUMN IF NOT EXISTS tables text, ADD COLUMN IF NOT EXISTS sequences text,'
  .. ' ADD COLUMN IF NOT EXISTS keys text'
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

-- The SQLSTATEs that the core takes for read_only and moved.
marks.READ_ONLY, marks.MOVED = 'ST001', 'ST002'

local function without_null(row)
  for _, name in ipairs(NAMES) do
    if type(row[name]) ~= 'string' then row[name] = nil end
  end
  return row
end

--- What a database says; nil: nothing.
---@param store stores.Store
---@return stores.copy.State?
function marks.read(store)
  if not store:query(THERE, {}, READ)[1].is_there then return nil end
  local row = store:query(STATE, {}, READ)[1]
  return row and without_null(row)
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

--- Locks what a database says.
---@param tx stores.Transaction
---@return stores.copy.State
function marks.lock(tx)
  return without_null(tx:query(STATE .. ' FOR UPDATE')[1])
end

--- Raises what a process hears that another one has taken the copy from.
---Raises conflict.
function marks.taken_over()
  errors.raise('conflict', 'another process goes on with the copy, or has given it up')
end

--- Locks what a database says, where it still is of this copy and this process.
---@param tx stores.Transaction
---@param work stores.copy.Work
---@return stores.copy.State
---Raises conflict.
function marks.hold(tx, work)
  local row = marks.lock(tx)
  if row.copy ~= work.copy or row.runner ~= work.runner then marks.taken_over() end
  return row
end

--- Makes what marks are made of, where it is not there.
---@param tx stores.Transaction
function marks.prepare(tx)
  tx:query(COLUMNS)
  tx:query(TRIGGER)
end

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

--- Writes down what a database says.
---@param tx stores.Transaction
---@param state string
---@param why string
function marks.set_state(tx, state, why)
  tx:query('UPDATE stores_shard SET state = $1, why = $2, since = now()', { state, why })
end

--- What words are about.
---@param tx stores.Transaction
---@return string now
---@return string database
function marks.facts(tx)
  local row = tx:query(NOW)[1]
  return row.now, row.name
end

--- Has a table refuse writes.
---@param tx stores.Transaction
---@param one stores.copy.Table
---@param words string[] a SQLSTATE, a message, a hint; and the copy that may write
function marks.guard(tx, one, words)
  local list = {}
  for i, word in ipairs(words) do list[i] = literal(word) end
  if one.is_marked then tx:query(('DROP TRIGGER stores_refuse ON %s'):format(one.full)) end
  -- of a table that Citus spreads those of rows alone fire, on the workers
  tx:query(('CREATE TRIGGER stores_refuse BEFORE INSERT OR UPDATE OR DELETE%s ON %s FOR EACH %s'
    .. ' EXECUTE FUNCTION stores_refuse(%s)'):format(one.is_spread and '' or ' OR TRUNCATE',
    one.full, one.is_spread and 'ROW' or 'STATEMENT', table.concat(list, ', ')))
  tx:query(('ALTER TABLE %s ENABLE ALWAYS TRIGGER stores_refuse'):format(one.full))
end

--- Has those that refuse writes take them again.
---@param tx stores.Transaction
---@param list stores.copy.Table[]
function marks.unguard(tx, list)
  for _, one in ipairs(list) do
    if one.is_marked then tx:query(('DROP TRIGGER stores_refuse ON %s'):format(one.full)) end
  end
end

--- Drops what nobody needs any more; tables of an earlier copy may.
---@param tx stores.Transaction
function marks.drop_function(tx)
  if tx:query(USED)[1].is_there then return end
  tx:query('DROP FUNCTION IF EXISTS stores_refuse()')
end

-- ---- Tables -------------------------------------------------------------------------------------

--- All tables, as a transaction sees them.
---@param side stores.copy.Side
---@param tx stores.Transaction
---@param ledger string?
---@return stores.copy.Table[]
function marks.all_of(side, tx, ledger)
  local target = { query = function(_, sql, params) return tx:query(sql, params) end }
  return tables.all(side, target, ledger)
end

--- Which tables a copy is about.
---@param chosen stores.copy.Table[]
---@return table<string, boolean> by name
function marks.set_of(chosen)
  local set = {}
  for _, one in ipairs(chosen) do set[one.name] = true end
  return set
end

--- Has a cache take nothing for known of the tables any more.
---@param cache stores.Store?
---@param chosen stores.copy.Table[]
function marks.tell(cache, chosen)
  for _, one in ipairs(cache and chosen or {}) do cache:invalidate(one.name) end
end

return marks

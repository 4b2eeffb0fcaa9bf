--- The ledger: which migrations ran in a database. A table (name, migration, ran_on, ran), the
--- shape that existing users have; further columns may be there and are left alone. Beside it,
--- made when it is first needed, the journal of migrations that run outside a transaction.

local errors = require('stores.errors')

---@class stores.Ledger
---@field name string schema-qualified and quoted
---@field journal string its journal, schema-qualified and quoted
---@field key string what the runner's lock is named after
---@field exists boolean
---@field journal_exists boolean
local Ledger = {}
Ledger.__index = Ledger

---@class stores.LedgerRow
---@field name string
---@field text string
---@field blank boolean the row holds no text at all
---@field ran boolean
---@field ran_on? string

-- Read as PostgreSQL reads an identifier; a name without schema is where it is found, or else
-- where CREATE TABLE would put it.
local LOCATE = [[
WITH given AS (SELECT parse_ident($1::text) AS part),
named AS (
  SELECT part[array_length(part, 1)] AS relation,
    coalesce(
      (SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass($1::text)),
      CASE WHEN array_length(part, 1) > 1 THEN part[array_length(part, 1) - 1]
        ELSE current_schema()::text END) AS schema
  FROM given),
quoted AS (
  SELECT schema IS NULL AS homeless, format('%I.%I', schema, relation) AS ledger,
    format('%I.%I', schema, left(relation, 48) || '_journal') AS journal
  FROM named WHERE schema IS NOT NULL
  UNION ALL SELECT true, '', '' FROM named WHERE schema IS NULL)
SELECT homeless, ledger, journal, current_database()::text AS database,
  to_regclass(journal) IS NOT NULL AS journal_exists,
  to_regclass(ledger) IS NOT NULL AS ledger_exists,
  (SELECT coalesce(string_agg(wanted, ', '), '')
    FROM unnest(ARRAY['name', 'migration', 'ran_on', 'ran']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(ledger)
      AND a.attname = wanted AND NOT a.attisdropped)) AS missing
FROM quoted]]

--- Finds the ledger of a database; reads the catalog only.
---@param runs table anything with query(self, sql, params)
---@param name? string as an SQL identifier, 'migrations' unless told otherwise
---@return stores.Ledger
function Ledger.find(runs, name)
  name = name or 'migrations'
  local ok, rows = pcall(runs.query, runs, LOCATE, { name })
  if not ok then
    if errors.is(rows) and (rows.sqlstate == '22023' or rows.sqlstate == '0A000') then
      errors.raise('invalid_option', ("ledger must be table or schema.table: '%s'"):format(name),
        { cause = rows })
    end
    error(rows, 0)
  end
  local found = rows[1]
  if found.homeless then
    errors.raise('invalid_option', 'the search_path names no schema for the ledger: give'
      .. " ledger = 'schema.migrations'")
  elseif found.ledger_exists and found.missing ~= '' then
    errors.raise('invalid_option', ('%s cannot be the ledger: it has no column %s'):format(
      found.ledger, found.missing))
  end
  return setmetatable({
    name = found.ledger, journal = found.journal,
    key = 'stores/migrations/' .. found.database .. '/' .. found.ledger,
    exists = found.ledger_exists, journal_exists = found.journal_exists,
  }, Ledger)
end

-- IF NOT EXISTS is no protection against a second session: both may see nothing, and one then
-- fails on the catalog's unique index. The runner's lock keeps runners apart; this is for others.
local function create(store, statement)
  local ok, err = pcall(store.in_transaction, store, function(tx) tx:query(statement) end)
  if ok then return end
  local lost_race = errors.is(err) and (err.sqlstate == '23505' or err.sqlstate == '42P07')
  if not lost_race then error(err, 0) end
end

--- Makes the table if it is not there. Only under the runner's lock.
---@param store stores.MigrationTarget
function Ledger:create(store)
  if self.exists then return end
  create(store, ('CREATE TABLE IF NOT EXISTS %s (name varchar(1024) PRIMARY KEY, migration text,'
    .. ' ran_on timestamp, ran boolean)'):format(self.name))
  self.exists = true
end

--- Makes the journal if it is not there. Only under the runner's lock.
---@param store stores.MigrationTarget
function Ledger:create_journal(store)
  if self.journal_exists then return end
  create(store, ('CREATE TABLE IF NOT EXISTS %s (name varchar(1024) NOT NULL,'
    .. ' statement integer NOT NULL, text text NOT NULL, started_on timestamptz NOT NULL'
    .. ' DEFAULT now(), done_on timestamptz, PRIMARY KEY (name, statement))'):format(self.journal))
  self.journal_exists = true
end

--- What the ledger holds.
---@param runs table
---@return table<string, stores.LedgerRow> by name
---@return stores.LedgerRow[] in the order in which they ran
function Ledger:read(runs)
  local by_name, ordered = {}, {}
  if not self.exists then return by_name, ordered end
  local rows = runs:query(("SELECT name::text AS name, coalesce(migration, '') AS text,"
    .. " migration IS NULL AS blank, ran IS TRUE AS ran, coalesce(ran_on::text, '') AS ran_on"
    .. ' FROM %s ORDER BY %s.ran_on, name'):format(self.name, self.name))
  for index, row in ipairs(rows) do
    if row.ran_on == '' then row.ran_on = nil end
    by_name[row.name], ordered[index] = row, row
  end
  return by_name, ordered
end

--- The journal's rows of migrations that did not end.
---@param runs table
---@return table<string, table<integer, {text: string, done: boolean, started_on: string}>>
function Ledger:unfinished(runs)
  local names = {}
  if not self.journal_exists then return names end
  local rows = runs:query(('SELECT name::text AS name, statement, text,'
    .. ' done_on IS NOT NULL AS done, started_on::text AS started_on'
    .. ' FROM %s ORDER BY name, statement'):format(self.journal))
  for _, row in ipairs(rows) do
    names[row.name] = names[row.name] or {}
    names[row.name][row.statement] = row
  end
  return names
end

--- Writes that a step ran. It goes first in the step's own transaction: a second runner then waits
--- at this row and learns here that the work is done, even where both believed to hold the lock.
---@param tx table
---@param step stores.MigrationStep
---@return boolean mine false: another runner was faster
function Ledger:claim(tx, step)
  local rows = tx:query(('INSERT INTO %s AS held (name, migration, ran_on, ran)'
    .. ' VALUES ($1, $2, now(), true) ON CONFLICT (name) DO UPDATE SET'
    .. ' migration = excluded.migration, ran_on = excluded.ran_on, ran = true'
    .. ' WHERE held.ran IS NOT TRUE OR held.migration IS DISTINCT FROM excluded.migration'
    .. ' RETURNING name::text AS name'):format(self.name), { step.name, step.text })
  return #rows == 1
end

--- Writes that a step which runs outside a transaction has begun; its row says that it did not
--- run yet.
---@param tx table
---@param step stores.MigrationStep
function Ledger:begin(tx, step)
  tx:query(('INSERT INTO %s AS held (name, migration, ran_on, ran) VALUES ($1, $2, now(), false)'
    .. ' ON CONFLICT (name) DO UPDATE SET migration = excluded.migration,'
    .. ' ran_on = excluded.ran_on, ran = false'):format(self.name), { step.name, step.text })
end

--- Writes that such a step is done, and forgets its journal. In one transaction.
---@param tx table
---@param step stores.MigrationStep
function Ledger:finish(tx, step)
  tx:query(('UPDATE %s SET ran = true, ran_on = now() WHERE name = $1'):format(self.name),
    { step.name })
  tx:query(('DELETE FROM %s WHERE name = $1'):format(self.journal), { step.name })
end

--- Journals a statement as begun, or with `done` as done.
---@param runs table
---@param step stores.MigrationStep
---@param index integer
---@param done boolean
function Ledger:mark(runs, step, index, done)
  runs:query(('INSERT INTO %s (name, statement, text, done_on)'
    .. ' VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END) ON CONFLICT (name, statement)'
    .. ' DO UPDATE SET text = excluded.text, done_on = excluded.done_on'):format(self.journal),
    { step.name, index, step.statements[index].text, done })
end

--- Takes a statement out of the journal: the server said that it did nothing.
---@param tx table
---@param step stores.MigrationStep
---@param index integer
function Ledger:unmark(tx, step, index)
  tx:query(('DELETE FROM %s WHERE name = $1 AND statement = $2'):format(self.journal),
    { step.name, index })
end

return Ledger

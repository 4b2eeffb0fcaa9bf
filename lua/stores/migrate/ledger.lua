--- The ledger: which migrations ran in a database. A table (name, migration, ran_on, ran), the
--- shape that existing users have; further columns may be there and are left alone. Beside it,
--- made when it is first needed, the journal of migrations that run outside a transaction.

local created = require('stores.verbs.created')
local errors = require('stores.errors')
local json = require('stores.json')

---@class stores.Ledger
---@field name string schema-qualified and quoted
---@field called string the same without quotes, for the catalog
---@field oid? string of the table that the last claim wrote to
---@field journal string its journal, schema-qualified and quoted
---@field key string what the runner's lock is named after
---@field exists boolean
---@field keyed boolean it has no name twice; of a view the table behind it tells that
---@field journal_exists boolean
---@field journal_grows boolean the journal is one of before it named who runs a statement
local Ledger = {}
Ledger.__index = Ledger

---@class stores.LedgerRow
---@field name string
---@field text string
---@field blank boolean the row holds no text at all
---@field ran boolean
---@field ran_on? string

-- Read as PostgreSQL reads an identifier, which it cuts at 63 bytes; a name without schema is where
-- it is found, or else where CREATE TABLE would put it. The journal of a long name has its hash in
-- it, for two that begin alike are two ledgers. to_regclass knows of tables that were made since
-- the statement began, and the catalog that it reads does not: such a one is not there yet.
local LOCATE = [[
WITH given AS (SELECT parse_ident($1::text) AS part),
named AS (
  SELECT part[array_length(part, 1)]::name::text AS relation,
    coalesce(
      (SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass($1::text)),
      CASE WHEN array_length(part, 1) > 1 THEN part[array_length(part, 1) - 1]::name::text
        ELSE current_schema()::text END) AS schema
  FROM given),
quoted AS (
  SELECT schema IS NULL AS homeless, format('%I.%I', schema, relation) AS ledger,
    schema || '.' || relation AS called,
    format('%I.%I', schema, CASE WHEN octet_length(relation) <= 55 THEN relation
      ELSE left(relation, (SELECT max(n) FROM generate_series(0, 38) AS n
          WHERE octet_length(left(relation, n)) <= 38)) || '_' || left(md5(relation), 16)
      END || '_journal') AS journal
  FROM named WHERE schema IS NOT NULL
  UNION ALL SELECT true, '', '', '' FROM named WHERE schema IS NULL)
SELECT homeless, ledger, called, journal, current_database()::text AS database,
  EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass(journal)) AS journal_exists,
  EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass(ledger)) AS ledger_exists,
  EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
    AND a.attnum = i.indkey[0] WHERE i.indrelid = to_regclass(ledger) AND a.attname = 'name'
    AND i.indisunique AND i.indimmediate AND i.indnkeyatts = 1 AND i.indpred IS NULL)
    OR EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass(ledger) AND c.relkind = 'v')
    AS keyed,
  (SELECT coalesce(string_agg(wanted, ', '), '')
    FROM unnest(ARRAY['name', 'migration', 'ran_on', 'ran']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(ledger)
      AND a.attname = wanted AND NOT a.attisdropped)) AS missing,
  (SELECT coalesce(string_agg(wanted, ', '), '')
    FROM unnest(ARRAY['name', 'statement', 'text', 'started_on', 'done_on', 'runner']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(journal)
      AND a.attname = wanted AND NOT a.attisdropped)) AS journal_missing
FROM quoted]]

-- What PostgreSQL says of a text that is no name of a table.
local NO_NAME = { ['22023'] = true, ['0A000'] = true, ['42601'] = true }

--- Finds the ledger of a database; reads the catalog only.
---@param runs table anything with query(self, sql, params)
---@param name? string as an SQL identifier, 'migrations' unless told otherwise
---@return stores.Ledger
function Ledger.find(runs, name)
  name = name or 'migrations'
  local ok, rows = pcall(runs.query, runs, LOCATE, { name })
  if not ok then
    -- a server that refuses the session says 22023, too
    if errors.is(rows) and rows.code ~= 'connect_failed' and NO_NAME[rows.sqlstate] then
      errors.raise('invalid_option', ("ledger must be table or schema.table: '%s'"):format(name),
        { cause = rows })
    end
    errors.throw(rows)
  end
  local found = rows[1]
  if found.homeless then
    errors.raise('invalid_option', 'the search_path names no schema for the ledger: give'
      .. " ledger = 'schema.migrations'")
  elseif found.ledger_exists and found.missing ~= '' then
    errors.raise('invalid_option', ('%s cannot be the ledger: it has no column %s'):format(
      found.ledger, found.missing))
  end
  local grows = found.journal_missing == 'runner'
  if found.journal_exists and found.journal_missing ~= '' and not grows then
    errors.raise('invalid_option', ('%s, where the journal of the ledger %s should be, is another'
      .. ' table: it has no column %s'):format(found.journal, found.ledger, found.journal_missing))
  end
  return setmetatable({
    name = found.ledger, called = found.called, journal = found.journal,
    journal_grows = found.journal_exists and grows,
    key = 'stores/migrations/' .. found.database .. '/' .. found.ledger,
    exists = found.ledger_exists, keyed = found.keyed, journal_exists = found.journal_exists,
  }, Ledger)
end

-- Names the connection that runs a statement, for as long as it lives.
local RUNNER = "a.pid || ' since ' || extract(epoch FROM a.backend_start)"

--- Makes the table if it is not there. Only under the runner's lock.
---@param store stores.MigrationTarget
function Ledger:create(store)
  if self.exists and not self.keyed then
    errors.raise('invalid_option', ('%s cannot be the ledger: no unique index is over its name')
      :format(self.name), { hint = ('ALTER TABLE %s ADD PRIMARY KEY (name)'):format(self.name) })
  end
  if self.exists then return end
  created.ensure(store, ('CREATE TABLE IF NOT EXISTS %s (name varchar(1024) PRIMARY KEY,'
    .. ' migration text, ran_on timestamp, ran boolean)'):format(self.name))
  self.exists = true
end

--- Makes the journal if it is not there. Only under the runner's lock.
---@param store stores.MigrationTarget
function Ledger:create_journal(store)
  if self.journal_grows then
    created.ensure(store, ('ALTER TABLE %s ADD COLUMN IF NOT EXISTS runner text'):format(
      self.journal))
    self.journal_grows = false
  end
  if self.journal_exists then return end
  created.ensure(store, ('CREATE TABLE IF NOT EXISTS %s (name varchar(1024) NOT NULL,'
    .. ' statement integer NOT NULL, text text NOT NULL, started_on timestamptz NOT NULL'
    .. ' DEFAULT now(), done_on timestamptz, runner text, PRIMARY KEY (name, statement))'):format(
    self.journal))
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
---@param seen? string the text of one that ran, as the plan saw it: where that still is what the
---       ledger holds, the step runs again. nil: where the texts differ in any way
---@return boolean mine false: another runner was faster
function Ledger:claim(tx, step, seen)
  return self:take(tx, step, true, seen)
end

--- Writes that a step which runs outside a transaction has begun; its row says that it did not
--- run yet.
---@param tx table
---@param step stores.MigrationStep
---@param seen? string as for claim
---@return boolean mine false: another runner has done it
function Ledger:begin(tx, step, seen)
  return self:take(tx, step, false, seen)
end

---@private
function Ledger:take(tx, step, ran, seen)
  local rows = tx:query(('INSERT INTO %s AS held (name, migration, ran_on, ran)'
    .. ' VALUES ($1, $2, now(), $3::boolean) ON CONFLICT (name) DO UPDATE SET'
    .. ' migration = excluded.migration, ran_on = excluded.ran_on, ran = excluded.ran'
    .. ' WHERE held.ran IS NOT TRUE OR CASE WHEN $4::text IS NULL'
    .. ' THEN held.migration IS DISTINCT FROM excluded.migration ELSE held.migration = $4 END'
    .. ' RETURNING $5::regclass::oid::text AS oid'):format(self.name),
    { step.name, step.text, ran, seen or json.null, self.name })
  self.oid = rows[1] and rows[1].oid
  return #rows == 1
end

--- Why a step whose row the ledger does not have any more cannot go on.
---@return string message
---@return string hint
function Ledger:bereft()
  return ('its row of the ledger, %s, was taken away, so that it would run again'):format(
    self.called), 'leave that table out of what it empties'
end

--- Raises where the table that was written to last is not there under the name that the next run
--- asks for, or has no row of the step. The catalog tells the first to every role, under any
--- search_path; a role that may not read the table, or not all of it, is not asked for the row.
---@param tx table
---@param step stores.MigrationStep
function Ledger:check(tx, step)
  local found = tx:query("SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    .. " AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"
    .. ' AND NOT pg_catalog.row_security_active(c.oid) AS readable'
    .. ' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace'
    .. " WHERE c.oid = $1::oid AND n.nspname || '.' || c.relname = $2", { self.oid, self.called })
  if not found[1] then
    errors.raise('invalid_argument', ('it takes away the ledger, %s, so that all would run'
      .. ' again'):format(self.called), { hint = 'give it one of another schema' })
  end
  if not found[1].readable then return end
  local rows = tx:query(('SELECT FROM %s WHERE name = $1'):format(self.name), { step.name })
  if rows[1] then return end
  local message, hint = self:bereft()
  errors.raise('invalid_argument', message, { hint = hint })
end

--- Writes that such a step is done, and forgets its journal. In one transaction.
---@param tx table
---@param step stores.MigrationStep
---@return boolean done false: the ledger has no row of it
function Ledger:finish(tx, step)
  local rows = tx:query(('UPDATE %s SET ran = true, ran_on = now() WHERE name = $1'
    .. ' RETURNING name'):format(self.name), { step.name })
  tx:query(('DELETE FROM %s WHERE name = $1'):format(self.journal), { step.name })
  return rows[1] ~= nil
end

--- How a statement stands in the journal now, and whether its migration is unfinished still.
---@param runs table
---@param step stores.MigrationStep
---@param index integer
---@return boolean? open false: another runner has finished the migration; nil: the ledger has no
---        row of it
---@return {text: string, done: boolean, started_on: string, runner: string?, alive: boolean}? mark
function Ledger:look(runs, step, index)
  local rows = runs:query(('SELECT j.text, j.done_on IS NOT NULL AS done, j.runner,'
    .. ' j.started_on::text AS started_on, EXISTS (SELECT FROM pg_stat_activity a'
    .. " WHERE a.pid::text = split_part(j.runner, ' ', 1)"
    .. ' AND (a.backend_start IS NULL OR %s = j.runner)) AS alive, l.ran IS TRUE AS over'
    .. ' FROM %s l LEFT JOIN %s j ON j.name = l.name AND j.statement = $2'
    .. ' WHERE l.name = $1'):format(RUNNER, self.name, self.journal), { step.name, index })
  if not rows[1] then return nil end
  if rows[1].over then return false end
  local mark = rows[1].text ~= json.null and rows[1] or nil
  if mark and mark.runner == json.null then mark.runner = nil end
  return true, mark
end

--- Claims a statement for the connection that is to run it: whoever writes the row runs the
--- statement, and nobody else does. With `done` the row goes with the statement's own transaction,
--- and another runner waits for the end of that.
---@param runs table the connection that is to run it
---@param step stores.MigrationStep
---@param index integer
---@param done boolean
---@param seen? string the runner of an open row that is to be taken over
---@return boolean mine
function Ledger:mark(runs, step, index, done, seen)
  local rows = runs:query(('INSERT INTO %s AS held (name, statement, text, done_on, runner)'
    .. ' SELECT l.name, $2::integer, $3::text, CASE WHEN $4::boolean THEN now() END,'
    .. ' (SELECT %s FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())'
    .. ' FROM %s l WHERE l.name = $1 AND l.ran IS NOT TRUE FOR SHARE'
    .. ' ON CONFLICT (name, statement) DO UPDATE SET text = excluded.text,'
    .. ' done_on = excluded.done_on, runner = excluded.runner, started_on = now()'
    .. ' WHERE held.done_on IS NULL AND held.runner IS NOT DISTINCT FROM $5::text'
    .. ' RETURNING statement'):format(self.journal, RUNNER, self.name),
    { step.name, index, step.statements[index].text, done, seen or json.null })
  return #rows == 1
end

--- Writes that a statement is done which this connection has claimed.
---@param runs table
---@param step stores.MigrationStep
---@param index integer
function Ledger:done(runs, step, index)
  runs:query(('UPDATE %s SET done_on = now() WHERE name = $1 AND statement = $2'):format(
    self.journal), { step.name, index })
end

-- How far a backfill went: the row of its statement 0.
local PROGRESS = 'after %s, %d rows'
local BEGINNING = '-9223372036854775808'

--- How far a backfill went, of the journal's rows of a migration.
---@param journal table? as unfinished gives it
---@return string? after the id of its last row; nil where it says nothing of a backfill
---@return integer? rows how many it went through
function Ledger.progress_of(journal)
  if not journal or not journal[0] then return nil end
  local after, rows = journal[0].text:match('^after (%-?%d+), (%d+) rows$')
  return after, tonumber(rows)
end

--- Reads how far a backfill went, and keeps other runners from going on before the end of the
--- transaction.
---@param tx table
---@param step stores.MigrationStep
---@return string? after nil: another runner has finished it
---@return integer? rows
function Ledger:progress(tx, step)
  local found = tx:query(('INSERT INTO %s AS held (name, statement, text, runner)'
    .. ' SELECT l.name, 0, $2::text, (SELECT %s FROM pg_stat_activity a'
    .. ' WHERE a.pid = pg_backend_pid()) FROM %s l WHERE l.name = $1 AND l.ran IS NOT TRUE'
    .. ' FOR SHARE ON CONFLICT (name, statement) DO UPDATE SET runner = excluded.runner'
    .. ' RETURNING text'):format(self.journal, RUNNER, self.name),
    { step.name, PROGRESS:format(BEGINNING, 0) })
  return Ledger.progress_of({ [0] = found[1] })
end

--- Writes how far a backfill went.
---@param tx table
---@param step stores.MigrationStep
---@param after string the id of its last row
---@param rows integer how many it went through, all in all
function Ledger:advance(tx, step, after, rows)
  tx:query(('UPDATE %s SET text = $2 WHERE name = $1 AND statement = 0'):format(self.journal),
    { step.name, PROGRESS:format(after, rows) })
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

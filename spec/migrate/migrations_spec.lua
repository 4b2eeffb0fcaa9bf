-- migrations.runMigrations and its kin, against a real PostgreSQL.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local Ledger = require('stores.migrate.ledger')
local migrations = require('migrations')
local script = require('stores.migrate.script')
local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null

-- What fn raises; fails where it does not.
local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, 'nothing was raised')
  return err
end

local function raises(code, pattern, fn, ...)
  local err = raised(fn, ...)
  assert.equals(code, err.code, tostring(err))
  assert.truthy(err.message:find(pattern), err.message)
  return err
end

local TABLE = { name = 'table', type = 'db', migration = [[
  CREATE TABLE IF NOT EXISTS test (id bigint PRIMARY KEY, value jsonb);
  CREATE INDEX IF NOT EXISTS test_value_idx ON test USING gin (value jsonb_path_ops);
]] }

local function insert(name, id)
  return { name = name, migration = ("INSERT INTO test VALUES (%d, '{}')"):format(id) }
end

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  local function count(relation)
    return tonumber(tostring(store:query('SELECT count(*) AS n FROM ' .. relation)[1].n))
  end

  local function exists(relation)
    return store:query('SELECT to_regclass($1) IS NOT NULL AS there', { relation })[1].there
  end

  local function adopt(name, text, ran)
    store:query('CREATE TABLE IF NOT EXISTS migrations (name varchar(1024) PRIMARY KEY,'
      .. ' migration text, ran_on timestamp, ran boolean)')
    store:query('INSERT INTO migrations VALUES ($1, $2, now(), $3)', { name, text, ran })
  end

  describe('a run', function()
    it('runs what is new, in order, once', function()
      local list = { TABLE, insert('one', 1), insert('two', 2) }
      local result = run(list)
      assert.same({ 'table', 'one', 'two' }, result.ran)
      assert.same({}, result.skipped)
      assert.equals('public.migrations', result.ledger)
      assert.equals(2, count('test'))
      result = run(list)
      assert.same({}, result.ran)
      assert.same({ 'table', 'one', 'two' }, result.skipped)
      assert.equals(2, count('test'))
    end)

    it('takes a db config, and closes what it opened', function()
      local function connections()
        return store:query('SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname ='
          .. " current_database() AND backend_type = 'client backend'")[1].n
      end
      local before, after = connections(), nil
      assert.same({ 'table' }, migrations.runMigrations({ TABLE }, db).ran)
      assert.is_true(exists('test'))
      -- A backend is gone a moment after its client.
      for _ = 1, 100 do
        after = connections()
        if after <= before then break end
        stores.sleep(0.02)
      end
      assert.is_true(after <= before, after .. ' connections, not ' .. before)
    end)

    it('keeps the ledger in the shape that users have', function()
      run({ TABLE })
      local columns = store:query("SELECT string_agg(attname || ' ' || format_type(atttypid,"
        .. " atttypmod), ', ' ORDER BY attnum) AS text FROM pg_attribute"
        .. " WHERE attrelid = 'migrations'::regclass AND attnum > 0")
      assert.equals('name character varying(1024), migration text,'
        .. ' ran_on timestamp without time zone, ran boolean', columns[1].text)
      local row = store:query('SELECT *, ran_on IS NOT NULL AS dated FROM migrations')[1]
      assert.equals(TABLE.migration, row.migration)
      assert.is_true(row.ran)
      assert.is_true(row.dated)
    end)

    it('accepts a ledger with more columns, and one with another name', function()
      store:query('CREATE SCHEMA app')
      store:query('CREATE TABLE app."Old Ledger" (extra int DEFAULT 7, ran boolean,'
        .. ' ran_on timestamp, migration text, name varchar(1024) PRIMARY KEY)')
      local opts = { ledger = 'app."Old Ledger"' }
      assert.equals('app."Old Ledger"', run({ TABLE }, opts).ledger)
      assert.same({ 'table' }, run({ TABLE }, opts).skipped)
      assert.equals(1, count('app."Old Ledger"'))
      assert.is_false(exists('migrations'))
    end)

    it('refuses a ledger that is none', function()
      store:query('CREATE TABLE other (name text PRIMARY KEY)')
      raises('invalid_option', 'no column migration, ran_on, ran', run, { TABLE },
        { ledger = 'other' })
      raises('invalid_option', 'table or schema.table', run, { TABLE }, { ledger = 'a b; drop' })
      raises('invalid_option', 'table or schema.table', run, { TABLE }, { ledger = 'a.b.c' })
      raises('invalid_option', 'table or schema.table', run, { TABLE }, { ledger = 'a.b.c.d' })
    end)

    it('is not blamed for a session that the server refuses', function()
      local refusing = { params = { options = '-c TimeZone=Nowhere' } }
      for key, value in pairs(db) do refusing[key] = value end
      raises('connect_failed', 'TimeZone', migrations.runMigrations, { TABLE }, refusing)
    end)

    it('runs a row whose ran is false', function()
      adopt('table', TABLE.migration, false)
      assert.same({ 'table' }, run({ TABLE }).ran)
      assert.is_true(store:query('SELECT ran FROM migrations')[1].ran)
    end)

    it('does not count white space outside quotes', function()
      run({ TABLE })
      local other = '\n\nCREATE  TABLE IF NOT EXISTS test(id bigint PRIMARY KEY,value jsonb);\r\n'
        .. 'CREATE INDEX IF NOT EXISTS test_value_idx ON test USING gin(value jsonb_path_ops);'
      assert.same({ 'table' }, run({ { name = 'table', migration = other } }).skipped)
    end)

    it('reads an adopted ledger that lost its newlines', function()
      local text = "CREATE TABLE x (\n  a int, -- it's a\n  b text DEFAULT 'p\nq'\n);\n"
      adopt('dropped', (text:gsub('\n', '')), true)
      adopt('spaced', (text:gsub('\n', ' ')), true)
      adopt('blank', null, true)
      local result = run({ { name = 'dropped', migration = text },
        { name = 'spaced', migration = text }, { name = 'blank', migration = text } })
      assert.same({ 'dropped', 'spaced', 'blank' }, result.skipped)
      assert.is_false(exists('x'))
    end)

    it('raises for an edited text, with the difference, before anything runs', function()
      run({ TABLE })
      local edited = TABLE.migration:gsub('jsonb_path_ops', 'jsonb_ops')
      local err = raises('migration_changed', "'table' ran on ", run,
        { insert('first', 1), { name = 'table', migration = edited } })
      assert.truthy(err.message:find('line 2 of the file', 1, true), err.message)
      assert.truthy(err.message:find('file: .*gin %(value jsonb_ops%)'), err.message)
      assert.truthy(err.message:find('ledger: .*gin %(value jsonb_path_ops%)'), err.message)
      assert.equals('table', err.migration)
      assert.equals(0, count('test'))
    end)

    it('runs an edited one again where it is repeatable', function()
      local function view(what)
        return { name = 'view', repeatable = true,
                 migration = 'CREATE OR REPLACE VIEW v AS SELECT ' .. what .. ' AS a' }
      end
      run({ view("'1'::text") })
      assert.same({ 'view' }, run({ view("'1'::text") }).skipped)
      assert.same({ 'view' }, run({ view("'2'::text") }).ran)
      assert.equals('2', store:query('SELECT a FROM v')[1].a)
      assert.same({ 'view' }, run({ view("'2'::text") }).skipped)
    end)

    it('tells of its progress', function()
      local events = {}
      run({ TABLE, insert('one', 1) }, { on = function(event)
        events[#events + 1] = event.event .. ' ' .. event.name .. ' ' .. (event.statement or '-')
      end })
      assert.same({ 'start table -', 'statement table 1', 'statement table 2', 'done table -',
                    'start one -', 'statement one 1', 'done one -' }, events)
    end)

    it('runs a migration of nothing but a comment', function()
      assert.same({ 'empty' }, run({ { name = 'empty', migration = '-- superseded' } }).ran)
    end)

    it('sets settings for its own transaction only', function()
      run({ { name = 'set', settings = { work_mem = '77MB' },
              migration = "CREATE TABLE seen AS SELECT current_setting('work_mem') AS value" } })
      assert.equals('77MB', store:query('SELECT value FROM seen')[1].value)
      assert.not_equals('77MB', store:query("SELECT current_setting('work_mem') AS value")[1].value)
    end)
  end)

  describe('a failure', function()
    it('stops the run, leaves nothing of its migration, and says where', function()
      local broken = { name = 'broken', migration = [[
        CREATE TABLE half (id int);

        INSERT INTO half VALUES (1);
        INSERT INTO nowhere VALUES (1);
      ]] }
      local err = raises('migration_failed', "'broken', statement 3 of 3 %(line 4%)", run,
        { TABLE, broken, insert('never', 9) })
      assert.truthy(err.message:find('42P01', 1, true))
      assert.truthy(err.message:find('nowhere', 1, true))
      assert.equals('42P01', err.sqlstate)
      assert.equals('broken', err.migration)
      assert.equals(3, err.statement)
      assert.equals(4, err.line)
      assert.equals('none', err.outcome)
      assert.equals('42P01', err.cause.sqlstate)
      assert.same({ 'table' }, err.ran)
      assert.is_false(exists('half'))
      assert.equals(0, count('test'))
      assert.equals(1, count('migrations'))
      broken.migration = 'CREATE TABLE half (id int)'
      assert.same({ 'broken', 'never' }, run({ TABLE, broken, insert('never', 9) }).ran)
    end)

    it('of a deferred constraint is one of the COMMIT', function()
      local err = raises('migration_failed', "'late': SQLSTATE 23503", run, { { name = 'late',
        migration = [[CREATE TABLE a (id int PRIMARY KEY);
          CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
          INSERT INTO b VALUES (1)]] } })
      assert.is_nil(err.statement)
      assert.is_false(exists('a'))
      assert.equals(0, count('migrations'))
    end)

    it('lets the next run go on: the lock is free', function()
      raised(run, { { name = 'x', migration = 'SELECT 1/0' } })
      assert.same({ 'table' }, run({ TABLE }, { lock_wait = 0 }).ran)
    end)

    it('meets a lock, tries again, and gives up', function()
      run({ TABLE })
      local tries = 0
      local function on(event) if event.event == 'retry' then tries = tries + 1 end end
      local list = { { name = 'alter', migration = 'ALTER TABLE test ADD COLUMN more int' } }
      store:in_transaction(function(tx)
        tx:query('LOCK TABLE test IN ACCESS SHARE MODE')
        local err = raises('migration_failed', '55P03', run, list,
          { lock_timeout = 0.05, lock_tries = 2, on = on })
        assert.equals(1, err.statement)
      end)
      assert.equals(1, tries)
      assert.same({ 'alter' }, run(list).ran)
    end)
  end)

  describe('the list', function()
    local function refused(list, pattern, code)
      raises(code or 'invalid_argument', pattern, run, list)
      assert.is_false(exists('test'))
      assert.is_false(exists('migrations'))
    end

    it('is checked before anything runs', function()
      refused('x', 'must be an array')
      refused({ TABLE, name = 'x' }, "have a key 'name'")
      refused({ TABLE, nil, TABLE }, 'without gaps')
      refused({ TABLE, 'x' }, 'migration 2 must be a table')
      refused({ TABLE, { migration = 'SELECT 1' } }, 'migration 2 has no name')
      refused({ TABLE, { name = 7, migration = 'SELECT 1' } }, 'name must be a string',
        'invalid_option')
      refused({ TABLE, { name = '', migration = 'SELECT 1' } }, 'not empty', 'invalid_option')
      refused({ TABLE, { name = ('x'):rep(1025), migration = 'SELECT 1' } }, 'at most 1024 bytes',
        'invalid_option')
      refused({ TABLE, { name = 'x' } }, "'x' has no 'migration'")
      refused({ TABLE, { name = 'x', migration = ' \n' } }, 'holds no statement')
      refused({ TABLE, { name = 'x', migration = 7 } }, 'needs SQL text')
      refused({ TABLE, { name = 'x', migration = print } }, "say type = 'lua'")
      refused({ TABLE, { name = 'x', type = 'lua', migration = 'x' } }, 'needs a function')
      refused({ TABLE, { name = 'x', type = 'sql', migration = 'x' } }, "'db', 'lua'",
        'invalid_option')
      refused({ TABLE, { name = 'x', migration = 'SELECT 1', repeatble = true } },
        "unknown key 'repeatble'.*'repeatable'", 'invalid_option')
      refused({ TABLE, { name = 'x', migration = 'SELECT 1', lock_timeout = '5s' } },
        'lock_timeout must be', 'invalid_option')
      refused({ TABLE, { name = 'table', migration = 'SELECT 1' } }, 'has the name of migration 1')
    end)

    it('holds no transaction control and no session settings', function()
      local function statement(text, more)
        local entry = { name = 'x', migration = 'SELECT 1;\n' .. text }
        for key, value in pairs(more or {}) do entry[key] = value end
        return { TABLE, entry }
      end
      for _, text in ipairs({ 'BEGIN', 'commit', 'START TRANSACTION', 'ROLLBACK', 'END', 'ABORT',
                              "PREPARE TRANSACTION 'x'", '/* sly */ COMMIT' }) do
        refused(statement(text), "'x', statement 2 %(line 2%): [A-Z ]+ has no place")
      end
      refused(statement('SET search_path = app', { transaction = false }),
        'settings = { name = value }')
      refused(statement("SET client_encoding = 'LATIN1'"), 'is UTF%-8')
      refused(statement("SET NAMES 'WIN1252'"), 'is UTF%-8')
      refused(statement('COPY test FROM STDIN'), 'COPY from or to the client')
      refused(statement('VACUUM'), 'say transaction = false')
      refused(statement('DROP INDEX CONCURRENTLY i', { transaction = true }), 'transaction = true')
      refused(statement("SELECT 'open"), "'x': the SQL ends inside a string")
      refused(statement('CALL p()', { transaction = false }), 'invalidates')
    end)

    it('may hold savepoints, and what only looks like control', function()
      run({ TABLE, { name = 'x', migration = [[
        SAVEPOINT s; INSERT INTO test VALUES (1, '{}'); ROLLBACK TO SAVEPOINT s; RELEASE s;
        SET LOCAL work_mem = '8MB';
        CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;
        INSERT INTO test VALUES (2, '{"a": "; COMMIT; --"}'); -- ; COMMIT;
      ]] } })
      assert.equals(1, count('test'))
    end)

    it('does not look at the statements of what ran before', function()
      adopt('old', 'BEGIN; CREATE TABLE z (); COMMIT;', true)
      local list = { { name = 'old', migration = 'BEGIN;\nCREATE TABLE z ();\nCOMMIT;' }, TABLE }
      assert.same({ 'table' }, run(list).ran)
    end)

    it('goes with options that are known', function()
      raises('invalid_option', "did you mean 'ledger'", run, { TABLE }, { leger = 'x' })
      raises('invalid_option', 'seconds are meant', run, { TABLE }, { timeout = 30000 })
      run({ TABLE }, { timeout = math.huge, lock_timeout = 0 })
      raises('invalid_argument', 'a db config, a Store or Shards', migrations.runMigrations,
        { TABLE }, 'postgres')
      raises('invalid_option', 'migrate_url', migrations.runMigrations, { TABLE },
        { database = 'x', pooler = 'transaction' })
    end)
  end)

  describe('of type lua', function()
    it('run with the transaction and are undone with it', function()
      local list = { TABLE, { name = 'data', type = 'lua', migration = function(tx)
        for id = 1, 3 do tx:query("INSERT INTO test VALUES ($1, '{}')", { id }) end
      end } }
      assert.same({ 'table', 'data' }, run(list).ran)
      assert.same({ 'table', 'data' }, run(list).skipped)
      assert.equals(3, count('test'))
      list[3] = { name = 'bad', type = 'lua', migration = function(tx)
        tx:query("INSERT INTO test VALUES (4, '{}')")
        error('on purpose', 0)
      end }
      local err = raises('migration_failed', "'bad': on purpose", run, list)
      assert.equals('on purpose', err.cause)
      assert.equals(3, count('test'))
    end)

    it('are told apart by their version', function()
      local function entry(version, again)
        return { name = 'v', type = 'lua', version = version, repeatable = again,
                 migration = function(tx) tx:query('CREATE TABLE IF NOT EXISTS v ()') end }
      end
      run({ entry('1') })
      assert.same({ 'v' }, run({ entry('1') }).skipped)
      raises('migration_changed', 'version is 2, the ledger holds 1', run, { entry('2') })
      assert.same({ 'v' }, run({ entry('2', true) }).ran)
    end)
  end)

  describe('runners', function()
    it('exclude each other; the loser waits and finds the work done', function()
      local other = stores.Store.new(db, nil, { cache = false })
      local calls, waited, results = 0, 0, {}
      local list = { { name = 'slow', type = 'lua', migration = function(tx)
        calls = calls + 1
        tx:query('CREATE TABLE once (id int)')
        stores.sleep(0.3)
      end } }
      local function runner(of)
        return function()
          local result = migrations.runMigrations(list, of, { on = function(event)
            if event.event == 'waiting' then waited = waited + 1 end
          end })
          results[#results + 1] = result
        end
      end
      stores.run(function() stores.all({ runner(store), runner(other) }) end)
      other:close()
      assert.equals(1, calls)
      assert.equals(1, waited)
      assert.same({ 1, 0 }, { #results[1].ran, #results[2].ran })
      assert.same({ 'slow' }, results[2].skipped)
    end)

    it('say who holds the lock when they give up', function()
      local inner
      run({ { name = 'outer', type = 'lua', migration = function()
        inner = raised(migrations.runMigrations, { TABLE }, db, { lock_wait = 0.2 })
      end } })
      assert.equals('lock_timeout', inner.code)
      assert.truthy(inner.message:find('waited 0%.%d s for another runner.*%(process %d+'),
        inner.message)
    end)

    it('stop when the connection that holds the lock is gone', function()
      local list = { { name = 'kill', type = 'lua', migration = function(tx)
        tx:query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
          .. ' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())')
        for _ = 1, 100 do
          local held = tx:query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
            .. ' (SELECT oid FROM pg_database WHERE datname = current_database())')
          if #held == 0 then break end
          tx:query('SELECT pg_sleep(0.02)')
        end
      end }, TABLE }
      local err = raised(run, list)
      assert.same({ 'kill' }, err.ran)
      assert.is_false(exists('test'))
      assert.same({ 'table' }, run(list).ran)
    end)

    it('run nothing twice even when two of them believe to hold the lock', function()
      -- The second runs inside the first one's migration, after the first lost its lock.
      local inner, calls
      calls = 0
      local list = { { name = 'both', type = 'lua', migration = function(tx)
        calls = calls + 1
        if calls > 1 then return end
        tx:query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
          .. ' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())')
        inner = raised(migrations.runMigrations, { TABLE, { name = 'both', type = 'lua',
          migration = function() calls = calls + 1 end } }, db,
          { lock_timeout = 0.05, lock_tries = 1 })
      end } }
      run(list)
      assert.equals(1, calls)
      assert.equals('both', inner.migration)
      assert.equals('55P03', inner.sqlstate)
    end)

    it('claim a migration once', function()
      run({ TABLE })
      local ledger = Ledger.find(store)
      local function claim(name, text)
        return store:in_transaction(function(tx)
          return ledger:claim(tx, { name = name, text = text })
        end)
      end
      assert.is_false(claim('table', TABLE.migration))
      assert.is_true(claim('table', 'another text'))
      assert.is_true(claim('new', 'x'))
      assert.is_false(claim('new', 'x'))
    end)

    it('do not exclude those of another ledger', function()
      local inner
      run({ { name = 'outer', type = 'lua', migration = function()
        inner = migrations.runMigrations({ TABLE }, db, { lock_wait = 0, ledger = 'second' })
      end } })
      assert.same({ 'table' }, inner.ran)
    end)

    it('hold no transaction open while they wait or build', function()
      run({ TABLE })
      local open
      run({ { name = 'watch', type = 'lua', migration = function(tx)
        open = tx:query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname ="
          .. ' current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()'
          .. " AND backend_type = 'client backend'")[1].n
      end } })
      assert.equals(0, open)
    end)
  end)

  describe('outside a transaction', function()
    local CONCURRENT = { name = 'index', migration = [[
      INSERT INTO test VALUES (100, '{}');
      CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS test_k ON test ((value->>'k'));
      INSERT INTO test VALUES (101, '{}');]] }

    it('CONCURRENTLY runs by itself', function()
      assert.same({ 'table', 'index' }, run({ TABLE, CONCURRENT }).ran)
      assert.is_true(exists('test_k'))
      assert.equals(2, count('test'))
      assert.equals(0, count('migrations_journal'))
      assert.same({ 'table', 'index' }, run({ TABLE, CONCURRENT }).skipped)
    end)

    it('VACUUM runs with transaction = false, and settings do not stay', function()
      local list = { TABLE, { name = 'vacuum', transaction = false,
        migration = 'VACUUM test; ANALYZE', settings = { maintenance_work_mem = '77MB' } } }
      assert.same({ 'table', 'vacuum' }, run(list).ran)
      assert.not_equals('77MB',
        store:query("SELECT current_setting('maintenance_work_mem') AS value")[1].value)
      -- The same connection again: the one that holds the lock.
      list[2].name = 'vacuum again'
      list[3] = { name = 'look', transaction = false, invalidates = {}, migration = [[DO $$ BEGIN
        CREATE TABLE seen AS SELECT current_setting('maintenance_work_mem') AS value; END $$]] }
      run(list)
      assert.not_equals('77MB', store:query('SELECT value FROM seen')[1].value)
    end)

    it('tries a statement again that the server refused', function()
      local entry = { name = 'do', transaction = false, invalidates = {},
                      settings = { no_such_setting = '1' },
                      migration = 'DO $$ BEGIN PERFORM * FROM missing; END $$' }
      raises('migration_failed', "'do', statement 1 of 1 .*42704", run, { entry })
      entry.settings = nil
      raises('migration_failed', "'do', statement 1 of 1 .*42P01", run, { entry })
      store:query('CREATE TABLE missing ()')
      assert.same({ 'do' }, run({ entry }).ran)
    end)

    it('goes on where it failed, and names an INVALID index', function()
      run({ TABLE })
      store:query([[INSERT INTO test VALUES (1, '{"k": "a"}'), (2, '{"k": "a"}')]])
      local err = raises('migration_failed', 'statement 2 of 3.*INVALID index public.test_k', run,
        { CONCURRENT })
      assert.equals('23505', err.sqlstate)
      assert.same({ 'public.test_k' }, err.invalid_indexes)
      assert.truthy(err.hint:find('DROP INDEX CONCURRENTLY public.test_k', 1, true))

      local status = migrations.status({ TABLE, CONCURRENT }, store)
      assert.same({ 'done', 'unfinished' }, { status[1].state, status[2].state })
      assert.same({ 'public.test_k' }, migrations.verify({ TABLE }, store).invalid_indexes)
      local planned = migrations.plan({ CONCURRENT }, store)[1]
      assert.same({ 'resume', 1, 3 }, { planned.action, planned.done, planned.statements })

      -- IF NOT EXISTS would take the INVALID index for the real one.
      store:query('DELETE FROM test WHERE id = 2')
      raises('migration_failed', 'public.test_k is INVALID', run, { CONCURRENT })
      store:query('DROP INDEX test_k')
      assert.same({ 'index' }, run({ CONCURRENT }).ran)
      assert.equals(3, count('test'))
      assert.is_true(migrations.verify({ TABLE, CONCURRENT }, store).ok)
    end)

    it('lets the rest of an unfinished one be edited, and not what ran', function()
      local entry = { name = 'e', transaction = false, migration = 'CREATE TABLE e (); SELECT 1/0' }
      raises('migration_failed', '22012', run, { entry })
      entry.migration = 'CREATE TABLE e2 (); SELECT 1'
      raises('migration_changed', 'its statement 1 ran already', run, { entry })
      -- Also where what is left would have been one transaction.
      assert.same({ 'e' }, run({ { name = 'e', migration = 'CREATE TABLE e (); SELECT 1' } }).ran)
    end)

    it('does not guess how a statement ended that was cut short', function()
      local entry = { name = 'cut', transaction = false, invalidates = {},
                      migration = 'CREATE TABLE cut (); DO $$ BEGIN CREATE TABLE cut2 (); END $$' }
      local function cut()
        store:query('UPDATE migrations SET ran = false')
        store:query('DROP TABLE IF EXISTS cut2')
        store:query('INSERT INTO migrations_journal (name, statement, text, done_on) VALUES'
          .. " ('cut', 1, 'CREATE TABLE cut ()', now()), ('cut', 2, 'DO', NULL)")
      end
      run({ entry })
      cut()
      local err = raises('migration_failed', 'statement 2 of 2.*nothing says how it ended', run,
        { entry })
      assert.truthy(err.hint:find("unfinished = 'done'", 1, true))
      assert.same({ 'cut' }, run({ entry }, { unfinished = 'done' }).ran)
      assert.is_false(exists('cut2'))
      cut()
      assert.same({ 'cut' }, run({ entry }, { unfinished = 'again' }).ran)
      assert.is_true(exists('cut2'))
    end)

    it('takes a concurrent build that was cut short after its end for done', function()
      run({ TABLE, CONCURRENT })
      store:query('UPDATE migrations SET ran = false')
      store:query('INSERT INTO migrations_journal (name, statement, text, done_on) VALUES'
        .. " ('index', 1, $1, now()), ('index', 2, '', NULL)",
        { "INSERT INTO test VALUES (100, '{}')" })
      store:query('DELETE FROM test WHERE id = 101')
      assert.same({ 'index' }, run({ CONCURRENT }).ran)
      assert.equals(2, count('test'))
    end)
  end)

  describe('with distribute', function()
    local function lists()
      return { { name = 'old', migration = [[CREATE TABLE old (id bigint);
            CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text,
              repmodel "char")]] } },
        { { name = 'new', distribute = 'id', migration = [[
            ALTER TABLE old ADD COLUMN n int;
            CREATE TABLE a (id bigint); CREATE TABLE b (other bigint);
            CREATE TEMP TABLE c (id int)]] },
          { name = 'newer', distribute = 'id', transaction = false,
            migration = 'CREATE TABLE "D d" (id bigint)' } }
    end

    it('is nothing on plain PostgreSQL', function()
      local old, new = lists()
      run(old)
      assert.same({ 'new', 'newer' }, run(new).ran)
      assert.equals(0, count('pg_dist_partition'))
    end)

    it('distributes the tables that it creates where the function of Citus is', function()
      local old, new = lists()
      run(old)
      store:query([[CREATE FUNCTION create_distributed_table(regclass, text) RETURNS void
        LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''h'', $2)';
        CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text
        LANGUAGE sql AS 'SELECT $2']])
      run(new)
      assert.equals('"D d",a', store:query("SELECT string_agg(logicalrelid::text, ',' ORDER BY"
        .. ' logicalrelid::text COLLATE "C") AS names FROM pg_dist_partition')[1].names)
    end)
  end)

  describe('with distribute where the function of Citus is', function()
    before_each(function()
      run({ { name = 'citus', migration = [[
        CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text,
          repmodel "char");
        CREATE FUNCTION create_distributed_table(regclass, text) RETURNS void
          LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''h'', $2, ''s'')';
        CREATE FUNCTION create_reference_table(regclass) RETURNS void
          LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''n'', NULL, ''t'')';
        CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text
          LANGUAGE sql AS 'SELECT $2';
        CREATE TABLE there (id bigint); CREATE TABLE "Too" (id bigint)]] } })
    end)

    local function spread()
      return store:query([[SELECT coalesce(string_agg(logicalrelid::text || ' ' || partmethod::text
        || ' ' || coalesce(partkey, ''), ',' ORDER BY logicalrelid::text COLLATE "C"), '') AS names
        FROM pg_dist_partition]])[1].names
    end

    it('copies what it creates to all servers where it says reference', function()
      run({ { name = 'new', distribute = 'reference', migration = 'CREATE TABLE a (n int)' } })
      assert.equals('a n ', spread())
    end)

    it('distributes a table that it would have created, and leaves one that is', function()
      local function step(name, by)
        return { { name = name, distribute = by, migration = [[
          CREATE TABLE IF NOT EXISTS public.there (id bigint, n int);
          create unlogged table if not exists "Too" (id bigint);
          CREATE INDEX IF NOT EXISTS there_id ON there (id)]] } }
      end
      run(step('one', 'id'))
      assert.equals('"Too" h id,there h id', spread())
      run(step('again', 'id'))
      assert.equals('"Too" h id,there h id', spread())
      raises('migration_failed', 'there is spread by Citus already, otherwise: id', run,
        step('other', 'reference'))
    end)

    it('is looked after by verify, which names what is not spread as the list says', function()
      local list = { { name = 'new', distribute = 'id', migration = [[
        CREATE TABLE a (id bigint); CREATE TABLE b (n int); CREATE TABLE c (id bigint)]] } }
      run(list)
      assert.same({}, migrations.verify(list, store).not_distributed)
      store:query("DELETE FROM pg_dist_partition WHERE logicalrelid = 'a'::regclass")
      store:query("UPDATE pg_dist_partition SET partkey = 'n' WHERE logicalrelid = 'c'::regclass")
      local report = migrations.verify(list, store)
      assert.same({ 'a (on the coordinator alone, not id)', 'c (n, not id)' },
        report.not_distributed)
      assert.is_false(report.ok)
    end)

    it('raises where none of its tables has the column, and has done nothing', function()
      raises('migration_failed', 'no table that it creates has this column: a, b', run,
        { { name = 'wrong', distribute = 'nope', migration =
          'CREATE TABLE a (id bigint); CREATE TABLE b (id bigint)' } })
      assert.is_false(exists('a'))
      run({ { name = 'index', distribute = 'id', transaction = false, migration =
        'CREATE TABLE c (id bigint); CREATE INDEX c_id ON c (id); ALTER TABLE c ADD n int' } })
      assert.equals('c h id', spread())
    end)
  end)

  describe('a look', function()
    local LIST = { TABLE, insert('one', 1) }

    it('writes nothing at all', function()
      local result = run(LIST, { dry_run = true })
      assert.same({ 'table', 'one' }, result.pending)
      assert.same({}, result.ran)
      migrations.plan(LIST, store)
      migrations.status(LIST, store)
      migrations.verify(LIST, store)
      assert.is_false(exists('migrations'))
      assert.is_false(exists('test'))
      raises('invalid_argument', 'has no place', run, { { name = 'x', migration = 'COMMIT' } },
        { dry_run = true })
    end)

    it('says how each stands, and what the file does not know', function()
      run(LIST)
      local edited = { name = 'one', migration = 'SELECT 1' }
      local list = { TABLE, edited, insert('new', 2) }
      adopt('stranger', 'SELECT 2', true)
      local states = {}
      for place, row in ipairs(migrations.status(list, store)) do
        states[place] = row.name .. ' ' .. row.state
      end
      assert.same({ 'table done', 'one changed', 'new pending', 'stranger unknown' }, states)
      local report = migrations.verify(list, store)
      assert.is_false(report.ok)
      assert.same({ 'stranger' }, report.unknown)
      assert.same({ 'new' }, report.pending)
      assert.same({ 'one' }, report.changed)
      local planned = migrations.plan(list, store)
      assert.same({ 'skip', 'changed', 'run' },
        { planned[1].action, planned[2].action, planned[3].action })
      assert.truthy(planned[2].difference:find('line 1 of the file', 1, true))
    end)

    it('shows no password of a changed migration, however it is quoted', function()
      for _, quoted in ipairs({ "'%s'", "E'%s'", "e'it''s \\'%s'", '$$%s$$', '$x$%s$x$', "U&'%s'",
                                "'a'\n  '%s'", "'", '$$%s' }) do
        for _, statement in ipairs({ 'CREATE ROLE r PASSWORD %s',
          'ALTER USER r Encrypted password %s',
          'CREATE USER MAPPING FOR r SERVER s OPTIONS (user \'u\', password %s)',
          'CREATE SUBSCRIPTION s CONNECTION %s PUBLICATION p',
          'DO $do$ BEGIN EXECUTE format($f$ALTER ROLE r PASSWORD %%L$f$, %s); END $do$',
          '-- the password: %s\nCREATE ROLE r' }) do
          local literal = quoted:format('hushhush')
          local text = statement:gsub('%%s', function() return literal end)
          local held_texts = { (text:gsub('hushhush', 'othersecret')), text .. ' ', 'SELECT 1' }
          for _, held in ipairs(held_texts) do
            local shown = script.difference(text, held) .. script.difference(held, text)
            assert.is_nil(shown:find('hush', 1, true), shown)
            assert.is_nil(shown:find('other', 1, true), shown)
          end
        end
      end
    end)

    it('shows the strings of others', function()
      local shown = script.difference("CREATE ROLE r PASSWORD 'x'; INSERT INTO t VALUES ('new')",
        "CREATE ROLE r PASSWORD 'x'; INSERT INTO t VALUES ('old')")
      assert.truthy(shown:find("('new')", 1, true), shown)
      assert.truthy(shown:find("('old')", 1, true), shown)
    end)
  end)

  describe('baseline', function()
    it('writes the ledger and runs nothing', function()
      local list = { TABLE, insert('one', 1), insert('two', 2) }
      raises('invalid_argument', 'upto names no migration', migrations.baseline, list, store,
        { upto = 'three' })
      assert.same({ 'table', 'one' }, migrations.baseline(list, store, { upto = 'one' }).ran)
      assert.is_false(exists('test'))
      store:query('CREATE TABLE test (id bigint PRIMARY KEY, value jsonb)')
      assert.same({ 'two' }, run(list).ran)
    end)

    it('takes the new text of an edited one where it is told to', function()
      run({ TABLE, insert('one', 1) })
      local list = { TABLE, insert('one', 2) }
      raises('migration_changed', "'one'", migrations.baseline, list, store)
      assert.same({ 'one' }, migrations.baseline(list, store, { accept = true }).ran)
      assert.same({}, run(list).ran)
      assert.equals(1, count('test'))
    end)
  end)

  describe('over shards', function()
    it('keep a ledger each, and go on after a shard failed', function()
      local first, second = support.db(), support.db()
      local shards = stores.Shards.new({ { db = first, id = 0, opts = { cache = false } },
                                         { db = second, id = 1, opts = { cache = false } } })
      local list = { TABLE, { name = 'more', migration = 'CREATE TABLE more ()' } }
      shards.shards[2]:query('CREATE TABLE more ()')
      local err = raises('migration_failed', '1 of 2 shards failed', migrations.runMigrations, list,
        shards)
      assert.equals(1, err.shard)
      assert.equals('42P07', err.sqlstate)
      shards.shards[2]:query('DROP TABLE more')
      local result = migrations.runMigrations(list, shards)
      assert.same({ 'more' }, result.ran)
      assert.same({}, result.shards[1].ran)
      assert.same({ 'more' }, result.shards[2].ran)
      assert.equals(2, #migrations.status(list, shards))
      for _, each in ipairs(shards.shards) do each:close() end
    end)
  end)

  describe('load', function()
    local function file(text)
      local name = os.tmpname()
      local handle = assert(io.open(name, 'w'))
      handle:write(text)
      handle:close()
      finally(function() os.remove(name) end)
      return name
    end

    it('gives the list of a file', function()
      local list = migrations.load(file("return { { name = 'a', migration = 'SELECT 1' } }"))
      assert.same({ 'a' }, run(list).ran)
    end)

    it('says what is wrong with a file', function()
      raises('invalid_argument', 'cannot be read', migrations.load, '/nowhere/at/all.lua')
      raises('invalid_argument', 'cannot be read', migrations.load, file('return {'))
      raises('invalid_argument', 'fails: .*on purpose', migrations.load,
        file("error('on purpose')"))
      raises('invalid_argument', 'must return an array', migrations.load, file('return 7'))
      raises('invalid_argument', 'has no name', migrations.load, file("return { {} }"))
    end)
  end)
end)

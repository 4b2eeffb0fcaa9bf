-- migrations.runMigrations, against a real PostgreSQL: what a run does, and how it fails.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null
local TABLE = migrating.TABLE
local raised, raises = migrating.raised, migrating.raises

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  describe('a run', function()
    it('runs what is new, in order, once', function()
      local list = { TABLE, migrating.insert('one', 1), migrating.insert('two', 2) }
      local result = run(list)
      assert.same({ 'table', 'one', 'two' }, result.ran)
      assert.same({}, result.skipped)
      assert.equals('public.migrations', result.ledger)
      assert.equals(2, migrating.count(store, 'test'))
      result = run(list)
      assert.same({}, result.ran)
      assert.same({ 'table', 'one', 'two' }, result.skipped)
      assert.equals(2, migrating.count(store, 'test'))
    end)

    it('takes a db config, and closes what it opened', function()
      local function connections()
        return store:query('SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname ='
          .. " current_database() AND backend_type = 'client backend'")[1].n
      end
      local before = connections()
      assert.same({ 'table' }, migrations.runMigrations({ TABLE }, db).ran)
      assert.is_true(migrating.exists(store, 'test'))
      -- a backend is gone a moment after its client
      support.eventually(function() return connections() <= before end)
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
      assert.equals(1, migrating.count(store, 'app."Old Ledger"'))
      assert.is_false(migrating.exists(store, 'migrations'))
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
      migrating.adopt(store, 'table', TABLE.migration, false)
      assert.same({ 'table' }, run({ TABLE }).ran)
      assert.is_true(store:query('SELECT ran FROM migrations')[1].ran)
    end)

    it('refuses a table for its ledger that may have a name twice', function()
      store:query('CREATE TABLE migrations (name text, migration text, ran_on timestamp,'
        .. ' ran boolean)')
      local err = raises('invalid_option', 'no unique index is over its name', run, { TABLE })
      store:query(err.hint)
      assert.same({ 'table' }, run({ TABLE }).ran)
    end)

    it('accepts a view for its ledger', function()
      store:query('CREATE TABLE behind (name varchar(1024) PRIMARY KEY, migration text,'
        .. ' ran_on timestamp, ran boolean); CREATE VIEW migrations AS SELECT * FROM behind')
      assert.same({ 'table' }, run({ TABLE }).ran)
      assert.same({ 'table' }, run({ TABLE }).skipped)
    end)

    it('does not take a row that a role may not see for one that was taken away', function()
      store:query('CREATE TABLE migrations (name varchar(1024) PRIMARY KEY,'
        .. ' migration text, ran_on timestamp, ran boolean);'
        .. ' ALTER TABLE migrations ENABLE ROW LEVEL SECURITY;'
        .. ' GRANT SELECT ON migrations TO pg_monitor')
      local list = { { name = 'as another', migration = 'SET LOCAL ROLE pg_monitor; SELECT 1' } }
      assert.same({ 'as another' }, run(list).ran)
    end)

    it('calls no function of a migration in place of one of the catalog', function()
      local list = { { name = 'shadows', migration = 'CREATE SCHEMA shadow; CREATE FUNCTION'
        .. " shadow.has_table_privilege(oid, text) RETURNS bool LANGUAGE sql AS 'SELECT 1 / 0 = 1';"
        .. ' SET LOCAL search_path = shadow, pg_catalog, public' } }
      assert.same({ 'shadows' }, run(list).ran)
    end)

    it('ends where its hook raises, and the next one goes on', function()
      local list = { TABLE, { name = 'more', migration = 'SELECT 1' } }
      for _, at in ipairs({ 'start', 'statement', 'done' }) do
        local ok, err = pcall(run, list, { on = function(event)
          if event.event == at then error('of the hook', 0) end
        end })
        assert.is_false(ok)
        assert.truthy(tostring(err):find('of the hook', 1, true), tostring(err))
        assert.equal(at == 'done' and 1 or 0, migrating.count(store, 'migrations'))
      end
      assert.same({ 'more' }, run(list).ran)
    end)

    it('does not count white space outside quotes', function()
      run({ TABLE })
      local other = '\n\nCREATE  TABLE IF NOT EXISTS test(id bigint PRIMARY KEY,value jsonb);\r\n'
        .. 'CREATE INDEX IF NOT EXISTS test_value_idx ON test USING gin(value jsonb_path_ops);'
      assert.same({ 'table' }, run({ { name = 'table', migration = other } }).skipped)
    end)

    it('reads an adopted ledger that lost its newlines', function()
      local text = "CREATE TABLE x (\n  a int, -- it's a\n  b text DEFAULT 'p\nq'\n);\n"
      migrating.adopt(store, 'dropped', (text:gsub('\n', '')), true)
      migrating.adopt(store, 'spaced', (text:gsub('\n', ' ')), true)
      migrating.adopt(store, 'blank', null, true)
      local result = run({ { name = 'dropped', migration = text },
        { name = 'spaced', migration = text }, { name = 'blank', migration = text } })
      assert.same({ 'dropped', 'spaced', 'blank' }, result.skipped)
      assert.is_false(migrating.exists(store, 'x'))
    end)

    it('raises for an edited text, with the difference, before anything runs', function()
      run({ TABLE })
      local edited = TABLE.migration:gsub('jsonb_path_ops', 'jsonb_ops')
      local err = raises('migration_changed', "'table' ran on ", run,
        { migrating.insert('first', 1), { name = 'table', migration = edited } })
      assert.truthy(err.message:find('line 2 of the file', 1, true), err.message)
      assert.truthy(err.message:find('file: .*gin %(value jsonb_ops%)'), err.message)
      assert.truthy(err.message:find('ledger: .*gin %(value jsonb_path_ops%)'), err.message)
      assert.equals('table', err.migration)
      assert.equals(0, migrating.count(store, 'test'))
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
      run({ TABLE, migrating.insert('one', 1) }, { on = function(event)
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
        { TABLE, broken, migrating.insert('never', 9) })
      assert.truthy(err.message:find('42P01', 1, true))
      assert.truthy(err.message:find('nowhere', 1, true))
      assert.equals('42P01', err.sqlstate)
      assert.equals('broken', err.migration)
      assert.equals(3, err.statement)
      assert.equals(4, err.line)
      assert.equals('none', err.outcome)
      assert.equals('42P01', err.cause.sqlstate)
      assert.same({ 'table' }, err.ran)
      assert.is_false(migrating.exists(store, 'half'))
      assert.equals(0, migrating.count(store, 'test'))
      assert.equals(1, migrating.count(store, 'migrations'))
      broken.migration = 'CREATE TABLE half (id int)'
      assert.same({ 'broken', 'never' }, run({ TABLE, broken, migrating.insert('never', 9) }).ran)
    end)

    it('of a deferred constraint is one of the COMMIT', function()
      local err = raises('migration_failed', "'late': SQLSTATE 23503", run, { { name = 'late',
        migration = [[CREATE TABLE a (id int PRIMARY KEY);
          CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
          INSERT INTO b VALUES (1)]] } })
      assert.is_nil(err.statement)
      assert.is_false(migrating.exists(store, 'a'))
      assert.equals(0, migrating.count(store, 'migrations'))
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

  describe('of type lua', function()
    it('run with the transaction and are undone with it', function()
      local list = { TABLE, { name = 'data', type = 'lua', migration = function(tx)
        for id = 1, 3 do tx:query("INSERT INTO test VALUES ($1, '{}')", { id }) end
      end } }
      assert.same({ 'table', 'data' }, run(list).ran)
      assert.same({ 'table', 'data' }, run(list).skipped)
      assert.equals(3, migrating.count(store, 'test'))
      list[3] = { name = 'bad', type = 'lua', migration = function(tx)
        tx:query("INSERT INTO test VALUES (4, '{}')")
        error('on purpose', 0)
      end }
      local err = raises('migration_failed', "'bad': on purpose", run, list)
      assert.equals('on purpose', err.cause)
      assert.equals(3, migrating.count(store, 'test'))
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
end)

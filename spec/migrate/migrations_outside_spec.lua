-- Migrations outside a transaction: statement by statement, each of which may be the last one.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local TABLE = migrating.TABLE
local raises = migrating.raises

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  describe('outside a transaction', function()
    local CONCURRENT = { name = 'index', migration = [[
      INSERT INTO test VALUES (100, '{}');
      CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS test_k ON test ((value->>'k'));
      INSERT INTO test VALUES (101, '{}');]] }

    it('CONCURRENTLY runs by itself', function()
      assert.same({ 'table', 'index' }, run({ TABLE, CONCURRENT }).ran)
      assert.is_true(migrating.exists(store, 'test_k'))
      assert.equals(2, migrating.count(store, 'test'))
      assert.equals(0, migrating.count(store, 'migrations_journal'))
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
      assert.equals(3, migrating.count(store, 'test'))
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
      assert.is_false(migrating.exists(store, 'cut2'))
      cut()
      assert.same({ 'cut' }, run({ entry }, { unfinished = 'again' }).ran)
      assert.is_true(migrating.exists(store, 'cut2'))
    end)

    it('takes a concurrent build that was cut short after its end for done', function()
      run({ TABLE, CONCURRENT })
      store:query('UPDATE migrations SET ran = false')
      store:query('INSERT INTO migrations_journal (name, statement, text, done_on) VALUES'
        .. " ('index', 1, $1, now()), ('index', 2, '', NULL)",
        { "INSERT INTO test VALUES (100, '{}')" })
      store:query('DELETE FROM test WHERE id = 101')
      assert.same({ 'index' }, run({ CONCURRENT }).ran)
      assert.equals(2, migrating.count(store, 'test'))
    end)
  end)
end)

-- Looks at a ledger, which run nothing: plan, status, verify, baseline; and the ledgers of shards.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local script = require('stores.migrate.script')
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

  describe('a look', function()
    local LIST = { TABLE, migrating.insert('one', 1) }

    it('writes nothing at all', function()
      local result = run(LIST, { dry_run = true })
      assert.same({ 'table', 'one' }, result.pending)
      assert.same({}, result.ran)
      migrations.plan(LIST, store)
      migrations.status(LIST, store)
      migrations.verify(LIST, store)
      assert.is_false(migrating.exists(store, 'migrations'))
      assert.is_false(migrating.exists(store, 'test'))
      raises('invalid_argument', 'has no place', run, { { name = 'x', migration = 'COMMIT' } },
        { dry_run = true })
    end)

    it('says how each stands, and what the file does not know', function()
      run(LIST)
      local edited = { name = 'one', migration = 'SELECT 1' }
      local list = { TABLE, edited, migrating.insert('new', 2) }
      migrating.adopt(store, 'stranger', 'SELECT 2', true)
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
      local list = { TABLE, migrating.insert('one', 1), migrating.insert('two', 2) }
      raises('invalid_argument', 'upto names no migration', migrations.baseline, list, store,
        { upto = 'three' })
      assert.same({ 'table', 'one' }, migrations.baseline(list, store, { upto = 'one' }).ran)
      assert.is_false(migrating.exists(store, 'test'))
      store:query('CREATE TABLE test (id bigint PRIMARY KEY, value jsonb)')
      assert.same({ 'two' }, run(list).ran)
    end)

    it('takes the new text of an edited one where it is told to', function()
      run({ TABLE, migrating.insert('one', 1) })
      local list = { TABLE, migrating.insert('one', 2) }
      raises('migration_changed', "'one'", migrations.baseline, list, store)
      assert.same({ 'one' }, migrations.baseline(list, store, { accept = true }).ran)
      assert.same({}, run(list).ran)
      assert.equals(1, migrating.count(store, 'test'))
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
end)

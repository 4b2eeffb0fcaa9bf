-- The lock of a ledger, between runners of one process: one runs, the other finds the work done.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local Ledger = require('stores.migrate.ledger')
local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local TABLE = migrating.TABLE
local raised = migrating.raised

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  describe('runners', function()
    it('exclude each other; the loser waits and finds the work done', function()
      local other = stores.Store.new(db, nil, { cache = false })
      local calls, waited, results = 0, 0, {}
      local list = { { name = 'slow', type = 'lua', migration = function(tx)
        calls = calls + 1
        tx:query('CREATE TABLE once (id int)')
        support.eventually(function() return waited > 0 end, 20, 'the other one to wait')
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
        support.eventually(function()
          return #tx:query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
            .. ' (SELECT oid FROM pg_database WHERE datname = current_database())') == 0
        end)
      end }, TABLE }
      local err = raised(run, list)
      assert.same({ 'kill' }, err.ran)
      assert.is_false(migrating.exists(store, 'test'))
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
      run({ { name = 'watch', type = 'lua', migration = function(tx)
        support.eventually(function() -- a session is reset once its COMMIT is answered
          tx:query('SELECT pg_stat_clear_snapshot()') -- a transaction sees one for all its time
          return tx:query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname ="
            .. ' current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()'
            .. " AND backend_type = 'client backend'")[1].n == 0
        end)
      end } })
    end)
  end)
end)

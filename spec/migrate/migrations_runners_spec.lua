-- Runners of migrations that are killed, lose their lock, or meet each other: nothing runs twice,
-- and who stands in the way is named.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local runners = require('spec.support.runners')
local stores = require('stores')
local support = require('spec.support')

describe('runners of migrations', function()
  local db, store, others

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
    others = {}
    store:query('CREATE TABLE log (n serial, what text, pid int DEFAULT pg_backend_pid())')
  end)

  after_each(function()
    for _, one in ipairs(others) do one:kill() end
    support.close(store, db)
  end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  local function start(list_source, opts_source)
    local one = runners.start(db, list_source, opts_source)
    others[#others + 1] = one
    return one
  end

  local function logged()
    local rows = store:query('SELECT what FROM log ORDER BY n')
    local words = {}
    for index, row in ipairs(rows) do words[index] = row.what end
    return table.concat(words, ' ')
  end

  local function wait_for(sql, params)
    support.eventually(function() return #store:query(sql, params) > 0 end, 30, sql)
  end

  -- The session that holds the lock is ended, as by a limit of the server or by a firewall.
  local function end_lock(all)
    support.eventually(function()
      local at_work = not all
      for _, one in ipairs(all or {}) do at_work = at_work or not one:is_over() end
      return not at_work or #store:query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND "
        .. 'granted AND database = (SELECT oid FROM pg_database WHERE datname ='
        .. ' current_database())') > 0
    end, 30, 'a lock')
    store:query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
      .. ' AND granted AND database ='
      .. ' (SELECT oid FROM pg_database WHERE datname = current_database())')
  end

  local ASLEEP = 'SELECT FROM pg_stat_activity WHERE datname = current_database()'
    .. " AND state = 'active' AND wait_event = 'PgSleep'"

  it('keep their lock though the server ends sessions that say nothing', function()
    store:query(('ALTER DATABASE %s SET idle_session_timeout = 300'):format(db.database))
    local list = { { name = 'slow', migration = 'CREATE TABLE slow (a int); SELECT pg_sleep(1)' },
                   { name = 'parts', transaction = false,
                     migration = 'SELECT pg_sleep(1); CREATE TABLE parts (a int)' } }
    assert.same({ 'slow', 'parts' }, migrations.runMigrations(list, db).ran)
  end)

  it('run no statement twice though the lock was lost, inside a transaction and outside', function()
    for _, outside in ipairs({ 'false', 'nil' }) do
      store:query('TRUNCATE log')
      store:query('DROP TABLE IF EXISTS migrations, migrations_journal')
      local source = ([[{ { name = 'm', transaction = %s, migration = "INSERT INTO log (what)"
        .. " VALUES ('one'); INSERT INTO log (what) SELECT 'two' FROM pg_sleep(2);"
        .. " INSERT INTO log (what) VALUES ('three')" } }]]):format(outside)
      local first = start(source)
      wait_for(ASLEEP)
      local second = start(source)
      end_lock()
      local said = second:wait()
      assert.matches('^ran %d, skipped %d\n$', said)
      first:wait()
      assert.equal('one two three', logged())
      assert.same({ 'm' }, run(runners.list(source)).skipped)
    end
  end)

  it('follow each other through the statements of a migration, each of them once', function()
    local parts = {}
    for n = 1, 12 do
      parts[n] = ("INSERT INTO log (what) SELECT '%d' FROM pg_sleep(0.15)"):format(n)
    end
    local source = ("{ { name = 'm', transaction = false, migration = %q } }"):format(
      table.concat(parts, ';'))
    local all = { start(source), start(source), start(source) }
    wait_for(ASLEEP)
    for _ = 1, 3 do
      end_lock(all) -- a busy machine may leave them no time to lose one more
      stores.sleep(0.3)
    end
    for _, one in ipairs(all) do one:wait() end
    run(runners.list(source))
    assert.equal('1 2 3 4 5 6 7 8 9 10 11 12', logged())
  end)

  it('begin nothing again that another one has finished meanwhile', function()
    local Ledger = require('stores.migrate.ledger')
    local step = { name = 'm', text = 'SELECT 1', statements = { { text = 'SELECT 1' } } }
    run({ { name = 'm', transaction = false, migration = 'SELECT 1' } })
    local ledger = Ledger.find(store)
    -- one that was asleep since before that
    assert.is_false(store:in_transaction(function(tx) return ledger:begin(tx, step, '') end))
    assert.is_false(store:in_transaction(function(tx) return ledger:mark(tx, step, 1, true) end))
    assert.is_false(ledger:look(store, step, 1))
    -- and one whose text looks different, but is the same
    assert.is_false(store:in_transaction(function(tx)
      return ledger:claim(tx, { name = 'm', text = 'SELECT  1' }, '')
    end))
  end)

  it('claim a statement for one connection', function()
    local Ledger = require('stores.migrate.ledger')
    local step = { name = 'm', text = 'SELECT 1', statements = { { text = 'SELECT 1' } } }
    local ledger = Ledger.find(store)
    ledger:create(store)
    ledger:create_journal(store)
    store:in_transaction(function(tx) assert.is_true(ledger:begin(tx, step, '')) end)
    store:session(function(session)
      assert.is_true(ledger:mark(session, step, 1, false))
      local _, mark = ledger:look(store, step, 1)
      assert.is_true(mark.alive)
      assert.is_false(mark.done)
      store:in_transaction(function(tx) assert.is_false(ledger:mark(tx, step, 1, true)) end)
      store:in_transaction(function(tx)
        assert.is_false(ledger:mark(tx, step, 1, true, 'somebody else'))
      end)
    end)
    support.eventually(function() return not select(2, ledger:look(store, step, 1)).alive end, 30)
    local _, mark = ledger:look(store, step, 1)
    store:in_transaction(function(tx)
      assert.is_true(ledger:mark(tx, step, 1, true, mark.runner))
    end)
  end)

  it('get by what a killed one left behind', function()
    local source = [[{ { name = 'long', migration = "INSERT INTO log (what) VALUES ('x');"
      .. " SELECT pg_sleep(90)" } }]]
    local first = start(source)
    wait_for(ASLEEP)
    first:kill()
    local list = { { name = 'long', migration = "INSERT INTO log (what) VALUES ('x')" } }
    assert.same({ 'long' }, run(list).ran)
    assert.equal('x', logged())
  end)

  it('ask what became of a statement outside a transaction whose runner was killed', function()
    local source = [[{ { name = 'long', transaction = false, invalidates = {},
      migration = "DO $$ BEGIN PERFORM pg_sleep(90); END $$" } }]]
    local first = start(source)
    wait_for(ASLEEP)
    first:kill()
    local list = runners.list(source)
    list[1].migration = list[1].migration:gsub('90', '0')
    local err = support.refused('migration_failed', 'nothing says how it ended', run, list)
    assert.equal(1, err.statement)
    assert.same({ 'long' }, run(list, { unfinished = 'again' }).ran)
  end)

  it('name the process that still works, by its application_name', function()
    -- A server that does not look after its clients would leave such a session.
    local list = { { name = 'm', migration = "INSERT INTO log (what) VALUES ('x')" } }
    local name
    run({ { name = 'look', type = 'lua', migration = function(tx)
      name = tx:query("SELECT current_setting('application_name') AS name")[1].name
    end } })
    assert.matches('^stores migration %x+ %x+$', name)
    local rows = store:query('SELECT left(md5($1), 12) AS hash', { 'm' })
    local its = name:match('^(.* )%x+$') .. rows[1].hash
    store:session(function(session)
      session:query('SELECT set_config($1, $2, false)', { 'application_name', its })
      local pid = session:query('SELECT pg_backend_pid() AS pid')[1].pid
      local waiting
      local err = support.refused('migration_failed', 'another runner still works on it: process '
        .. pid, run, list, { lock_timeout = 0.2, lock_tries = 2, on = function(event)
          if event.event == 'waiting' then waiting = event.holder end
        end })
      assert.equal(pid, err.process)
      assert.equal('m', err.migration)
      assert.truthy(err.hint:find('pg_terminate_backend(' .. pid .. ')', 1, true))
      assert.truthy(waiting:find('process ' .. pid, 1, true))
      -- one that works on another migration, and whose lock is met
      session:query('SELECT set_config($1, $2, false)',
        { 'application_name', name:match('^(.* )%x+$') .. 'abcdef012345' })
      session:query('BEGIN')
      session:query('LOCK TABLE log')
      err = support.refused('migration_failed', 'still works: process ' .. pid, run, list,
        { lock_timeout = 0.2, lock_tries = 1 })
      assert.equal('55P03', err.sqlstate)
      session:query('ROLLBACK')
    end)
    assert.same({ 'm' }, run(list).ran)
  end)

  it('take the lock again that a statement gave away', function()
    local list = { { name = 'm', transaction = false, invalidates = {}, migration = [[
      DO $$ BEGIN PERFORM pg_advisory_unlock_all(); END $$;
      INSERT INTO log (what) VALUES ('x')]] } }
    assert.same({ 'm' }, run(list).ran)
    assert.equal('x', logged())
  end)

  describe('that call a procedure', function()
    local function blocked(body, opts)
      store:query('CREATE TABLE IF NOT EXISTS held (a int)')
      store:query('CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN ' .. body
        .. ' END $$')
      local list = { { name = 'call', transaction = false, invalidates = {},
                       migration = 'CALL p()' } }
      local tries = 0
      opts = opts or {}
      opts.lock_timeout, opts.lock_tries = 0.1, 3
      opts.on = function(event) if event.event == 'retry' then tries = tries + 1 end end
      local ok, err
      store:in_transaction(function(tx)
        tx:query('LOCK TABLE held')
        ok, err = pcall(run, list, opts)
      end)
      return ok, err, tries, list
    end

    it('do not call it again where it has committed, and say so', function()
      local ok, err, tries, list = blocked("INSERT INTO log (what) VALUES ('once'); COMMIT;"
        .. ' INSERT INTO held VALUES (1);')
      assert.is_false(ok)
      assert.equal('once', logged())
      assert.equal(0, tries)
      assert.equal('55P03', err.sqlstate)
      assert.equal('unknown', err.outcome)
      assert.matches('not repeated', err.message)
      assert.matches("unfinished = 'done'", err.hint)
      -- nor does the next run, before it is told what to do
      support.refused('migration_failed', 'nothing says how it ended', run, list)
      assert.equal('once', logged())
      assert.same({ 'call' }, run(list, { unfinished = 'done' }).ran)
      assert.equal('once', logged())
    end)

    it('call it again where it met a lock before it did anything', function()
      local ok, err, tries, list = blocked("INSERT INTO held VALUES (1); COMMIT;"
        .. " INSERT INTO log (what) VALUES ('late');")
      assert.is_false(ok)
      assert.equal(2, tries)
      assert.equal('none', err.outcome)
      assert.same({ 'call' }, run(list).ran)
      assert.equal('late', logged())
    end)

    it('are told where invalidates names no table', function()
      store:query('CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$')
      local entry = { name = 'call', transaction = false, invalidates = { 'lgo' },
                      migration = 'CREATE TABLE made (a int); CALL p()' }
      local err = support.refused('migration_failed', "names no table: 'lgo'", run, { entry })
      assert.equal(2, err.statement)
      entry.invalidates = { 'log', 'made' }
      assert.same({ 'call' }, run({ entry }).ran)
      err = support.refused('migration_failed', '2D000', run,
        { { name = 'inside', migration = 'CALL p()' } })
      assert.matches('transaction = false', err.hint)
    end)

    it('tell the cache of what it committed before it failed', function()
      local cached = stores.Store.new(db, support.redis())
      cached:query('CREATE TABLE parts (id bigint PRIMARY KEY, value jsonb)')
      cached:insert('parts', { id = '1', n = 1 })
      support.eventually(function()
        local hits = cached:stats().hits
        cached:find('parts', '1')
        return cached:stats().hits > hits
      end)
      store:query([[CREATE PROCEDURE q() LANGUAGE plpgsql AS $$ BEGIN
        UPDATE parts SET value = '{"n": 2}'; COMMIT; PERFORM 1/0; END $$]])
      support.refused('migration_failed', 'not repeated', cached.migrate, cached,
        { { name = 'q', transaction = false, invalidates = { 'parts' }, migration = 'CALL q()' } })
      assert.equal(2, cached:find('parts', '1').n)
      cached:close()
    end)
  end)
end)

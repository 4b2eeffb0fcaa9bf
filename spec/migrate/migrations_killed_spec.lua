-- Runners that are killed in each kind of migration, what stays of them on the server, and many
-- that begin at once.
-- Plain pass alone: the runners are processes of their own.

local migrations = require('migrations')
local runners = require('spec.support.runners')
local stores = require('stores')
local support = require('spec.support')

describe('a runner', function()
  local db, store, others

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
    others = {}
    store:query([[CREATE TABLE log (n serial, what text); CREATE TABLE gate (n int);
      INSERT INTO gate VALUES (1); CREATE TABLE parts (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO parts SELECT n, jsonb_build_object('id', n::text, 'n', n)
      FROM generate_series(1, 30) AS n;
      CREATE FUNCTION passes() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RETURN EXISTS (SELECT FROM gate); END $$]])
  end)

  after_each(function()
    for _, one in ipairs(others) do one:kill() end
    support.close(store, db)
  end)

  local function start(list_source, opts_source)
    local one = runners.start(db, list_source, opts_source)
    others[#others + 1] = one
    return one
  end

  local function logged()
    return store:query("SELECT coalesce(string_agg(what, ' ' ORDER BY n), '') AS words FROM log")[1]
      .words
  end

  -- Calls fn while a table is locked, which nobody gets past.
  local function behind(statement, fn)
    store:session(function(session)
      session:query('BEGIN')
      session:query(statement)
      fn()
      session:query('ROLLBACK')
    end)
  end

  local WAITING = 'SELECT FROM pg_stat_activity WHERE datname = current_database() AND'
    .. " application_name LIKE 'stores migration %' AND wait_event_type = 'Lock'"

  local function wait_for(sql)
    support.eventually(function() return #store:query(sql) > 0 end, 30, sql)
  end

  -- Kills a runner of the list in the middle, and gives what the next run did.
  local function killed(source, opts, statement)
    behind(statement or 'LOCK TABLE gate', function()
      local one = start(source, '{ finish = true, lock_timeout = 0, redis = false }')
      wait_for(WAITING)
      one:kill()
    end)
    opts = opts or {}
    opts.finish, opts.redis = true, false
    return migrations.runMigrations(runners.list(source), db, opts)
  end

  local SQL = [==[ [[INSERT INTO log (what) VALUES ('one'); INSERT INTO log (what) SELECT 'two'
    FROM gate; INSERT INTO log (what) VALUES ('three')]] ]==]

  describe('that was killed leaves nothing half done', function()
    it('of a migration in a transaction', function()
      assert.same({ 'm' }, killed(("{ { name = 'm', migration = %s } }"):format(SQL)).ran)
      assert.equal('one two three', logged())
    end)

    it('of one in Lua', function()
      assert.same({ 'm' }, killed(([[{ { name = 'm', type = 'lua', migration = function(tx)
        tx:query(%s) end } }]]):format(SQL)).ran)
      assert.equal('one two three', logged())
    end)

    it('of one outside of a transaction', function()
      assert.same({ 'm' }, killed(("{ { name = 'm', transaction = false, migration = %s } }")
        :format(SQL)).ran)
      assert.equal('one two three', logged())
    end)

    it('of a contract', function()
      assert.same({ 'm' }, killed(("{ { name = 'm', phase = 'contract', migration = %s } }"):format(
        SQL)).ran)
      assert.equal('one two three', logged())
    end)

    it('of a checkpoint', function()
      local result = killed(([[{ { name = 'before', migration = 'SELECT 1/0' },
        { name = 'm', type = 'checkpoint', migration = %s } }]]):format(SQL))
      assert.same({ 'm' }, result.ran)
      assert.same({ 'before' }, result.covered)
      assert.equal('one two three', logged())
    end)

    it('of an index that is built concurrently', function()
      local source = [[{ { name = 'm', rebuild = true, migration =
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS parts_n ON parts (id)' } }]]
      assert.same({ 'm' }, killed(source, nil, 'LOCK TABLE parts IN ROW EXCLUSIVE MODE').ran)
      assert.equal(1, #store:query("SELECT FROM pg_index WHERE indexrelid = 'parts_n'::regclass"
        .. ' AND indisvalid'))
    end)

    it('of a backfill with a function', function()
      local result = killed([[{ { name = 'm', type = 'backfill', table = 'parts', batch = 10,
        pause = 0, fn = function(document, tx)
          document.seen = (document.seen or 0) + 1
          if document.n == 17 then tx:query('SELECT FROM gate') end
        end } }]])
      assert.same({ 'm' }, result.ran)
      assert.equal(30, store:count('parts', { seen = 1 }))
    end)

    it('of a backfill in SQL, which goes on behind its last batch', function()
      local rows
      local result = killed([==[{ { name = 'm', type = 'backfill', batch = 10, pause = 0,
        migration = [[UPDATE parts SET value = value
            || jsonb_build_object('seen', coalesce((value->>'seen')::int, 0) + 1)
          WHERE id IN (SELECT id FROM parts WHERE id > $after ORDER BY id LIMIT $limit)
            AND (id <> 17 OR passes()) RETURNING id]] } }]==],
        { on = function(event) rows = rows or event.rows end })
      assert.same({ 'm' }, result.ran)
      assert.equal(20, rows)
      assert.equal(30, store:count('parts', { seen = 1 }))
    end)
  end)

  it('is one of ten that begin at once', function()
    local source = ([[{ { name = 'a', migration = %s },
      { name = 'b', transaction = false, migration = "INSERT INTO log (what) VALUES ('four')" },
      { name = 'c', type = 'backfill', table = 'parts', batch = 7, fn = function(document)
          document.seen = (document.seen or 0) + 1 end },
      { name = 'd', migration = 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON parts (id)' } }]])
      :format(SQL)
    local all, ran = {}, {}
    for n = 1, 10 do all[n] = start(source, '{ redis = false, lock_wait = 100 }') end
    for n = 1, 10 do
      local said = all[n]:wait()
      local count = said:match('^ran (%d), skipped %d\n$')
      assert.is_truthy(count, said)
      ran[count] = (ran[count] or 0) + 1
    end
    assert.same({ ['4'] = 1, ['0'] = 9 }, ran)
    assert.equal('one two three four', logged())
    assert.equal(30, store:count('parts', { seen = 1 }))
  end)

  it('is one of ten that begin at once on a new database with a checkpoint', function()
    local source = ([[{ { name = 'old', migration = 'SELECT 1/0' },
      { name = 'now', type = 'checkpoint', migration = %s },
      { name = 'no gate', phase = 'contract', migration = 'DROP TABLE gate' } }]]):format(SQL)
    local all, ran = {}, 0
    for n = 1, 10 do all[n] = start(source, '{ redis = false, lock_wait = 100, finish = true }') end
    for n = 1, 10 do
      local said = all[n]:wait()
      local count = said:match('^ran (%d), skipped %d\n$')
      assert.is_truthy(count, said)
      ran = ran + tonumber(count)
    end
    assert.equal(2, ran)
    assert.equal('one two three', logged())
  end)

  describe('that takes over', function()
    -- A session that works on a migration, as a server would keep it that does not hear of its
    -- client's end.
    local function left_behind(session, name)
      local app
      migrations.runMigrations({ { name = 'look', type = 'lua', migration = function(tx)
        app = tx:query("SELECT current_setting('application_name') AS name")[1].name
      end } }, store)
      local hash = store:query('SELECT left(md5($1), 12) AS hash', { name })[1].hash
      session:query('SELECT set_config($1, $2, false)',
        { 'application_name', app:match('^(.* )%x+$') .. hash })
      return session:query('SELECT pg_backend_pid() AS pid')[1].pid
    end

    it('ends the statement that another one left, and says so', function()
      local list = { { name = 'm', migration = "INSERT INTO log (what) VALUES ('x')" } }
      local holder
      pcall(store.session, store, function(session)
        local pid = left_behind(session, 'm')
        local result = migrations.runMigrations(list, store, { takeover = true,
          on = function(event) if event.event == 'takeover' then holder = event.holder end end })
        assert.same({ 'm' }, result.ran)
        assert.truthy(holder:find('process ' .. pid, 1, true), holder)
        assert.is_false((pcall(session.query, session, 'SELECT 1')))
      end)
      assert.truthy(holder)
      assert.equal('x', logged())
    end)

    it('ends an index build that was left, and builds it anew', function()
      local source = [[{ { name = 'm', rebuild = true, migration =
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS parts_n ON parts (id)' } }]]
      store:session(function(session)
        session:query('BEGIN')
        session:query('LOCK TABLE parts IN ROW EXCLUSIVE MODE')
        local one = start(source)
        wait_for(WAITING)
        one:kill()
        local ended
        -- it is the session that holds the lock, too
        local result = migrations.runMigrations(runners.list(source), store, { takeover = true,
          lock_wait = 0.2, on = function(event)
            if event.event ~= 'takeover' then return end
            ended = event.holder
            session:query('ROLLBACK')
          end })
        assert.same({ 'm' }, result.ran)
        assert.matches("process %d+ 'stores migration", ended)
      end)
      assert.equal(1, #store:query("SELECT FROM pg_index WHERE indexrelid = 'parts_n'::regclass"
        .. ' AND indisvalid'))
    end)

    it('says what is in its way where it may not end it', function()
      local role = 'weak_' .. db.database
      store:query(('CREATE ROLE %s LOGIN; GRANT ALL ON SCHEMA public TO %s;'
        .. ' GRANT ALL ON ALL TABLES IN SCHEMA public TO %s; GRANT ALL ON SEQUENCE log_n_seq TO %s')
        :format(role, role, role, role))
      local own = {}
      for key, value in pairs(db) do own[key] = value end
      own.user = role
      store:session(function(session)
        local pid = left_behind(session, 'm')
        store:query(('GRANT ALL ON migrations TO %s'):format(role))
        local err = support.refused('migration_failed', 'cannot be ended', migrations.runMigrations,
          { { name = 'm', migration = 'SELECT 1' } }, own, { takeover = true })
        assert.equal('42501', err.sqlstate)
        assert.equal(pid, err.process)
      end)
      store:query(('DROP OWNED BY %s; DROP ROLE %s'):format(role, role))
    end)

    it('ends who holds the lock longer than it waits for it', function()
      local source, first = ("{ { name = 'm', migration = %s } }"):format(SQL), nil
      local list = runners.list(source)
      behind('LOCK TABLE gate', function()
        first = start(source, '{ lock_timeout = 0 }')
        wait_for(WAITING)
        first:signal('STOP')
        support.refused('lock_timeout', 'another runner', migrations.runMigrations, list, store,
          { lock_wait = 0.1 })
      end)
      local holder
      local result = migrations.runMigrations(list, store, { lock_wait = 0.1, takeover = true,
        on = function(event) if event.event == 'takeover' then holder = event.holder end end })
      assert.same({ 'm' }, result.ran)
      assert.matches('process %d+', holder)
      first:signal('CONT')
      assert.matches('^migration_failed', first:wait())
      assert.equal('one two three', logged())
    end)
  end)
end)

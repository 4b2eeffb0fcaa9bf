-- What a text of somebody leaves in its session (settings, a role, temporary tables, locks,
-- prepared statements ..) is gone before anybody else has the connection. Verbs alone pay nothing
-- for that.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')
local wait = require('stores.wait')

-- Each state: the text that makes it, and a query that shows it. `call`: the same by a function.
local function setting(name, value)
  return { name = name, text = ("SET %s = '%s'"):format(name, value),
    call = ("set_config('%s', '%s', false)"):format(name, value),
    -- one that PostgreSQL does not know is empty once it was set
    shown = ("SELECT coalesce(current_setting('%s', true), '') AS shown"):format(name) }
end

local STATES = {
  setting('search_path', 'b'),
  setting('client_encoding', 'LATIN1'),
  setting('statement_timeout', '1h'),
  setting('session_replication_role', 'replica'),
  setting('DateStyle', 'German'),
  setting('TimeZone', 'Asia/Tokyo'),
  setting('bytea_output', 'escape'),
  setting('quote_all_identifiers', 'on'),
  setting('default_transaction_isolation', 'repeatable read'),
  setting('default_transaction_read_only', 'on'),
  setting('idle_in_transaction_session_timeout', '0'),
  setting('my.tenant', 'somebody'),
  { name = "a function with the name of one of PostgreSQL's", text = "SELECT b.lower('x')",
    call = "b.lower('x')",
    shown = "SELECT coalesce(current_setting('my.name', true), '') AS shown" },
  { name = 'RESET ALL', text = 'SET statement_timeout = 7000; RESET ALL',
    shown = "SELECT current_setting('statement_timeout') AS shown" },
  { name = 'ROLE', text = 'SET ROLE session_state_weak', shown = 'SELECT current_user AS shown' },
  { name = 'SESSION AUTHORIZATION', text = 'SET SESSION AUTHORIZATION session_state_weak',
    shown = 'SELECT session_user AS shown' },
  { name = 'a temporary table',
    text = 'CREATE TEMP TABLE docs (id bigint PRIMARY KEY, value jsonb)',
    shown = "SELECT to_regclass('docs')::text AS shown" },
  { name = 'SELECT INTO TEMP', text = 'SELECT 1 AS a INTO TEMP docs', top = true,
    shown = "SELECT to_regclass('docs')::text AS shown" },
  { name = 'an advisory lock', text = 'SELECT pg_advisory_lock(4711)',
    call = 'pg_advisory_lock(4711)::text', stays_on_rollback = true,
    shown = "SELECT count(*) AS shown FROM pg_locks WHERE locktype = 'advisory'"
      .. ' AND pid = pg_backend_pid()' },
  { name = 'LISTEN', text = 'LISTEN gossip',
    shown = 'SELECT count(*) AS shown FROM pg_listening_channels()' },
  { name = 'PREPARE', text = 'PREPARE mine AS SELECT 1', stays_on_rollback = true,
    shown = 'SELECT count(*) AS shown FROM pg_prepared_statements WHERE from_sql' },
  { name = 'DEALLOCATE ALL', text = 'DEALLOCATE ALL',
    shown = 'SELECT count(*) AS shown FROM pg_prepared_statements WHERE from_sql' },
  { name = 'a cursor WITH HOLD', text = 'DECLARE mine CURSOR WITH HOLD FOR SELECT 1', top = true,
    shown = 'SELECT count(*) AS shown FROM pg_cursors' },
  { name = 'the last value of a sequence', text = "SELECT nextval('numbers')",
    shown = 'SELECT 1 AS shown',
    check = function(store)
      local ok, err = pcall(store.query, store, 'SELECT lastval()')
      assert.is_false(ok)
      assert.equal('55000', err.sqlstate)
    end },
}

local function in_a_function(text)
  return "DO $outer$ BEGIN EXECUTE $inner$" .. text .. "$inner$; END $outer$"
end

-- The ways by which a text comes to a connection.
local WAYS = {
  { name = 'a query', run = function(store, state) store:query(state.text) end },
  { name = 'a query outside a transaction', run = function(store, state)
    store:query(state.text, nil, { transaction = false, invalidates = {} })
  end },
  { name = 'a query that says it only reads', run = function(store, state)
    pcall(store.query, store, state.text, nil, { readonly = true }) -- some are refused
  end },
  { name = 'a transaction', run = function(store, state)
    store:transaction(function(tx) tx:query(state.text) end)
  end },
  { name = 'a transaction that is rolled back', run = function(store, state)
    pcall(store.transaction, store, function(tx)
      tx:query(state.text)
      error('undone')
    end)
  end },
  { name = 'a function that a query calls', run = function(store, state)
    if not state.top then store:query(in_a_function(state.text)) end
  end },
  { name = 'a migration', run = function(store, state)
    if state.top then return end
    store:migrate({ { name = state.name, migration = in_a_function(state.text) } })
  end },
  { name = 'a select of the C API', run = function(store, state)
    if not state.call then return end
    wait.slot(store.hub, store.engine:select('docs',
      'SELECT id, ' .. state.call .. ' FROM %T', {}, 10, false, true))
  end },
  { name = 'a change of the C API', run = function(store, state)
    if not state.call then return end
    wait.slot(store.hub, store.engine:write('modify', 'docs', '2', nil, 10, nil, false,
      "jsonb_build_object('id', '2', 'x', " .. state.call .. ')', {}))
  end },
  { name = 'a trigger', run = function(store, state)
    if not state.call then return end
    store:query(('CREATE OR REPLACE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS'
      .. ' $$ BEGIN PERFORM %s; RETURN NEW; END $$'):format(state.call))
    store:insert('watched', {})
  end },
}

describe('The state of a session', function()
  local db

  setup(function()
    local store
    store, db = support.store({ 'docs', 'watched' })
    store:query([[
      CREATE SCHEMA b; CREATE TABLE b.docs (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION b.lower(text) RETURNS text LANGUAGE sql
        AS $$ SELECT set_config('my.name', $1, false) $$;
      CREATE SEQUENCE numbers;
      CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
      CREATE TRIGGER leaves BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION leave();
      INSERT INTO docs VALUES (1, '{"of": "public"}'), (2, '{}');
      INSERT INTO b.docs VALUES (1, '{"of": "b"}');
      DO $$ BEGIN CREATE ROLE session_state_weak; EXCEPTION WHEN duplicate_object THEN END $$;
      GRANT ALL ON ALL TABLES IN SCHEMA public TO session_state_weak;
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO session_state_weak]])
    support.close(store)
  end)

  teardown(function()
    support.psql(db, 'DROP OWNED BY session_state_weak; DROP ROLE session_state_weak')
    support.drop(db)
  end)

  local function open(fields, with_redis)
    local config = { poolsize = 1 }
    for key, value in pairs(db) do config[key] = value end
    for key, value in pairs(fields or {}) do config[key] = value end
    return stores.Store.new(config, with_redis and support.redis() or nil)
  end

  for _, with_redis in ipairs({ false, true }) do
    for _, way in ipairs(WAYS) do
      it(('is gone after %s%s'):format(way.name, with_redis and ', with Redis' or ''), function()
        -- the migrations need a connection for their lock
        local store = open({ poolsize = way.name == 'a migration' and 3 or 1 }, with_redis)
        for _, state in ipairs(STATES) do
          local before = store:query(state.shown)[1].shown
          way.run(store, state)
          local now = store:query(state.shown)[1].shown
          assert.equal(before, now, state.name .. ' by ' .. way.name)
          if state.check then state.check(store) end
          assert.equal('public', store:find('docs', '1', { cache = false }).of)
          store:update('docs', { id = '1', of = 'public', name = 'é' })
          assert.equal('é', store:find('docs', '1', { cache = false }).name)
        end
        support.close(store)
      end)
    end
  end

  it('of verbs alone is never reset', function()
    local store = open(nil, true)
    store:insert('docs', { id = '100' })
    store:find('docs', '1')
    store:findByJSON('docs', { of = 'public' }, { order = { 'of' }, limit = 3 })
    store:findByPath('docs', '$.of ? (@ starts with "p")')
    store:findByJsonArrayContains('docs', 'tags', 'a')
    store:count('docs')
    store:findAll('docs', { limit = 2 })
    for doc in store:each('docs') do assert.is_table(doc) end
    store:patch('docs', '100', { set = { a = 1 }, inc = { { { 'b', 'c' }, 2 } },
      append = { d = 1 }, remove = { 'e' }, merge = { f = { g = 1 } } })
    store:updateProperty('docs', '100', { 'h', 'i' }, true)
    store:updateObject('docs', '100', function(doc) doc.j = 1 end)
    store:transaction(function(tx)
      tx:update('docs', { id = '100' })
      tx:findByJSON('docs', { of = 'public' })
    end)
    store:delete('docs', '100')
    store:query('SELECT lower($1::text) AS a, count(*) AS n FROM docs', { 'A' })
    assert.equal(0, store:stats().pg_resets)
    store:query('SET TimeZone = 8')
    store:find('docs', '1')
    assert.equal(1, store:stats().pg_resets)
    assert.equal(1, store:stats().pg_connects)
    support.close(store)
  end)

  it('keeps the prepared statements of the verbs', function()
    local store = open()
    for _ = 1, 3 do
      store:find('docs', '1', { cache = false })
      store:query('SET TimeZone = 8')
    end
    local before = store:stats().pg_prepares
    for _ = 1, 3 do
      store:find('docs', '1', { cache = false })
      store:query("SET search_path = b")
    end
    assert.equal(before, store:stats().pg_prepares)
    support.close(store)
  end)

  it('is set up by on_connect again', function()
    local store = open({ on_connect = "SET my.tenant = 'ours'; CREATE TEMP TABLE mine (n int);"
      .. 'PREPARE own AS SELECT 7 AS n' })
    for _ = 1, 3 do
      store:query("SET my.tenant = 'theirs'; INSERT INTO mine VALUES (1); DEALLOCATE own")
      assert.equal('ours', store:query("SELECT current_setting('my.tenant') AS t")[1].t)
      assert.equal(0, store:query('SELECT count(*) AS n FROM mine')[1].n)
      assert.equal(7, store:query('EXECUTE own')[1].n)
    end
    assert.equal(1, store:stats().pg_connects)
    support.close(store)
  end)

  it('that cannot be reset goes with its connection', function()
    support.psql(db, 'REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC;'
      .. ' ALTER ROLE session_state_weak LOGIN')
    local store = open({ user = 'session_state_weak' })
    for _ = 1, 3 do
      store:query("SELECT set_config('my.tenant', 'somebody', false), pg_advisory_lock(4712)")
      assert.equal('',
        store:query("SELECT coalesce(current_setting('my.tenant', true), '') AS t")[1].t)
    end
    support.psql(db, 'GRANT EXECUTE ON FUNCTION pg_advisory_unlock_all() TO PUBLIC')
    assert.is_true(store:stats().pg_connects > 1)
    support.close(store)
  end)

  it('goes with a failure of what only reads, and the connection does not', function()
    local store = open()
    local function fails(sqlstate, sql)
      local ok, err = pcall(store.query, store, sql, nil, { readonly = true })
      assert.is_false(ok)
      assert.equal(sqlstate, err.sqlstate)
    end
    for _ = 1, 3 do
      fails('25006', 'INSERT INTO docs (id) VALUES (200)')
      fails('22012', "SELECT set_config('my.tenant', 'somebody', false),"
        .. ' pg_advisory_lock(4713), 1 / (n - 2) FROM generate_series(1, 2) n')
      local left = store:query("SELECT coalesce(current_setting('my.tenant', true), '') AS tenant,"
        .. " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        .. '  AND pid = pg_backend_pid()) AS locks')[1]
      assert.same({ '', 0 }, { left.tenant, left.locks })
    end
    assert.equal(1, store:stats().pg_connects)
    support.close(store)
  end)

  it('goes before those who wait for the connection get it, one after the other', function()
    local store, seen = open(), {}
    stores.run(function()
      for i = 1, 6 do
        stores.spawn(function()
          store:query("UPDATE docs SET value = '{}' WHERE id = 2") -- what fires is unknown
          seen[i] = store:query("SELECT coalesce(current_setting('my.tenant', true), '') AS before,"
            .. " set_config('my.tenant', 'somebody', false)")[1].before
        end)
      end
    end)
    assert.same({ '', '', '', '', '', '' }, seen)
    assert.equal(1, store:stats().pg_connects)
    support.close(store)
  end)

  it('is reset also where the text left a limit that every statement meets', function()
    local store = open()
    for _ = 1, 3 do
      -- on a busy machine its own COMMIT meets the limit, too
      local ok, err = pcall(store.query, store,
        "SET my.tenant = 'somebody'; SET statement_timeout = '1ms'")
      assert.is_true(ok or err.sqlstate == '57014', tostring(err))
      assert.equal('30s', store:query('SHOW statement_timeout')[1].statement_timeout)
    end
    support.close(store)
  end)
end)

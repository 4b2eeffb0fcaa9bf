--- Texts that end the transaction that they run in, or that are said to read only: nothing that
--- they did stays unknown to the cache.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')
local wait = require('stores.wait')

describe('a text', function()
  local store, other, db, keys

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    store:query([[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE met (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION write_docs(n int) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        UPDATE docs SET value = jsonb_build_object('n', n);
        RETURN n;
      END $$;
      CREATE VIEW writer AS SELECT 1::bigint AS id, to_jsonb(write_docs(77)) AS value]])
    store:insert('docs', { id = '1', n = 1 })
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  local function warm(name, n)
    store:upsert(name, { id = '1', n = n })
    keys:ready(store, 'public.' .. name)
    keys:ready(other, 'public.' .. name)
    support.eventually(function()
      other:find(name, '1')
      return (keys:row('public.' .. name, '1') or ''):sub(1, 1) == 'V'
    end)
  end

  local function truth(name)
    return tonumber(support.psql(db, "SELECT value->>'n' FROM " .. name):match('%d+'))
  end

  -- The core's own doors: what lua/stores/sql/statements.lua refuses goes through them.
  local function query(sql, opts)
    return wait.slot(store.hub, store.engine:query(sql, {}, opts or {}, 5, false))
  end

  local function in_transaction(fn)
    local tx = store.engine:tx({})
    local ok, err = pcall(fn, function(sql, opts)
      return wait.slot(store.hub, tx:query(sql, {}, opts or {}, 5, false))
    end)
    pcall(function() wait.slot(store.hub, tx:rollback(5)) end)
    tx:free()
    return ok, err
  end

  local CONTROLS = { 'COMMIT', 'COMMIT AND CHAIN', 'ROLLBACK AND CHAIN', 'END', 'ABORT', 'BEGIN',
    "PREPARE TRANSACTION 'x'", "UPDATE docs SET value = '{\"n\": 50}'; COMMIT; BEGIN" }

  for _, sql in ipairs(CONTROLS) do
    it('is refused by the core, too, and not sent: ' .. sql, function()
      warm('docs', 1)
      local several = sql:find(';') ~= nil
      support.refused('unsupported', 'does not begin, end', query, sql, { simple = several,
        transaction = true })
      local ok, err = in_transaction(function(run) run(sql, { simple = several }) end)
      assert.is_false(ok)
      assert.equal('unsupported', err.code)
      assert.equal('none', err.outcome)
      assert.equal(1, truth('docs'))
    end)
  end

  -- The word in the comment is what the lexer gives up at.
  local HIDDEN = { 'COMMIT /* atomic */; BEGIN', 'COMMIT AND CHAIN /* atomic */',
    'COMMIT /* atomic */' }

  for _, ending in ipairs(HIDDEN) do
    it('whose end of the transaction only its tags tell turns all tables that Redis knows: '
      .. ending, function()
      warm('docs', 1)
      warm('met', 1)
      local fresh = stores.Store.new(db, support.redis()) -- it has not met these tables
      local function raw(sql, opts)
        return wait.slot(fresh.hub, fresh.engine:query(sql, {}, opts, 5, false))
      end
      fresh:query('SELECT 1', nil, { readonly = true })
      support.eventually(function() return fresh:stats().redis_up == 1 end)
      local err = support.refused('unsupported', 'ended the transaction', raw,
        "UPDATE docs SET value = '{\"n\": 60}'; UPDATE met SET value = '{\"n\": 60}'; " .. ending,
        { simple = true, transaction = true })
      assert.equal('unknown', err.outcome)
      for _, name in ipairs({ 'docs', 'met' }) do
        assert.equal(60, truth(name))
        support.eventually(function() return other:find(name, '1').n == 60 end)
        keys:ready(other, 'public.' .. name)
        assert.equal(60, other:find(name, '1').n)
      end
      support.close(fresh)
    end)
  end

  it('in a transaction whose tags tell of its end fails it, and turns what it wrote', function()
    warm('docs', 1)
    local ok, err = in_transaction(function(run)
      run("UPDATE docs SET value = '{\"n\": 61}'")
      run('COMMIT /* atomic */; BEGIN', { simple = true })
    end)
    assert.is_false(ok)
    assert.equal('unknown', err.outcome)
    assert.equal(61, truth('docs'))
    support.eventually(function() return other:find('docs', '1').n == 61 end)
  end)

  -- What comes behind the end of the transaction, and fails.
  local FAILS = {
    { 'by a mistake', 'SELECT 1 / 0', 'invalid_argument' },
    { 'as its connection is lost', 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5)',
      'connection_lost' },
    { 'as its time is over', 'SELECT pg_sleep(60)', 'timeout', 0.5 },
  }
  local n = 200

  for _, ending in ipairs({ 'COMMIT /* atomic */; BEGIN', 'COMMIT AND CHAIN /* atomic */',
    'COMMIT /* atomic */' }) do
    for _, case in ipairs(FAILS) do
      local text = "UPDATE docs SET value = '{\"n\": %d}'; " .. ending .. '; ' .. case[2]
      local function is_told(code, ok, err)
        assert.is_false(ok)
        assert.equal(code, err.code)
        assert.equal('unknown', err.outcome)
        assert.is_false(err.retryable)
        assert.equal(n, truth('docs'))
        assert.equal(n, store:find('docs', '1').n)
        support.eventually(function() return other:find('docs', '1').n == n end)
      end

      it('that ends its transaction and fails then, ' .. case[1] .. ', turns what it wrote: '
        .. ending, function()
        n = n + 1
        warm('docs', 1)
        is_told(case[3], pcall(function()
          wait.slot(store.hub, store.engine:query(text:format(n), {}, { simple = true,
            transaction = true }, case[4] or 5, false))
        end))
      end)

      it('in a transaction that it ends, and that fails then, ' .. case[1] .. ', turns what it '
        .. 'wrote: ' .. ending, function()
        n = n + 1
        warm('docs', 1)
        local tx = store.engine:tx({})
        local ok, err = pcall(function()
          wait.slot(store.hub, tx:query(text:format(n), {}, { simple = true }, case[4] or 5, false))
        end)
        pcall(function() wait.slot(store.hub, tx:rollback(5)) end)
        tx:free()
        is_told(case[3] == 'invalid_argument' and 'unsupported' or case[3], ok, err)
      end)
    end
  end

  it('outside of transactions that is said to read only, writes and fails, turns what it wrote',
    function()
      warm('docs', 1)
      local ok, err = pcall(store.query, store, "DO $$ BEGIN UPDATE docs SET value = '{\"n\": 90}';"
        .. ' COMMIT; PERFORM 1 / 0; END $$', nil, { transaction = false, readonly = true })
      assert.is_false(ok)
      assert.equal('invalid_argument', err.code)
      assert.equal(90, truth('docs'))
      assert.equal(90, store:find('docs', '1').n)
      support.eventually(function() return other:find('docs', '1').n == 90 end)
    end)

  it('of a session, which has no transaction, turns what it wrote', function()
    warm('docs', 1)
    store:session(function(session)
      session:query("UPDATE docs SET value = '{\"n\": 65}'")
      support.eventually(function() return other:find('docs', '1').n == 65 end)
    end)
    keys:ready(other, 'public.docs')
    assert.equal(65, other:find('docs', '1').n)
    assert.equal(65, store:find('docs', '1').n)
  end)

  for _, sql in ipairs({ 'SELECT write_docs(66)', 'SELECT 1; SELECT write_docs(66)',
    "WITH x AS (UPDATE docs SET value = '{\"n\": 66}' RETURNING id) SELECT id FROM x",
    'EXPLAIN ANALYZE SELECT write_docs(66)' }) do
    it('of a session turns what it called wrote: ' .. sql, function()
      warm('docs', 1)
      store:session(function(session)
        session:query(sql)
        support.eventually(function() return other:find('docs', '1').n == 66 end)
      end)
      keys:ready(other, 'public.docs')
      assert.equal(66, other:find('docs', '1').n)
    end)
  end

  it('of a select of a session, and a find in a view, turn what they called wrote', function()
    for at, call in ipairs({
      function(tx)
        return tx:select('met', [[WITH x AS (UPDATE docs SET value = '{"n": 1001}' RETURNING id)
          SELECT id, '{}'::text FROM x]], {}, 5, false)
      end,
      function(tx) return tx:select('met', 'SELECT 1, write_docs(1002)::text', {}, 5, false) end,
      function(tx) return tx:find('writer', '1', 5, false) end,
    }) do
      warm('met', 1)
      warm('docs', 1)
      local tx = store.engine:tx({ session = true })
      pcall(function() return wait.slot(store.hub, call(tx)) end)
      local wrote = at == 3 and 77 or 1000 + at
      assert.equal(wrote, truth('docs'))
      support.eventually(function() return other:find('docs', '1').n == wrote end)
      pcall(function() wait.slot(store.hub, tx:rollback(5)) end)
      tx:free()
    end
  end)

  it('of a session that calls what writes nothing turns nothing', function()
    -- a turn of the example before may come late, but not again and again
    support.eventually(function()
      warm('docs', 1)
      local before = keys:epoch('public.docs')
      store:session(function(session)
        session:query("SELECT pg_advisory_lock(7), set_config('work_mem', '8MB', false)")
        session:query('SELECT pg_advisory_unlock(7)')
      end)
      assert.equal(1, other:find('docs', '1').n)
      return before == keys:epoch('public.docs')
    end, 60, 'nothing is turned')
  end)

  local only = { readonly = true }
  local WRITES = "SET TRANSACTION READ WRITE; UPDATE docs SET value = '{\"n\": 67}'"

  it('that is said to read only, and makes itself one that writes, turns what it wrote', function()
    warm('docs', 1)
    store:query(WRITES, nil, only)
    assert.equal(67, other:find('docs', '1').n)
    warm('docs', 1)
    store:transaction(function(tx)
      tx:query('SET TRANSACTION READ WRITE')
      tx:query("UPDATE docs SET value = '{\"n\": 68}'")
    end, only)
    assert.equal(68, other:find('docs', '1').n)
    assert.equal(68, store:find('docs', '1').n)
  end)

  it('that is said to read only is kept from writing outside of transactions, too', function()
    local opts = { transaction = false, readonly = true }
    warm('docs', 1)
    for _, sql in ipairs({ "UPDATE docs SET value = '{\"n\": 69}'", 'SELECT write_docs(69)' }) do
      support.refused('read_only', nil, store.query, store, sql, nil, opts)
    end
    assert.equal(1, truth('docs'))
    store:query('VACUUM docs', nil, opts)
    store:query('DO $$ BEGIN PERFORM write_docs(69); END $$', nil, opts)
    support.eventually(function() return other:find('docs', '1').n == 69 end)
  end)

  for name, sql in pairs({
    ['a WITH that changes data'] = [[WITH x AS (UPDATE docs SET value = '{"n": 70}' RETURNING id)
      SELECT id, '{}'::text FROM x]],
    ['a function that writes'] = "SELECT 1::bigint, write_docs(71)::text",
  }) do
    it('of a select is kept from writing by the server: ' .. name, function()
      warm('docs', 1)
      support.refused('read_only', nil, function()
        return wait.slot(store.hub, store.engine:select('docs', sql, {}, 5, false))
      end)
      support.refused('read_only', nil, function()
        store:transaction(function(tx)
          tx:update('met', { id = '1', n = 2 })
          wait.slot(store.hub, tx.tx:select('docs', sql, {}, 5, false))
        end)
      end)
      support.refused('read_only', nil, store.query, store, sql, nil, { readonly = true })
      support.refused('read_only', nil, store.transaction, store, function(tx)
        tx:query(sql, nil, { readonly = true })
      end)
      assert.equal(1, truth('docs'))
      assert.equal(1, other:find('docs', '1').n)
    end)
  end

  it('of a select over a view whose function writes is kept from it', function()
    warm('docs', 1)
    support.refused('read_only', nil, store.findAll, store, 'writer')
    assert.equal(1, truth('docs'))
  end)

  -- What their words do not tell.
  local CALLS = {
    ['a view'] = 'SELECT value FROM writer',
    ['a function in the form of a column'] = 'SELECT met.write_by_row FROM met',
    ['one with the name of a function that the server has'] = 'SELECT length(1::bigint)',
    ['an operator'] = 'SELECT 1::bigint @@# 2::bigint',
    ['a cast'] = "SELECT ('(1)'::written)::int",
    ['a domain'] = "SELECT 'x'::writing",
  }

  local function make_calls()
    support.psql(db, [[DROP TYPE IF EXISTS written CASCADE;
      DROP FUNCTION IF EXISTS write_by_row, length(bigint), write_both, write_domain CASCADE;
      DROP DOMAIN IF EXISTS writing;
      CREATE FUNCTION write_by_row(met) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN RETURN write_docs(78); END $$;
      CREATE FUNCTION length(bigint) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN RETURN write_docs(78); END $$;
      CREATE FUNCTION write_both(bigint, bigint) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN RETURN write_docs(78); END $$;
      CREATE OPERATOR @@# (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = write_both);
      CREATE TYPE written AS (n int);
      CREATE FUNCTION write_cast(written) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN RETURN write_docs(78); END $$;
      CREATE CAST (written AS int) WITH FUNCTION write_cast(written);
      CREATE FUNCTION write_domain(text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN RETURN write_docs(78) > 0; END $$;
      CREATE DOMAIN writing AS text CHECK (write_domain(VALUE))]])
  end

  for name, sql in pairs(CALLS) do
    it('that is said to read only is kept from writing in a transaction by ' .. name, function()
      make_calls()
      warm('met', 1)
      warm('docs', 1)
      support.refused('read_only', nil, store.transaction, store, function(tx)
        tx:update('met', { id = '1', n = 2 })
        tx:query(sql, nil, only)
      end)
      assert.equal(1, truth('docs'))
      assert.equal(1, other:find('docs', '1').n)
    end)

    it('of a session turns what it wrote by ' .. name, function()
      make_calls()
      warm('met', 1)
      warm('docs', 1)
      store:session(function(session) session:query(sql) end)
      assert.is_true(truth('docs') > 1)
      support.eventually(function() return other:find('docs', '1').n == truth('docs') end)
    end)
  end

  it('that is said to read only leaves what the transaction wrote to be published', function()
    warm('docs', 1)
    local before = store:stats().settles_published
    store:transaction(function(tx)
      tx:query('SELECT 1', nil, { readonly = true })
      tx:update('docs', { id = '1', n = 5 })
      assert.equal(5, tx:query("SELECT value->>'n' AS n FROM docs WHERE id = 1", nil,
        { readonly = true })[1].n + 0)
      tx:update('docs', { id = '1', n = 6 })
    end)
    assert.equal(6, other:find('docs', '1').n)
    support.eventually(function() return store:stats().settles_published == before + 1 end)
  end)
end)

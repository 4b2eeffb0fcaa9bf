--- What a session committed before its statement failed: nobody reads what was there before.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('what a session committed of a text that failed', function()
  local store, other, db, n

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    store:query([[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      CREATE PROCEDURE write(n int) LANGUAGE plpgsql AS $$
      BEGIN
        UPDATE docs SET value = jsonb_build_object('n', n);
        COMMIT;
      END $$;
      CREATE PROCEDURE fails(n int) LANGUAGE plpgsql AS $$
      BEGIN
        CALL write(n);
        PERFORM 1 / 0;
      END $$;
      CREATE PROCEDURE loses(n int) LANGUAGE plpgsql AS $$
      BEGIN
        CALL write(n);
        PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5);
      END $$;
      CREATE PROCEDURE hangs(n int) LANGUAGE plpgsql AS $$
      BEGIN
        CALL write(n);
        PERFORM pg_sleep(60);
      END $$]])
    store:insert('docs', { id = '1', n = 0 })
    n = 0
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  for _, case in ipairs({
    { 'by a procedure', 'CALL fails(%d)', 'invalid_argument' },
    { 'by a procedure that lost its connection', 'CALL loses(%d)', 'connection_lost' },
    { 'by a procedure that ran out of time', 'CALL hangs(%d)', 'timeout', 0.5 },
    { 'by its own COMMIT', "UPDATE docs SET value = jsonb_build_object('n', %d); COMMIT;"
      .. ' SELECT 1 / 0', 'invalid_argument' },
    { 'by a COMMIT before time ran out', "BEGIN; UPDATE docs SET value = jsonb_build_object('n',"
      .. ' %d); COMMIT; SELECT pg_sleep(60)', 'timeout', 0.5 },
  }) do
    it(case[1] .. ' is read at once, and soon by others', function()
      n = n + 1
      for _ = 1, 2 do
        assert.equal(n - 1, store:find('docs', '1').n)
        assert.equal(n - 1, other:find('docs', '1').n)
      end
      local ok, err = pcall(store.session, store, function(session)
        session:query(case[2]:format(n), nil, { timeout = case[4] })
      end)
      assert.is_false(ok)
      assert.equal(case[3], err.code)
      assert.equal('unknown', err.outcome)
      assert.is_false(err.retryable)
      assert.equal(n, store:find('docs', '1').n)
      support.eventually(function() return other:find('docs', '1').n == n end)
    end)
  end

  it('is nothing where the text was refused before it ran, or was one statement', function()
    local function hits()
      local before = store:stats().hits
      for _ = 1, 3 do assert.equal(n, store:find('docs', '1').n) end
      return store:stats().hits - before
    end
    support.eventually(function() return hits() == 3 end)
    for _, sql in ipairs({ 'CALL no_such_procedure(1)', 'CALL fails(nothing)', 'SELECT 1 / 0',
      "UPDATE docs SET value = jsonb_build_object('n', 1 / 0)", 'VACUUM (nonsense) docs' }) do
      local ok, err = pcall(store.session, store, function(session) session:query(sql) end)
      assert.is_false(ok)
      assert.equal('none', err.outcome, sql)
      assert.is_true(hits() >= 2, sql) -- nor is anything turned; it had the only connection
    end
  end)
end)

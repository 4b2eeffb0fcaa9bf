--- Who was kept from writing by Stores, and not by the server, is told so: it is not to be tried
--- again, and says nothing of the server, whose other connections stay.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local support = require('spec.support')

describe('a write that is refused', function()
  local store, db

  setup(function()
    store, db = support.store({ 'a' })
    store:query([[INSERT INTO a VALUES (1, '{"n": 1}');
      CREATE FUNCTION writes() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        UPDATE a SET value = '{"n": 2}'; RETURN true; END $$;
      CREATE VIEW v AS SELECT id, value FROM a WHERE writes();
      CREATE FUNCTION defers_itself() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (NEW.value->>'n')::int > 9 THEN RETURN NULL; END IF;
        SET CONSTRAINTS ALL DEFERRED;
        UPDATE a SET value = jsonb_build_object('n', (NEW.value->>'n')::int + 1);
        RETURN NULL; END $$;]])
  end)

  teardown(function() support.close(store, db) end)

  -- The hint says which of the three it was.
  local function is_told(hint, fn)
    support.eventually(function() -- a connection that was opened for the call before is up
      store:find('a', '1', { cache = false })
      return store:stats().pool_connecting == 0
    end, 20)
    local before = store:stats().pg_connects
    for _ = 1, 3 do
      local err = support.refused('read_only', nil, fn)
      assert.is_false(err.retryable)
      assert.equal('none', err.outcome)
      assert.truthy(err.hint:find(hint, 1, true), err.hint)
      for _ = 1, 3 do store:find('a', '1', { cache = false }) end
    end
    -- one for a lane, one for what is no lane
    assert.truthy(store:stats().pg_connects - before <= 1, 'the pool was renewed')
    assert.equal(1, store:find('a', '1').n)
  end

  local reads = {
    find = function(on) on:find('v', '1') end,
    exists = function(on) on:exists('v', '1') end,
    findAllByIds = function(on) on:findAllByIds('v', { '1', '2' }) end,
    findAll = function(on) on:findAll('v') end,
    count = function(on) on:count('v') end,
  }

  for name, read in pairs(reads) do
    it('to what a view calls is told of it, by ' .. name, function()
      is_told('a view', function() read(store) end)
    end)

    it(('to what a view calls is told of it, by %s in a transaction'):format(name), function()
      is_told('a view', function() store:transaction(read) end)
    end)

    it(('of a transaction that only reads is told of that, by %s'):format(name), function()
      is_told('readonly = true', function() store:transaction(read, { readonly = true }) end)
    end)
  end

  it('to a query that was said to read only is told of that', function()
    is_told('readonly = true', function()
      store:query('SELECT * FROM v', nil, { readonly = true })
    end)
    is_told('readonly = true', function()
      store:transaction(function(tx) tx:query('SELECT * FROM v', nil, { readonly = true }) end)
    end)
  end)

  describe('to what a trigger defers again and again', function()
    setup(function()
      store:query([[CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON a DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION defers_itself()]])
    end)

    teardown(function() store:query('DROP TRIGGER t ON a') end)

    local writes = {
      verb = function() store:update('a', { id = '1', n = 3 }) end,
      query = function() store:query([[UPDATE a SET value = '{"n": 3}']]) end,
      transaction = function()
        store:transaction(function(tx) tx:update('a', { id = '1', n = 3 }) end)
      end,
      ['transaction that leaves a savepoint open'] = function()
        store:transaction(function(tx)
          tx:query('SAVEPOINT s')
          tx:update('a', { id = '1', n = 3 })
        end)
      end,
    }

    for name, write in pairs(writes) do
      it('is told of it, by a ' .. name, function() is_told('COMMIT', write) end)
    end
  end)
end)

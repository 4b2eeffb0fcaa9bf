--- What PostgreSQL would do inside of COMMIT, behind the question which tables were written: rows
--- that it changes are as fresh as others, or it is kept from changing them.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('what waits for COMMIT', function()
  local store, other, db, keys

  setup(function()
    store, db = support.store({ 'a', 'b', 'c' })
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    store:query([[CREATE FUNCTION bump() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        UPDATE c SET value = jsonb_build_object('n', (value->>'n')::int + 1); RETURN 1; END $$;
      CREATE FUNCTION opens() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT bump()'; RETURN true; END $$;
      CREATE FUNCTION bumps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM bump(); RETURN NULL; END $$;
      CREATE FUNCTION opens_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM opens(); RETURN NULL; END $$;
      CREATE FUNCTION defers() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        SET CONSTRAINTS ALL DEFERRED; UPDATE b SET value = '{"n": 1}'; RETURN NULL; END $$;
      CREATE FUNCTION defers_itself() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (NEW.value->>'n')::int > 5 THEN RETURN NULL; END IF;
        SET CONSTRAINTS ALL DEFERRED;
        UPDATE a SET value = jsonb_build_object('n', (NEW.value->>'n')::int + 1);
        PERFORM bump(); RETURN NULL; END $$;
      CREATE VIEW v AS SELECT * FROM a WHERE opens()]])
    keys:ready(store, 'public.c')
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  before_each(function()
    store:query([[DROP TRIGGER IF EXISTS t ON a; DROP TRIGGER IF EXISTS t ON b]])
    for _, name in ipairs({ 'a', 'b', 'c' }) do store:upsert(name, { id = '1', n = 1 }) end
    support.eventually(function()
      for _, one in ipairs({ store, other }) do one:find('c', '1') end
      return (keys:row('public.c', '1') or ''):sub(1, 1) == 'V'
    end, 20, 'the row')
  end)

  -- How often the function has run, which both processes say.
  local function bumped()
    local n = store:find('c', '1', { cache = false }).n
    for _, one in ipairs({ store, other }) do assert.equal(n, one:find('c', '1').n) end
    return n - 1
  end

  local function trigger(on, fn, when)
    store:query(('CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON %s %s FOR EACH ROW'
      .. ' EXECUTE FUNCTION %s()'):format(on, when or 'DEFERRABLE INITIALLY DEFERRED', fn))
  end

  local writes = {
    verb = function() store:update('a', { id = '1', n = 2 }) end,
    query = function() store:query("UPDATE a SET value = '{\"n\": 2}'") end,
    ['query of several'] = function()
      store:query("UPDATE a SET value = '{\"n\": 2}'; SELECT 1")
    end,
    transaction = function()
      store:transaction(function(tx) tx:update('a', { id = '1', n = 2 }) end)
    end,
    ['transaction that leaves a savepoint open'] = function()
      store:transaction(function(tx)
        tx:query('SAVEPOINT s')
        tx:update('a', { id = '1', n = 2 })
      end)
    end,
  }

  for kind, write in pairs(writes) do
    it('is seen where a deferred trigger defers what it causes, after a ' .. kind, function()
      trigger('a', 'defers')
      trigger('b', 'bumps')
      write()
      assert.equal(1, bumped())
    end)

    it('is undone where that goes on, after a ' .. kind, function()
      trigger('a', 'defers_itself')
      support.refused('read_only', nil, write)
      assert.equal(0, bumped())
      assert.equal(1, store:find('a', '1').n)
    end)

    for when, how in pairs({ now = 'NOT DEFERRABLE', late = 'DEFERRABLE INITIALLY DEFERRED' }) do
      it(('is no cursor that a trigger opened %s, after a %s'):format(when, kind), function()
        trigger('a', 'opens_one', how)
        write()
        assert.equal(0, bumped())
      end)
    end
  end

  describe('is no cursor of what is kept from writing,', function()
    local readonly = { readonly = true }
    local reads = {
      ['its text'] = function(tx)
        tx:query('DECLARE held CURSOR WITH HOLD FOR SELECT bump()', nil, readonly)
      end,
      ['a function in it'] = function(tx) tx:query('SELECT opens()', nil, readonly) end,
      ['a view'] = function(tx) assert.equal(2, tx:find('v', '1').n) end,
      ['a search of a view'] = function(tx)
        assert.equal(1, #tx:findByJSON('v', { n = 2 }))
      end,
    }

    for what, read in pairs(reads) do
      it('opened by ' .. what, function()
        store:transaction(function(tx)
          tx:update('a', { id = '1', n = 2 })
          read(tx)
        end)
        assert.equal(0, bumped())
        assert.equal(2, other:find('a', '1').n)
      end)
    end

    it('and one without HOLD is read to the end of its transaction', function()
      local rows = store:transaction(function(tx)
        tx:update('a', { id = '1', n = 2 })
        tx:query('DECLARE short CURSOR FOR SELECT generate_series(1, 3) AS n', nil, readonly)
        tx:query('FETCH 2 FROM short', nil, readonly)
        return tx:query('FETCH 2 FROM short', nil, readonly)
      end)
      assert.equal(3, rows[1].n)
      assert.equal(2, other:find('a', '1').n)
    end)
  end)
end)

-- What triggers do with a row before it is stored: take it elsewhere, give it another id, write to
-- other tables; and what an insert, an update and the cache make of that.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

local SCHEMA = [[
CREATE TABLE elsewhere (id bigint, value jsonb);
CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO elsewhere VALUES (NEW.id, NEW.value); RETURN NULL; END $$;
CREATE TABLE redirected (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER redirect BEFORE INSERT ON redirected FOR EACH ROW EXECUTE FUNCTION redirect();

CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE swallowed (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER swallow BEFORE INSERT ON swallowed FOR EACH ROW EXECUTE FUNCTION swallow();

CREATE TABLE kept (id bigint PRIMARY KEY, value jsonb);
INSERT INTO kept VALUES (1, '{"n": 0}');
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON kept FOR EACH ROW EXECUTE FUNCTION swallow();

CREATE TABLE notes (id bigserial PRIMARY KEY, about bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO notes (about) VALUES (NEW.id); RETURN NEW; END $$;
CREATE TABLE noted (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE late (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE free (id bigint PRIMARY KEY, value jsonb);

CREATE TABLE names (id bigint PRIMARY KEY);
CREATE FUNCTION name() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO names VALUES ((NEW.value->>'name')::bigint); RETURN NEW; END $$;
CREATE TABLE named (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER name BEFORE INSERT ON named FOR EACH ROW EXECUTE FUNCTION name();

CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END $$;
CREATE TABLE shifted (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER shift BEFORE INSERT ON shifted FOR EACH ROW EXECUTE FUNCTION shift();
CREATE TABLE moving (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER shift BEFORE UPDATE ON moving FOR EACH ROW EXECUTE FUNCTION shift();
]]

-- How many calls of one tick are asked for at the same time: so they share a segment.
local MANY = 8

for _, how in ipairs({ 'with Redis', 'without Redis', 'without segments' }) do
  describe('a table with BEFORE triggers, ' .. how .. ',', function()
    local store, db, other

    setup(function()
      store, db = support.store({}, { no_redis = how ~= 'with Redis' or nil,
        segment = how ~= 'without segments' })
      store:query(SCHEMA)
      other = stores.Store.new(support.config(db.database), nil, { cache = false })
    end)

    teardown(function()
      support.close(other)
      support.close(store, db)
    end)

    local function count(name)
      return other:query('SELECT count(*) AS n FROM ' .. name)[1].n
    end

    local function many(fn)
      local list = {}
      for i = 1, MANY do list[i] = i end
      return stores.map(list, function(i) return fn(i) end)
    end

    before_each(function()
      other:query('TRUNCATE elsewhere, notes, noted, late, free, names, named, shifted, moving;'
        .. ' DROP TRIGGER IF EXISTS note ON late')
      for name in ('elsewhere noted late free named shifted moving'):gmatch('%a+') do
        store:invalidate(name)
      end
    end)

    it('that puts a row elsewhere puts it there once, and no id is said to be taken', function()
      assert.equal('1', store:insert('redirected', { id = '1', n = 1 }).id)
      assert.equal(1, count('elsewhere'))
      local record = store:insert('redirected', { n = 2 })
      assert.equal(2, count('elsewhere'))
      assert.is_string(record.id)
      many(function(i) store:insert('redirected', { id = tostring(10 + i) }) end)
      assert.equal(2 + MANY, count('elsewhere'))
      store:transaction(function(tx) tx:insert('redirected', { id = '3' }) end)
      assert.equal(3 + MANY, count('elsewhere'))
      local _, inserted = store:upsert('redirected', { id = '4' })
      assert.is_false(inserted)
      assert.equal(4 + MANY, count('elsewhere'))
    end)

    it('that refuses a row in silence has its way', function()
      store:insert('swallowed', { id = '1' })
      many(function(i) store:insert('swallowed', { id = tostring(i) }) end)
      assert.is_nil(store:find('swallowed', '1'))
    end)

    it('that keeps a row has its way, and nobody says that there is no such row', function()
      local change = function(document) document.n = 1 end
      assert.is_false(store:update('kept', { id = '1', n = 1 }))
      assert.is_nil(store:updateObject('kept', '1', change))
      local _, etag = store:find('kept', '1', { etag = true })
      for _, call in ipairs({
        function(on) on:update('kept', { id = '1', n = 1 }, { must = true }) end,
        function(on) on:patch('kept', '1', { set = { n = 1 } }, { must = true }) end,
        function(on) on:delete('kept', '1', { must = true }) end,
        function(on) on:updateObject('kept', '1', change, { must = true }) end,
        function(on) on:update('kept', { id = '1', n = 1 }, { if_match = etag }) end,
      }) do
        assert.equal('committed', refused('constraint', 'keeps the row 1', call, store).outcome)
        store:transaction(function(tx)
          assert.equal('none', refused('constraint', 'keeps the row 1', call, tx).outcome)
          assert.equal(0, tx:find('kept', '1').n)
        end)
      end
      refused('not_found', nil, store.delete, store, 'kept', '2', { must = true })
      refused('not_found', nil, store.updateObject, store, 'kept', '2', change, { must = true })
      assert.equal(0, store:find('kept', '1').n)
    end)

    it('leaves nothing of what it wrote where the id is taken', function()
      store:insert('noted', { id = '1', n = 1 })
      assert.equal(1, count('notes'))
      local err = refused('duplicate', 'noted', store.insert, store, 'noted', { id = '1', n = 2 })
      assert.equal('none', err.outcome)
      assert.is_nil(err.constraint)
      assert.equal(1, count('notes'))
      local codes = many(function(i)
        local ok, why = pcall(store.insert, store, 'noted',
          { id = i % 2 == 0 and '1' or tostring(i + 50) })
        return ok and 'ok' or why.code
      end)
      for i = 1, MANY do assert.equal(i % 2 == 0 and 'duplicate' or 'ok', codes[i]) end
      assert.equal(1 + MANY / 2, count('notes'))
      assert.equal(1, store:find('noted', '1').n)
    end)

    it('leaves nothing in a transaction either, which goes on where nothing was done', function()
      store:insert('noted', { id = '1' })
      store:insert('free', { id = '1' })
      refused('duplicate', 'noted', store.transaction, store, function(tx)
        tx:insert('noted', { id = '2' })
        tx:insert('noted', { id = '1' })
      end)
      assert.equal(1, count('notes'))
      store:transaction(function(tx)
        refused('duplicate', 'free', tx.insert, tx, 'free', { id = '1' })
        tx:insert('free', { id = '2' })
      end)
      assert.equal(2, count('free'))
    end)

    it('that somebody made after the table was known leaves nothing either', function()
      store:insert('late', { id = '1' })
      other:query('CREATE TRIGGER note BEFORE INSERT ON late FOR EACH ROW EXECUTE FUNCTION note()')
      local codes = many(function()
        local ok, why = pcall(store.insert, store, 'late', { id = '1' })
        return ok and 'ok' or why.code
      end)
      for i = 1, MANY do assert.equal('duplicate', codes[i]) end
      assert.equal(0, count('notes'))
      refused('duplicate', nil, store.transaction, store, function(tx)
        tx:insert('late', { id = '1' })
      end)
      assert.equal(0, count('notes'))
      assert.equal(1, count('late'))
    end)

    it('that was made meanwhile and puts the row elsewhere is met in transactions, too', function()
      store:insert('late', { id = '1' })
      store:transaction(function(tx) tx:insert('late', { id = '2' }) end)
      other:query('CREATE TRIGGER note BEFORE INSERT ON late'
        .. ' FOR EACH ROW EXECUTE FUNCTION redirect()')
      local runs = 0
      store:transaction(function(tx)
        runs = runs + 1
        tx:insert('late', { id = '3' })
      end)
      assert.is_true(runs <= 2)
      assert.equal(1, count('elsewhere'))
    end)

    it("whose own id is taken says so of its own table's constraint", function()
      store:insert('named', { id = '1', name = '7' })
      local err = refused('duplicate', nil, store.insert, store, 'named', { id = '2', name = '7' })
      assert.equal('names_pkey', err.constraint)
      refused('duplicate', 'named has a row', store.insert, store, 'named',
        { id = '1', name = '8' })
      assert.equal(1, count('names'))
    end)

    it('that gives a new row another id is heard by the record and by the cache', function()
      for _ = 1, 2 do
        assert.is_nil(store:find('shifted', '1'))
        assert.is_nil(store:find('shifted', '1001'))
      end
      local record = store:insert('shifted', { id = '1', n = 1 })
      assert.equal('1001', record.id)
      assert.is_nil(store:find('shifted', '1'))
      assert.same({ id = '1001', n = 1 }, store:find('shifted', '1001'))
      local ids = many(function(i) return store:insert('shifted', { id = tostring(10 + i) }).id end)
      for i = 1, MANY do
        assert.equal(tostring(1010 + i), ids[i])
        assert.equal(ids[i], store:find('shifted', ids[i]).id)
        assert.is_nil(store:find('shifted', tostring(10 + i)))
      end
      store:transaction(function(tx)
        assert.equal('1002', tx:insert('shifted', { id = '2' }).id)
      end)
      record = store:upsert('shifted', { id = '3' })
      assert.equal('1003', record.id)
      assert.equal('1003', store:find('shifted', '1003').id)
      local err = refused('duplicate', 'shifted has a row', store.insert, store, 'shifted',
        { id = '1' })
      assert.equal('none', err.outcome)
    end)

    it('that moves a row which is updated is heard: the old id is free in the cache', function()
      store:insert('moving', { id = '1', n = 1 })
      for _ = 1, 2 do
        assert.equal(1, store:find('moving', '1').n)
        assert.is_nil(store:find('moving', '1001'))
      end
      local record = { id = '1', n = 2 }
      assert.is_true(store:update('moving', record))
      assert.equal('1001', record.id)
      assert.is_nil(store:find('moving', '1'))
      assert.equal(2, store:find('moving', '1001').n)
      local document = store:patch('moving', '1001', { inc = { n = 1 } })
      assert.same({ '2001', 3 }, { document.id, document.n })
      assert.is_nil(store:find('moving', '1001'))
      assert.equal(3, store:find('moving', '2001').n)
    end)
  end)
end

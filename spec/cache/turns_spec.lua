--- Writes that turn tables: rows that they cannot name, or that the database reaches by itself.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('the cache', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs', 'other' })
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
    keys:ready(store, 'public.other')
  end)

  teardown(function() support.close(store, db) end)

  describe('where rows cannot be named', function()
    it('turns the table that a query wrote, and no other', function()
      local a, b = keys:cached(store, { n = 1 }), keys:cached(store, { n = 1 }, 'other')
      local docs, other = keys:epoch('public.docs'), keys:epoch('public.other')
      local rows = store:query('UPDATE docs SET value = value || $1 WHERE id = $2 RETURNING id',
        { { n = 2 }, a })
      assert.equal(1, rows.affected)
      assert.equal(2, store:find('docs', a).n)
      keys:turned('public.docs', docs)
      assert.equal(other, keys:epoch('public.other'))
      assert.equal(1, store:find('other', b).n)
    end)

    it('turns nothing for a query that reads', function()
      local docs = keys:epoch('public.docs')
      store:query('SELECT * FROM docs')
      store:query('SELECT * FROM docs FOR UPDATE')
      store:query('SELECT count(*) FROM docs', nil, { readonly = true })
      assert.equal(docs, keys:epoch('public.docs'))
    end)

    it('turns what the statements of one text wrote', function()
      local id, docs = keys:cached(store, { n = 1 }), keys:epoch('public.docs')
      store:query(([[UPDATE docs SET value = '{"n": 2}' WHERE id = %s; SELECT 1]]):format(id))
      assert.equal(2, store:find('docs', id).n)
      keys:turned('public.docs', docs)
    end)

    it('turns the tables that invalidates names, and asks for no other', function()
      local a, b = keys:cached(store, { n = 1 }), keys:cached(store, { n = 1 }, 'other')
      local docs, other = keys:epoch('public.docs'), keys:epoch('public.other')
      store:query("UPDATE docs SET value = '{\"n\": 2}' WHERE id = " .. a, nil,
        { invalidates = { 'docs' } })
      assert.equal(2, store:find('docs', a).n)
      keys:turned('public.docs', docs)
      docs = keys:epoch('public.docs')
      store:query("UPDATE docs SET value = '{\"n\": 3}' WHERE id = " .. a, nil,
        { transaction = false, invalidates = { 'public.docs', 'other' } })
      assert.equal(3, store:find('docs', a).n)
      keys:turned('public.docs', docs)
      keys:turned('public.other', other)
      assert.equal(1, store:find('other', b).n)
    end)

    it('wants to know the tables of a query outside a transaction', function()
      support.refused('invalid_option', 'invalidates', store.query, store, 'VACUUM docs', nil,
        { transaction = false })
      store:query('VACUUM docs', nil, { transaction = false, readonly = true })
    end)

    it('turns a table that a transaction wrote by name and by SQL', function()
      local a, b = keys:cached(store, { n = 1 }), keys:cached(store, { n = 1 })
      local docs = keys:epoch('public.docs')
      store:transaction(function(tx)
        tx:update('docs', { id = a, n = 2 })
        tx:query("UPDATE docs SET value = value || '{\"n\": 3}' WHERE id IN ($1, $2)", { a, b })
      end)
      assert.equal(3, store:find('docs', a).n)
      assert.equal(3, store:find('docs', b).n)
      keys:turned('public.docs', docs)
      assert.equal(3, store:find('docs', a).n)
    end)

    it('turns a table of which more than 5,000 rows were named #slow', function()
      local docs = keys:epoch('public.docs')
      local first = 1000000
      local id = keys:cached(store, { n = 1 })
      store:transaction(function(tx)
        tx:update('docs', { id = id, n = 2 })
        for i = first, first + 5000 do tx:insert('docs', { id = tostring(i) }) end
      end, { timeout = 60 })
      assert.equal(2, store:find('docs', id).n)
      keys:turned('public.docs', docs)
      store:query('DELETE FROM docs WHERE id >= ' .. first)
      keys:ready(store, 'public.docs')
    end)

    it('turns a table that was truncated, altered, or dropped and made anew', function()
      local name, id = 'public.shortlived', '7'
      store:query('CREATE TABLE shortlived (id bigint PRIMARY KEY, value jsonb)')
      local function stands(n)
        keys:forget_oids()
        keys:ready(store, name)
        store:upsert('shortlived', { id = id, n = n })
        keys:becomes(name, id, 'V')
        return keys:epoch(name)
      end
      local epoch = stands(1)
      store:query('TRUNCATE shortlived')
      assert.is_nil(store:find('shortlived', id))
      keys:turned(name, epoch)
      epoch = stands(1)
      store:query([[ALTER TABLE shortlived ALTER value TYPE jsonb USING value || '{"n": 2}']])
      assert.equal(2, store:find('shortlived', id).n)
      keys:turned(name, epoch)
      epoch = stands(3)
      store:query([[DROP TABLE shortlived;
        CREATE TABLE shortlived (id bigint PRIMARY KEY, value jsonb)]])
      assert.is_nil(store:find('shortlived', id))
      keys:turned(name, epoch)
      epoch = stands(4)
      store:query('DROP TABLE shortlived')
      store:query('CREATE TABLE shortlived (id bigint PRIMARY KEY, value jsonb)')
      assert.is_nil(store:find('shortlived', id))
      keys:turned(name, epoch)
      store:query('DROP TABLE shortlived')
    end)

    it('is told of writes that Stores did not see', function()
      local a, b = keys:cached(store, { n = 1 }), keys:cached(store, { n = 1 })
      local epoch = keys:epoch('public.docs')
      support.psql(db, ("UPDATE docs SET value = '{\"n\": 2}' WHERE id IN (%s, %s)"):format(a, b))
      assert.equal(1, store:find('docs', a).n)
      store:invalidate('docs', a)
      assert.equal(2, store:find('docs', a).n)
      assert.equal(1, store:find('docs', b).n)
      assert.equal(epoch, keys:epoch('public.docs'))
      store:invalidate('docs')
      assert.equal(2, store:find('docs', b).n)
      keys:turned('public.docs', epoch)
    end)

    -- Longer leases than any would be waited for where it is not known that there are none.
    for _, row in ipairs({ false, true }) do
      it('is told at once where the connection was lost on which it asks who holds them' .. (row
        and ', of a row' or ''), function()
        local one = stores.Store.new(support.config(db.database, { poolsize = 1 }),
          support.redis())
        local id = keys:cached(store, { n = 1 })
        one:update('docs', { id = id, n = 1 })
        support.psql(db, "UPDATE docs SET value = '{\"n\": 2}' WHERE id = " .. id
          .. '; SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
          .. ' WHERE datname = current_database() AND pid <> pg_backend_pid()')
        one:invalidate('docs', row and id or nil, { timeout = 5 })
        assert.equal(2, store:find('docs', id).n)
        support.close(one)
      end)
    end

    it('is told soon where the backend hangs that it asks who holds them', function()
      local one = stores.Store.new(support.config(db.database, { poolsize = 4 }), support.redis())
      local id = keys:cached(store, { n = 1 })
      one:update('docs', { id = id, n = 1 })
      support.psql(db, "UPDATE docs SET value = '{\"n\": 2}' WHERE id = " .. id)
      local pid = one:query('SELECT pg_backend_pid() AS pid')[1].pid
      assert.equal(0, os.execute('kill -STOP ' .. pid))
      local told, err = one.try:invalidate('docs', id, { timeout = 12 })
      assert.equal(0, os.execute('kill -CONT ' .. pid))
      assert.is_true(told, tostring(err))
      assert.equal(2, store:find('docs', id).n)
      support.close(one)
    end)
  end)

  describe('where the database does more than was asked', function()
    it('shows what a BEFORE trigger made of a document', function()
      store:query([[CREATE TABLE stamped (id bigint PRIMARY KEY, value jsonb);
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.value := NEW.value || '{"stamped": true}'; RETURN NEW; END $$;
        CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW
        EXECUTE FUNCTION stamp()]])
      keys:ready(store, 'public.stamped')
      for n = 1, 3 do
        store:upsert('stamped', { id = '1', n = n })
        assert.same({ id = '1', n = n, stamped = true }, store:find('stamped', '1'))
        keys:ready(store, 'public.stamped')
        store:find('stamped', '1')
        keys:becomes('public.stamped', '1', 'V')
        assert.same({ id = '1', n = n, stamped = true }, store:find('stamped', '1'))
      end
    end)

    it('never publishes a row of a table with an AFTER trigger', function()
      store:query([[CREATE TABLE counted (id bigint PRIMARY KEY, value jsonb);
        CREATE FUNCTION recount() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF pg_trigger_depth() = 1 THEN
            UPDATE counted SET value = value || '{"after": true}' WHERE id = NEW.id;
          END IF;
          RETURN NULL;
        END $$;
        CREATE TRIGGER recount AFTER INSERT OR UPDATE ON counted FOR EACH ROW
        EXECUTE FUNCTION recount()]])
      keys:ready(store, 'public.counted')
      local figures = cache.grown(store, function()
        for n = 1, 3 do
          store:upsert('counted', { id = '1', n = n })
          assert.same({ id = '1', n = n, after = true }, store:find('counted', '1'))
          store:updateObject('counted', '1', function(doc) doc.after = nil end)
          assert.is_true(store:find('counted', '1').after)
        end
      end, { 'settles_published' })
      assert.equal(0, figures.settles_published)
    end)

    it('hears of a trigger that was made after the table was met', function()
      store:query('CREATE TABLE quiet (id bigint PRIMARY KEY, value jsonb)')
      local other = stores.Store.new(db, support.redis())
      for _, one in ipairs({ store, other }) do
        keys:ready(one, 'public.quiet')
        one:upsert('quiet', { id = '1', n = 1 })
        one:updateObject('quiet', '1', function(doc) doc.n = doc.n + 1 end)
      end
      keys:becomes('public.quiet', '1', 'V')
      store:query([[CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF pg_trigger_depth() = 1 THEN
            UPDATE quiet SET value = value || '{"loud": true}' WHERE id = NEW.id;
          END IF;
          RETURN NULL;
        END $$;
        CREATE TRIGGER loud AFTER INSERT OR UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION loud()]])
      for _, one in ipairs({ store, other }) do
        keys:ready(one, 'public.quiet')
        one:update('quiet', { id = '1', n = 5 })
        assert.same({ id = '1', n = 5, loud = true }, store:find('quiet', '1'))
        keys:ready(one, 'public.quiet')
        one:updateObject('quiet', '1', function(doc) doc.n, doc.loud = 6, nil end)
        assert.same({ id = '1', n = 6, loud = true }, store:find('quiet', '1'))
        assert.same({ id = '1', n = 6, loud = true }, other:find('quiet', '1'))
      end
      support.close(other)
    end)

    it('turns the tables to which a foreign key cascades', function()
      store:query([[CREATE TABLE parents (id bigint PRIMARY KEY, value jsonb);
        CREATE TABLE children (id bigint PRIMARY KEY, value jsonb, parent bigint
          REFERENCES parents ON DELETE CASCADE)]])
      keys:ready(store, 'public.parents')
      keys:ready(store, 'public.children')
      for _, delete in ipairs({
        function() store:delete('parents', '1') end,
        function() store:transaction(function(tx) tx:delete('parents', '1') end) end,
      }) do
        store:insert('parents', { id = '1' })
        store:query("INSERT INTO children VALUES (5, '{}', 1)")
        keys:ready(store, 'public.children')
        assert.same({ id = '5' }, store:find('children', '5'))
        keys:becomes('public.children', '5', 'V')
        local epoch = keys:epoch('public.children')
        delete()
        assert.is_nil(store:find('children', '5'))
        keys:turned('public.children', epoch)
      end
      -- what does not cascade costs nothing
      store:insert('parents', { id = '2', n = 1 })
      local epoch = keys:epoch('public.children')
      store:update('parents', { id = '2', n = 2 })
      assert.equal(epoch, keys:epoch('public.children'))
    end)

    it('turns the table to which a changed key cascades', function()
      store:query([[CREATE TABLE owners (id bigint PRIMARY KEY, value jsonb,
          code text GENERATED ALWAYS AS (value->>'code') STORED UNIQUE);
        CREATE TABLE owned (id bigint PRIMARY KEY, value jsonb, code text
          REFERENCES owners (code) ON UPDATE CASCADE)]])
      keys:ready(store, 'public.owned')
      store:insert('owners', { id = '1', code = 'a' })
      store:query("INSERT INTO owned VALUES (1, '{}', 'a')")
      local epoch = keys:ready(store, 'public.owned')
      store:update('owners', { id = '1', code = 'b' })
      assert.equal('b', store:query('SELECT code FROM owned')[1].code)
      keys:turned('public.owned', epoch)
    end)
  end)
end)

--- What the database changes by itself: rows that no statement named are as fresh as those that one
--- did, in every process.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('rows that change without being named', function()
  local store, other, db, keys
  local number = 0

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    store:query([[CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        EXECUTE format('UPDATE %I SET value = value || jsonb_build_object(''n'','
          || ' (value->>''n'')::int + 100)', TG_ARGV[0]);
        RETURN coalesce(NEW, OLD);
      END $$]])
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  -- Two tables of a spec's own: writes to the first one reach into the second one, or will.
  local function pair(extra)
    number = number + 1
    local a, b = 'a' .. number, 'b' .. number
    store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)%s;'
      .. ' CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(a, extra or '', b))
    return a, b
  end

  -- Rows 1 to 3 of a table, cached for both processes.
  local function warm(name)
    keys:ready(store, 'public.' .. name)
    for i = 1, 3 do store:upsert(name, { id = tostring(i), n = i }) end
    support.eventually(function()
      for i = 1, 3 do
        for _, one in ipairs({ store, other }) do one:find(name, tostring(i)) end
      end
      for i = 1, 3 do
        if (keys:row('public.' .. name, tostring(i)) or ''):sub(1, 1) ~= 'V' then return false end
      end
      return true
    end, 20, 'rows of ' .. name)
  end

  local function fresh(name)
    for _ = 1, 3 do
      for i = 1, 3 do
        local id = tostring(i)
        local truth = store:find(name, id, { cache = false })
        assert.same(truth, store:find(name, id))
        assert.same(truth, other:find(name, id))
      end
    end
    return store:find(name, '2', { cache = false })
  end

  local function trigger(on, into, kind)
    return ('CREATE %s bump_%s AFTER INSERT OR UPDATE OR DELETE ON %s %s FOR EACH ROW'
      .. " EXECUTE FUNCTION bump('%s')"):format(kind or 'TRIGGER', on, on,
      kind and 'DEFERRABLE INITIALLY DEFERRED' or '', into)
  end

  describe('by a trigger', function()
    it('are fresh though the transaction named another row of their table', function()
      local a, b = pair()
      store:query(trigger(a, b))
      warm(b)
      store:transaction(function(tx)
        tx:upsert(a, { id = '1' })
        tx:update(b, { id = '1', n = 7 })
      end)
      assert.equal(102, fresh(b).n)
    end)

    it('are fresh though another caller of the same tick named a row of their table', function()
      local a, b = pair()
      store:query(trigger(a, b))
      warm(b)
      for n = 1, 5 do
        stores.run(function()
          stores.all({
            function() store:upsert(a, { id = '1' }) end,
            function() store:update(b, { id = '1', n = n }) end,
          })
        end)
        assert.equal(2 + 100 * n, fresh(b).n)
      end
    end)

    it('of a constraint that is deferred are fresh, by verb, transaction and query', function()
      local a, b = pair()
      store:query(trigger(a, b, 'CONSTRAINT TRIGGER'))
      warm(b)
      store:upsert(a, { id = '1' })
      assert.equal(102, fresh(b).n)
      warm(b)
      store:transaction(function(tx) tx:upsert(a, { id = '2' }) end)
      assert.equal(102, fresh(b).n)
      warm(b)
      store:query(("INSERT INTO %s VALUES (3, '{}')"):format(a))
      assert.equal(102, fresh(b).n)
      warm(b)
      store:query(("INSERT INTO %s VALUES (4, '{}'); SELECT 1"):format(a))
      assert.equal(102, fresh(b).n)
    end)

    it('of a partition are fresh when its parent is written', function()
      local a, b = pair(' PARTITION BY RANGE (id)')
      store:query(('CREATE TABLE %s_p PARTITION OF %s FOR VALUES FROM (0) TO (100)'):format(a, a))
      warm(b)
      warm(a)
      store:query(trigger(a .. '_p', b))
      store:update(a, { id = '1', n = 5 })
      assert.equal(102, fresh(b).n)
      fresh(a)
    end)

    for _, isolation in ipairs({ 'repeatable read', 'serializable' }) do
      it('are fresh after a transaction that is ' .. isolation, function()
        local a, b = pair()
        warm(b)
        store:transaction(function(tx)
          tx:find(b, '1') -- the snapshot
          support.psql(db, trigger(a, b))
          tx:upsert(a, { id = '1' })
        end, { isolation = isolation })
        assert.equal(102, fresh(b).n)
      end)
    end
  end)

  describe('by what another process added meanwhile', function()
    local function written_before()
      local a, b = pair()
      for _, one in ipairs({ store, other }) do one:upsert(a, { id = '1', n = 1 }) end
      warm(a)
      warm(b)
      return a, b
    end

    it('are fresh: a trigger', function()
      local a, b = written_before()
      support.psql(db, trigger(a, b))
      store:update(a, { id = '1', n = 2 })
      assert.equal(102, fresh(b).n)
      warm(b)
      other:transaction(function(tx) tx:patch(a, '1', { set = { n = 3 } }) end)
      assert.equal(102, fresh(b).n)
    end)

    it('are fresh: a trigger that was there, and disabled', function()
      local a, b = pair()
      store:query(trigger(a, b))
      store:query(('ALTER TABLE %s DISABLE TRIGGER bump_%s'):format(a, a))
      store:upsert(a, { id = '1', n = 1 })
      warm(b)
      support.psql(db, ('ALTER TABLE %s ENABLE TRIGGER bump_%s'):format(a, a))
      store:update(a, { id = '1', n = 2 })
      assert.equal(102, fresh(b).n)
    end)

    it('are fresh: a foreign key that cascades', function()
      local a, b = written_before()
      support.psql(db, ('ALTER TABLE %s ADD a_id bigint REFERENCES %s ON DELETE SET NULL;'
        .. ' UPDATE %s SET a_id = 1; CREATE FUNCTION unlinked_%s() RETURNS trigger LANGUAGE plpgsql'
        .. " AS $$ BEGIN NEW.value = NEW.value || '{\"n\": 9}'; RETURN NEW; END $$;"
        .. ' CREATE TRIGGER unlinked BEFORE UPDATE ON %s FOR EACH ROW'
        .. ' EXECUTE FUNCTION unlinked_%s()'):format(b, a, b, b, b, b))
      store:delete(a, '1')
      assert.equal(9, fresh(b).n)
    end)

    it('are fresh: a trigger on a partition that came later', function()
      local a, b = pair(' PARTITION BY RANGE (id)')
      store:query(('CREATE TABLE %s_p PARTITION OF %s FOR VALUES FROM (0) TO (10)'):format(a, a))
      store:upsert(a, { id = '1', n = 1 })
      warm(b)
      support.psql(db, ('CREATE TABLE %s_q PARTITION OF %s FOR VALUES FROM (10) TO (20); %s')
        :format(a, a, trigger(a .. '_q', b)))
      store:upsert(a, { id = '11', n = 1 })
      assert.equal(102, fresh(b).n)
    end)

    it('are fresh: a rule', function()
      local a, b = written_before()
      support.psql(db, ('CREATE RULE also AS ON DELETE TO %s DO ALSO UPDATE %s'
        .. " SET value = value || '{\"n\": 50}'"):format(a, b))
      store:delete(a, '1')
      assert.equal(50, fresh(b).n)
    end)
  end)

  it('by a check whose function writes are fresh', function()
    local a, b = pair()
    store:query(([[CREATE FUNCTION writes_%s(jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN UPDATE %s SET value = value || '{"n": 60}'; RETURN true; END $$;
      ALTER TABLE %s ADD CHECK (writes_%s(value))]]):format(a, b, a, a))
    warm(b)
    store:upsert(a, { id = '1' })
    assert.equal(60, fresh(b).n)
  end)

  it('are read from PostgreSQL where a table has children that are no partitions', function()
    local a = pair()
    store:query(('CREATE TABLE %s_c (PRIMARY KEY (id)) INHERITS (%s)'):format(a, a))
    store:upsert(a, { id = '1', n = 1 })
    store:upsert(a .. '_c', { id = '2', n = 2 })
    store:upsert(a .. '_c', { id = '3', n = 3 })
    fresh(a)
    support.psql(db, ('UPDATE %s_c SET value = \'{"n": 8}\''):format(a))
    assert.equal(8, fresh(a).n)
    store:query(('DROP TABLE %s_c'):format(a))
    assert.is_nil(other:find(a, '2'))
  end)

  describe('with the table itself', function()
    local function renamed(one, a, b)
      one:query(('ALTER TABLE %s RENAME TO swap; ALTER TABLE %s RENAME TO %s;'
        .. ' ALTER TABLE swap RENAME TO %s'):format(a, b, a, b))
    end

    local function of_one_connection()
      return stores.Store.new(support.config(db.database, { poolsize = 1 }), support.redis())
    end

    it('are fresh after it was dropped and made anew by a pool of one that never met it', function()
      local _, b = pair()
      warm(b)
      local alone = of_one_connection()
      alone:query(('DROP TABLE %s; CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);'
        .. ' INSERT INTO %s SELECT i, \'{"n": 70}\' FROM generate_series(1, 3) i'):format(b, b, b))
      assert.equal(70, fresh(b).n)
      support.close(alone)
    end)

    it('are fresh after a swap of names by a pool of one, and none fills the other', function()
      local a, b = pair()
      warm(a)
      warm(b)
      store:query(('UPDATE %s SET value = \'{"n": 80}\''):format(b))
      warm(a)
      local alone = of_one_connection()
      for round = 1, 3 do
        renamed(alone, a, b)
        keys:forget_oids()
        assert.equal(round % 2 == 1 and 80 or 2, fresh(a).n)
        assert.equal(round % 2 == 1 and 2 or 80, fresh(b).n)
      end
      support.close(alone)
    end)

    it('are fresh after it went into another schema', function()
      local _, b = pair()
      warm(b)
      local alone = of_one_connection()
      alone:query(('CREATE SCHEMA IF NOT EXISTS aside; ALTER TABLE %s SET SCHEMA aside;'
        .. ' CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);'
        .. ' INSERT INTO %s SELECT i, \'{"n": 90}\' FROM generate_series(1, 3) i'):format(b, b, b))
      assert.equal(90, fresh(b).n)
      assert.equal(2, store:find('aside.' .. b, '2').n)
      support.close(alone)
    end)
  end)

  describe('by a function that a view or a policy calls', function()
    local function writing(b)
      store:query(([[CREATE FUNCTION seen_%s() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN UPDATE %s SET value = '{"n": 77}'; RETURN true; END $$]]):format(b, b))
    end

    local function kept_from_writing(name, b)
      local only = { { 'find', '1' }, { 'exists', '1' }, { 'findAllByIds', { '1', '2' } } }
      for _, call in ipairs(only) do
        support.refused('read_only', nil, store[call[1]], store, name, call[2])
        support.refused('read_only', nil, store.transaction, store, function(tx)
          tx[call[1]](tx, name, call[2])
        end)
      end
      assert.equal(2, fresh(b).n)
    end

    it('do not: what reads by id is kept from writing, as what searches is', function()
      local a, b = pair()
      writing(b)
      store:query(('CREATE VIEW %s_v AS SELECT id, value FROM %s WHERE seen_%s();'
        .. " INSERT INTO %s VALUES (1, '{}')"):format(a, a, b, a))
      warm(b)
      kept_from_writing(a .. '_v', b)
      store:query(('SELECT * FROM %s_v'):format(a))
      assert.equal(77, fresh(b).n)
    end)

    it('do not: a view that only reads is found, in a transaction that writes, too', function()
      local a, b = pair()
      store:query(('CREATE VIEW %s_v AS SELECT id, value FROM %s'):format(b, b))
      warm(a)
      warm(b)
      store:transaction(function(tx)
        tx:update(b, { id = '1', n = 5 })
        assert.equal(5, tx:find(b .. '_v', '1').n)
        assert.equal(2, tx:find(b .. '_v', '2').n)
        tx:update(a, { id = '2', n = 6 })
      end)
      assert.equal(5, store:find(b .. '_v', '1').n)
      assert.equal(6, fresh(a).n)
      fresh(b)
    end)
  end)

  it('by a cursor that runs to its end inside of COMMIT are fresh', function()
    local _, b = pair()
    store:query(([[CREATE FUNCTION moved_%s() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN UPDATE %s SET value = '{"n": 88}'; RETURN 1; END $$]]):format(b, b))
    local sql = ('DECLARE held CURSOR WITH HOLD FOR SELECT moved_%s()'):format(b)
    for _, run in ipairs({
      function() store:query(sql) end,
      function() store:query(sql .. '; SELECT 1') end,
      function() store:query("DO $$ BEGIN EXECUTE '" .. sql .. "'; END $$") end,
      function() store:transaction(function(tx) tx:query(sql) end) end,
    }) do
      warm(b)
      run()
      fresh(b)
    end
  end)

  describe('by a statement that is said to read only', function()
    local only = { readonly = true }

    it('do not: a lock of a row is one, and the row that is written is published', function()
      local a = pair()
      store:insert(a, { id = '1', n = 1 })
      warm(a)
      local before = keys:epoch('public.' .. a)
      store:transaction(function(tx)
        local rows = tx:query(('SELECT value FROM %s WHERE id = $1 FOR UPDATE'):format(a), { '1' },
          only)
        tx:update(a, { id = '1', n = rows[1].value.n + 1 })
      end)
      assert.equal(before, keys:epoch('public.' .. a))
      assert.equal(2, other:find(a, '1').n)
    end)

    it('are fresh: a lock and a function that writes', function()
      local a, b = pair()
      store:insert(a, { id = '1', n = 1 })
      store:insert(b, { id = '1', n = 1 })
      store:query(([[CREATE FUNCTION %s_write() RETURNS int LANGUAGE sql AS $$
        UPDATE %s SET value = '{"n": 7}'; SELECT 1 $$]]):format(b, b))
      warm(b)
      store:transaction(function(tx)
        tx:query(('SELECT %s_write() FROM %s FOR UPDATE'):format(b, a), nil, only)
      end)
      assert.equal(7, other:find(b, '1').n)
      assert.equal(7, store:find(b, '1').n)
    end)

    it('do not: one that writes without a lock is refused', function()
      local _, b = pair()
      support.refused('read_only', nil, store.transaction, store, function(tx)
        tx:query(('WITH x AS (INSERT INTO %s VALUES (1, $1) RETURNING id) SELECT * FROM x')
          :format(b), { '{}' }, only)
      end)
      assert.is_nil(store:find(b, '1'))
    end)
  end)
end)

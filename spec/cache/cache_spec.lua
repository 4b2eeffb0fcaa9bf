--- The cache in quiet times: what stands in Redis, and what a read gives.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null

describe('the cache', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs', 'other' })
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
    keys:ready(store, 'public.other')
  end)

  teardown(function() support.close(store, db) end)

  local last = 0
  local function fresh()
    last = last + 1
    return tostring(last)
  end

  -- How much figures of stats() grew while fn ran.
  local function grown(fn, names, of)
    local before = (of or store):stats()
    fn()
    local after, out = (of or store):stats(), {}
    for _, name in ipairs(names) do out[name] = after[name] - before[name] end
    return out
  end

  -- A document that stands in PostgreSQL and in the cache.
  local function cached(fields, name)
    local record = { id = fresh() }
    for key, value in pairs(fields or {}) do record[key] = value end
    keys:ready(store, 'public.' .. (name or 'docs'))
    store:insert(name or 'docs', record)
    support.eventually(function() -- a table whose facts have changed is turned by its first write
      store:find(name or 'docs', record.id)
      return (keys:row('public.' .. (name or 'docs'), record.id) or ''):find('^V') ~= nil
    end, 60)
    return record.id
  end

  local function sources(id, name)
    return grown(function() store:find(name or 'docs', id) end,
      { 'hits', 'misses', 'negative_hits' })
  end

  describe('in Redis', function()
    it('has one key for the epoch of a table and one for each row under it', function()
      local id = cached()
      local epoch = keys:epoch('public.docs')
      assert.matches('^V' .. ('[%w_-]'):rep(16) .. '%.%x+%.%x+$', epoch)
      local run_id = keys.cli('INFO', 'server'):match('run_id:(%x+)')
      local history = keys.cli('INFO', 'replication'):match('master_replid:(%x+)')
      assert.equal(run_id:sub(1, 8) .. history:sub(1, 8), epoch:match('^[^.]+%.(%x+)%.'))
      local oid = support.psql(db, "SELECT 'docs'::regclass::oid"):match('%d+')
      local key = ('%s{%s}/%s/%s'):format(keys.prefix, oid, epoch:sub(2), id)
      assert.equal('V{"id": "' .. id .. '"}', keys.cli('GET', key))
    end)

    it('knows a table by one name, however it is written', function()
      local id = cached()
      for _, name in ipairs({ 'docs', 'DOCS', 'public.docs', '"docs"', '"public".docs' }) do
        assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources(id, name), name)
      end
    end)

    it('keeps apart tables whose names differ by quotes alone', function()
      store:query('CREATE TABLE "Docs" (id bigint PRIMARY KEY, value jsonb)')
      local id = cached()
      keys:ready(store, 'public."Docs"')
      assert.is_nil(store:find('"Docs"', id))
      assert.equal('N', keys:row('public."Docs"', id))
      store:query('DROP TABLE "Docs"')
    end)

    it('lets rows live for the ttl and a tenth more or less', function()
      local other = stores.Store.new(db, support.redis(), { ttl = 100, negative_ttl = 50 })
      local ids, seen, distinct, began = {}, {}, 0, store.hub:now()
      for i = 1, 40 do
        ids[i] = fresh()
        if i % 2 == 0 then other:insert('docs', { id = ids[i] }) end
        other:find('docs', ids[i])
      end
      for i, id in ipairs(ids) do
        support.eventually(function() return keys:row('public.docs', id) end)
        local ms = tonumber(keys.cli('PTTL', keys:key('public.docs', id)))
        local ttl = i % 2 == 0 and 100000 or 50000
        local passed = (store.hub:now() - began) * 1000
        assert.is_true(ms <= ttl * 1.1 and ms >= ttl * 0.9 - passed, ms .. ' of ' .. ttl)
        if not seen[ms] then seen[ms], distinct = true, distinct + 1 end
      end
      assert.is_true(distinct > 20)
      support.close(other)
    end)

    it('gives the epoch no lifetime', function()
      assert.equal('-1', keys.cli('PTTL', keys:epoch_key('public.docs')))
    end)

    it('takes the prefix of the store', function()
      local other = stores.Store.new(db, support.redis(), { prefix = db.database .. '-mine:' })
      local mine = setmetatable({ prefix = db.database .. '-mine:' }, { __index = keys })
      mine:ready(other, 'public.docs')
      assert.is_nil(other:find('docs', '99999'))
      mine:becomes('public.docs', '99999', 'N')
      support.close(other)
    end)
  end)

  describe('on reads', function()
    it('is filled by a miss, and answers the next one', function()
      local id = fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{\"n\": 1.50}')"):format(id))
      assert.same({ hits = 0, misses = 1, negative_hits = 0 }, sources(id))
      keys:becomes('public.docs', id, 'V')
      assert.equal('V{"n": 1.50}', keys:row('public.docs', id))
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources(id))
      assert.same(store:find('docs', id, { cache = false }), store:find('docs', id))
      assert.equal('{"n": 1.50}', store:find('docs', id, { raw = true }))
    end)

    it('remembers that there is no row', function()
      local id = fresh()
      assert.same({ hits = 0, misses = 1, negative_hits = 0 }, sources(id))
      keys:becomes('public.docs', id, 'N')
      assert.same({ hits = 0, misses = 0, negative_hits = 1 }, sources(id))
      assert.is_false(store:exists('docs', id))
    end)

    it('answers a list by what it has and asks for the rest at once', function()
      local a, b, c, d = cached(), fresh(), fresh(), fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(c))
      assert.is_nil(store:find('docs', d))
      keys:becomes('public.docs', d, 'N')
      local found, missing
      local figures = grown(function()
        found, missing = store:findAllByIds('docs', { c, a, b, a, d })
      end, { 'hits', 'misses', 'negative_hits', 'selects' })
      assert.same({ { id = c }, { id = a }, { id = a } }, found)
      assert.same({ b, d }, missing)
      assert.same({ hits = 2, misses = 2, negative_hits = 1, selects = 1 }, figures)
      keys:becomes('public.docs', b, 'N')
      keys:becomes('public.docs', c, 'V')
    end)

    it('lets one of many readers of a cold row ask, and answers all', function()
      local id = fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(id))
      local figures = grown(function()
        local list = {}
        for i = 1, 200 do list[i] = i end
        stores.map(list, function() assert.same({ id = id }, store:find('docs', id)) end)
      end, { 'selects', 'fills' })
      assert.equal(1, figures.selects)
      keys:becomes('public.docs', id, 'V')
    end)

    it('does not wait long for the lease of another, and fills nothing without its own', function()
      local id = fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(id))
      local lease = 'L' .. ('x'):rep(16)
      keys.cli('SET', keys:key('public.docs', id), lease, 'PX', 30000)
      local began = store.hub:now()
      local figures = grown(function() assert.same({ id = id }, store:find('docs', id)) end,
        { 'leases_refused', 'lease_waits' })
      assert.is_true(store.hub:now() - began < 10)
      assert.same({ leases_refused = 4, lease_waits = 3 }, figures)
      assert.equal(lease, keys:row('public.docs', id))
      keys.cli('DEL', keys:key('public.docs', id))
    end)

    it('takes what the holder of the lease has filled meanwhile', function()
      local id = fresh()
      local key = keys:key('public.docs', id)
      keys.cli('SET', key, 'L' .. ('x'):rep(16), 'PX', 3000)
      local figures = grown(function()
        stores.run(function()
          local task = stores.spawn(function() return store:find('docs', id) end)
          stores.sleep(0.001)
          keys.cli('SET', key, 'V{"filled": true}', 'PX', 1000)
          assert.same({ id = id, filled = true }, task:join())
        end)
      end, { 'hits', 'selects' })
      assert.same({ hits = 1, selects = 0 }, figures)
      keys.cli('DEL', key)
    end)

    it('keeps nothing over 256 KiB, by reads and by writes', function()
      -- the text of a document: {"id": "N", "s": "xxx"}
      local function record(bytes)
        local id = fresh()
        return { id = id, s = ('x'):rep(bytes - #('{"s": "", "id": "%s"}'):format(id)) }
      end
      local fits, large = record(256 * 1024), record(256 * 1024 + 1)
      for _, doc in ipairs({ fits, large }) do
        store:insert('docs', doc)
        assert.same(doc, store:find('docs', doc.id))
        assert.same(doc, store:find('docs', doc.id))
      end
      keys:becomes('public.docs', fits.id, 'V')
      assert.is_nil(keys:row('public.docs', large.id))
      assert.equal(256 * 1024 + 1, #keys:row('public.docs', fits.id))
      store:update('docs', { id = fits.id, s = large.s .. 'xxxx' })
      keys:becomes('public.docs', fits.id, nil)
      assert.equal(#large.s + 4, #store:find('docs', fits.id).s)
    end)

    it('keeps nothing of a row whose value is NULL', function()
      local id = fresh()
      support.psql(db, ('INSERT INTO docs VALUES (%s, NULL)'):format(id))
      support.refused('not_a_document', nil, store.find, store, 'docs', id)
      keys:becomes('public.docs', id, nil)
      support.refused('not_a_document', nil, store.find, store, 'docs', id)
    end)

    it('is not asked where cache = false', function()
      local id = cached({ n = 1 })
      keys.cli('SET', keys:key('public.docs', id), 'V{"n": 2}')
      assert.equal(2, store:find('docs', id).n)
      assert.equal(1, store:find('docs', id, { cache = false }).n)
      assert.equal(1, store:findAllByIds('docs', { id }, { cache = false })[1].n)
      assert.is_true(store:exists('docs', id, { cache = false }))
      local absent = fresh()
      assert.is_nil(store:find('docs', absent, { cache = false }))
      assert.is_nil(keys:row('public.docs', absent))
      store:invalidate('docs', id)
      local other = stores.Store.new(db, support.redis(), { cache = false })
      keys.cli('SET', keys:key('public.docs', id), 'V{"n": 2}')
      assert.equal(1, other:find('docs', id).n)
      assert.is_nil(other:stats().redis_commands)
      support.close(other)
      store:invalidate('docs', id)
    end)
  end)

  describe('on writes', function()
    it('publishes what PostgreSQL returns', function()
      local id = fresh()
      store:insert('docs', { id = id, bb = 1, a = { 1.5, null } })
      keys:becomes('public.docs', id, 'V')
      assert.equal(('V{"a": [1.5, null], "bb": 1, "id": "%s"}'):format(id),
        keys:row('public.docs', id))
      store:update('docs', { id = id, c = 2 })
      keys:becomes('public.docs', id, 'V{"c": 2')
      store:upsert('docs', { id = id, c = 3 })
      keys:becomes('public.docs', id, 'V{"c": 3')
      store:updateProperty('docs', id, 'c', 4)
      keys:becomes('public.docs', id, 'V{"c": 4')
      store:patch('docs', id, { inc = { c = 1 } })
      keys:becomes('public.docs', id, 'V{"c": 5')
      store:updateObject('docs', id, function(doc) doc.c = doc.c + 1 end)
      keys:becomes('public.docs', id, 'V{"c": 6')
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources(id))
    end)

    it('knows a new row that was not there a moment ago', function()
      local id = fresh()
      assert.is_nil(store:find('docs', id))
      keys:becomes('public.docs', id, 'N')
      store:insert('docs', { id = id, n = 1 })
      assert.same({ id = id, n = 1 }, store:find('docs', id))
      keys:becomes('public.docs', id, 'V')
    end)

    it('knows that a row is gone', function()
      local id = cached()
      assert.is_true(store:delete('docs', id))
      assert.is_nil(store:find('docs', id))
      keys:becomes('public.docs', id, 'N')
      store:upsert('docs', { id = id, n = 2 })
      assert.same({ id = id, n = 2 }, store:find('docs', id))
    end)

    it('leaves no trace of a write that found no row', function()
      local id, own = fresh(), stores.Store.new(db, support.redis())
      local figures = grown(function()
        assert.is_false(own:delete('docs', id))
        assert.is_false(own:update('docs', { id = id }))
        assert.is_nil(own:updateProperty('docs', id, 'a', 1))
      end, { 'intents', 'settles_published', 'settles_deleted' }, own)
      own:close()
      assert.same({ intents = 0, settles_published = 0, settles_deleted = 0 }, figures)
      assert.is_nil(keys:row('public.docs', id))
      assert.is_nil(store:find('docs', id))
      keys:becomes('public.docs', id, 'N')
    end)

    it('leaves no trace of an insert whose id was taken', function()
      local id = cached({ n = 1 })
      local figures = grown(function()
        support.refused('duplicate', nil, store.insert, store, 'docs', { id = id, n = 2 })
      end, { 'intents' })
      assert.equal(0, figures.intents)
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources(id))
    end)

    it('has its intents placed with cache = false, and gets nothing else', function()
      local id = cached({ n = 1 })
      local figures = grown(function()
        store:update('docs', { id = id, n = 2 }, { cache = false })
      end, { 'intents' })
      assert.equal(1, figures.intents)
      keys:becomes('public.docs', id, nil)
      assert.equal(2, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
      store:delete('docs', id, { cache = false })
      keys:becomes('public.docs', id, nil)
    end)

    it('publishes the last of several writes of one transaction', function()
      local id = cached({ n = 1 })
      store:transaction(function(tx)
        tx:update('docs', { id = id, n = 2 })
        assert.equal(1, store:find('docs', id).n)
        assert.equal(2, tx:find('docs', id).n)
        tx:update('docs', { id = id, n = 3 })
      end)
      assert.equal(3, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
      assert.equal(3, store:find('docs', id).n)
    end)

    it('publishes nothing of a savepoint that was rolled back', function()
      local id = cached({ n = 1 })
      store:transaction(function(tx)
        pcall(tx.transaction, tx, function(inner)
          inner:update('docs', { id = id, n = 2 })
          error('no')
        end)
      end)
      assert.equal(1, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
      assert.equal(1, store:find('docs', id).n)
    end)

    it('keeps what it had when a transaction is rolled back', function()
      local id = cached({ n = 1 })
      pcall(store.transaction, store, function(tx)
        tx:update('docs', { id = id, n = 2 })
        error('no')
      end)
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources(id))
      assert.equal(1, store:find('docs', id).n)
    end)

    it('publishes nothing where COMMIT itself is refused', function()
      store:query([[CREATE TABLE late (id bigint PRIMARY KEY, value jsonb, up bigint
        REFERENCES docs DEFERRABLE INITIALLY DEFERRED)]])
      local id = cached({ n = 1 })
      support.refused('constraint', nil, store.transaction, store, function(tx)
        tx:update('docs', { id = id, n = 2 })
        tx:query('INSERT INTO late VALUES (1, $1, 999999)', { '{}' }, {})
      end)
      assert.equal(1, store:find('docs', id).n)
      assert.equal(1, store:find('docs', id, { cache = false }).n)
      store:query('DROP TABLE late')
      keys:ready(store, 'public.docs')
    end)

    it('is seen by every engine at once', function()
      local other = stores.Store.new(db, support.redis())
      local id = cached({ n = 0 })
      keys:ready(other, 'public.docs')
      for n = 1, 50 do
        local writer, reader = store, other
        if n % 2 == 0 then writer, reader = other, store end
        writer:update('docs', { id = id, n = n })
        assert.equal(n, reader:find('docs', id).n)
      end
      support.close(other)
    end)
  end)

  describe('where rows cannot be named', function()
    it('turns the table that a query wrote, and no other', function()
      local a, b = cached({ n = 1 }), cached({ n = 1 }, 'other')
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
      local id, docs = cached({ n = 1 }), keys:epoch('public.docs')
      store:query(([[UPDATE docs SET value = '{"n": 2}' WHERE id = %s; SELECT 1]]):format(id))
      assert.equal(2, store:find('docs', id).n)
      keys:turned('public.docs', docs)
    end)

    it('turns the tables that invalidates names, and asks for no other', function()
      local a, b = cached({ n = 1 }), cached({ n = 1 }, 'other')
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
      local a, b, docs = cached({ n = 1 }), cached({ n = 1 }), keys:epoch('public.docs')
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
      local id = cached({ n = 1 })
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
      local a, b = cached({ n = 1 }), cached({ n = 1 })
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
      local figures = grown(function()
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

  describe('where it cannot keep its promise', function()
    local function uncached(name, id, expected)
      local figures = grown(function()
        for _ = 1, 3 do assert.same(expected, store:find(name, id)) end
      end, { 'hits', 'misses', 'negative_hits', 'fills', 'leases_granted' })
      for figure, by in pairs(figures) do assert.equal(0, by, figure) end
    end

    it('does not serve views, but hears of writes through them', function()
      store:query('CREATE VIEW seen AS SELECT * FROM docs')
      local id = cached({ n = 1 })
      uncached('seen', id, { id = id, n = 1 })
      store:update('seen', { id = id, n = 2 })
      uncached('seen', id, { id = id, n = 2 })
      assert.equal(2, store:find('docs', id).n)
      keys:ready(store, 'public.docs')
      assert.equal(2, store:find('docs', id).n)
      store:transaction(function(tx) tx:update('seen', { id = id, n = 3 }) end)
      assert.equal(3, store:find('docs', id).n)
      keys:ready(store, 'public.docs')
    end)

    it('does not serve tables with row security, rules, or without a log', function()
      store:query([[CREATE TABLE secure (id bigint PRIMARY KEY, value jsonb);
        ALTER TABLE secure ENABLE ROW LEVEL SECURITY;
        CREATE UNLOGGED TABLE unlogged (id bigint PRIMARY KEY, value jsonb);
        CREATE TABLE ruled (id bigint PRIMARY KEY, value jsonb);
        CREATE RULE ruled AS ON DELETE TO ruled DO ALSO NOTIFY ruled]])
      for _, name in ipairs({ 'secure', 'unlogged', 'ruled' }) do
        store:query(("INSERT INTO %s VALUES (1, '{}')"):format(name))
        uncached(name, '1', { id = '1' })
        store:update(name, { id = '1', n = 1 })
        uncached(name, '1', { id = '1', n = 1 })
      end
    end)

    it('does not serve temporary tables', function()
      local alone = stores.Store.new(support.config(db.database, { poolsize = 1,
        on_connect = 'CREATE TEMP TABLE brief (id bigint PRIMARY KEY, value jsonb)' }),
        support.redis())
      alone:insert('brief', { id = '1' })
      assert.same({ id = '1' }, alone:find('brief', '1'))
      alone:update('brief', { id = '1', n = 1 })
      assert.same({ id = '1', n = 1 }, alone:find('brief', '1'))
      assert.equal(0, alone:stats().hits + alone:stats().misses)
      support.close(alone)
    end)

    it('stops to serve a table that gets row security', function()
      store:query('CREATE TABLE closing (id bigint PRIMARY KEY, value jsonb)')
      local other = stores.Store.new(db, support.redis())
      for _, one in ipairs({ store, other }) do keys:ready(one, 'public.closing') end
      store:insert('closing', { id = '1', n = 1 })
      keys:becomes('public.closing', '1', 'V')
      local epoch = keys:epoch('public.closing')
      store:query('ALTER TABLE closing ENABLE ROW LEVEL SECURITY')
      assert.equal(1, other:find('closing', '1').n)
      keys:turned('public.closing', epoch)
      other:find('closing', '1')
      uncached('closing', '1', { id = '1', n = 1 })
      local hits = other:stats().hits
      store:update('closing', { id = '1', n = 2 })
      for _ = 1, 3 do assert.equal(2, other:find('closing', '1').n) end
      assert.equal(hits, other:stats().hits)
      support.close(other)
    end)

    it('stops to serve one that gets it elsewhere, though all reads are hits #slow', function()
      store:query('CREATE TABLE closed (id bigint PRIMARY KEY, value jsonb)')
      keys:ready(store, 'public.closed')
      store:insert('closed', { id = '1', n = 1 })
      keys:becomes('public.closed', '1', 'V')
      assert.equal(1, store:find('closed', '1').n)
      support.psql(db, 'ALTER TABLE closed ENABLE ROW LEVEL SECURITY')
      support.eventually(function()
        store:find('closed', '1')
        return store:stats().uncached['public.closed'] == 'row security'
      end, 15, 'the facts')
    end)

    it('serves nobody who has no right to read the table #slow', function()
      local role = 'role_' .. db.database
      store:query(('CREATE ROLE %s LOGIN'):format(role))
      store:query('CREATE TABLE secret (id bigint PRIMARY KEY, value jsonb)')
      keys:ready(store, 'public.secret')
      store:insert('secret', { id = '1', n = 1 })
      keys:becomes('public.secret', '1', 'V')
      local config = {}
      for key, value in pairs(db) do config[key] = value end
      config.user = role
      local stranger = stores.Store.new(config, support.redis())
      for _, opts in ipairs({ {}, { raw = true }, { cache = false } }) do
        local err = support.refused('query_failed', nil, stranger.find, stranger, 'secret', '1',
          opts)
        assert.equal('42501', err.sqlstate)
        support.refused('query_failed', nil, stranger.findAllByIds, stranger, 'secret', { '1' })
        support.refused('query_failed', nil, stranger.exists, stranger, 'secret', '1')
      end
      assert.equal(0, stranger:stats().hits)
      assert.equal('no right to read', stranger:stats().uncached['public.secret'])
      store:query(('GRANT SELECT (id, value) ON secret TO %s'):format(role)) -- which is enough
      support.eventually(function()
        assert.equal(1, stranger:find('secret', '1').n)
        return stranger:stats().hits > 0
      end, 30, 'a hit')
      -- all its reads are hits, which ask for nothing
      store:query(('REVOKE SELECT ON secret FROM %s'):format(role))
      support.eventually(function() return not pcall(stranger.find, stranger, 'secret', '1') end,
        15, 'the right to be gone')
      support.close(stranger)
      store:query(('DROP OWNED BY %s; DROP ROLE %s'):format(role, role))
    end)

    it('serves a partitioned table, and hears of writes to its partitions', function()
      store:query([[
        CREATE TABLE parted (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
        CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (0) TO (100);
        CREATE TABLE parted_b PARTITION OF parted FOR VALUES FROM (100) TO (200)]])
      keys:ready(store, 'public.parted')
      store:insert('parted', { id = '1', n = 1 })
      keys:becomes('public.parted', '1', 'V')
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, sources('1', 'parted'))
      uncached('parted_a', '1', { id = '1', n = 1 })
      for n, write in ipairs({
        function() store:update('parted', { id = '1', n = 1 }) end,
        function() store:update('parted_a', { id = '1', n = 2 }) end,
        function()
          store:transaction(function(tx) tx:update('parted_a', { id = '1', n = 3 }) end)
        end,
        function() store:query([[UPDATE parted_a SET value = '{"n": 4}']]) end,
        function() store:query([[UPDATE parted SET value = '{"n": 5}']]) end,
      }) do
        write()
        assert.equal(n, store:find('parted', '1').n)
        assert.equal(n, store:find('parted_a', '1').n)
        keys:ready(store, 'public.parted')
        store:find('parted', '1')
        keys:becomes('public.parted', '1', 'V')
      end
    end)
  end)
end)

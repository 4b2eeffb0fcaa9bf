--- The cache in quiet times: what stands in Redis, and what a read gives.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('the cache', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs' })
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
  end)

  teardown(function() support.close(store, db) end)

  describe('in Redis', function()
    it('has one key for the epoch of a table and one for each row under it', function()
      local id = keys:cached(store)
      local epoch = keys:epoch('public.docs')
      assert.matches('^V' .. ('[%w_-]'):rep(16) .. '%.%x+%.%x+%+$', epoch)
      local run_id = keys.cli('INFO', 'server'):match('run_id:(%x+)')
      local history = keys.cli('INFO', 'replication'):match('master_replid:(%x+)')
      assert.equal(run_id:sub(1, 8) .. history:sub(1, 8), epoch:match('^[^.]+%.(%x+)%.'))
      local oid = support.psql(db, "SELECT 'docs'::regclass::oid"):match('%d+')
      local key = ('%s{%s}~%s/%s'):format(keys.rows_prefix, oid, epoch:sub(2, 17), id)
      assert.equal('V{"id": "' .. id .. '"}', keys.cli('GET', key))
    end)

    it('knows a table by one name, however it is written', function()
      local id = keys:cached(store)
      for _, name in ipairs({ 'docs', 'DOCS', 'public.docs', '"docs"', '"public".docs' }) do
        assert.same({ hits = 1, misses = 0, negative_hits = 0 }, cache.sources(store, id, name),
          name)
      end
    end)

    it('keeps apart tables whose names differ by quotes alone', function()
      store:query('CREATE TABLE "Docs" (id bigint PRIMARY KEY, value jsonb)')
      local id = keys:cached(store)
      keys:ready(store, 'public."Docs"')
      assert.is_nil(store:find('"Docs"', id))
      keys:becomes('public."Docs"', id, 'N')
      store:query('DROP TABLE "Docs"')
    end)

    it('lets rows live for the ttl and a tenth more or less', function()
      local other = stores.Store.new(db, support.redis(), { ttl = 100, negative_ttl = 50 })
      local ids, seen, distinct, began = {}, {}, 0, store.hub:now()
      for i = 1, 40 do
        ids[i] = keys:fresh()
        if i % 2 == 0 then other:insert('docs', { id = ids[i] }) end
        other:find('docs', ids[i])
      end
      for i, id in ipairs(ids) do
        keys:becomes('public.docs', id, i % 2 == 0 and 'V' or 'N')
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
      local mine = setmetatable({ prefix = db.database .. '-mine:',
        rows_prefix = db.database .. '-mine:' }, { __index = keys })
      mine:ready(other, 'public.docs')
      assert.is_nil(other:find('docs', '99999'))
      mine:becomes('public.docs', '99999', 'N')
      support.close(other)
    end)
  end)

  describe('on reads', function()
    it('is filled by a miss, and answers the next one', function()
      local id = keys:fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{\"n\": 1.50}')"):format(id))
      assert.same({ hits = 0, misses = 1, negative_hits = 0 }, cache.sources(store, id))
      keys:becomes('public.docs', id, 'V')
      assert.equal('V{"n": 1.50}', keys:row('public.docs', id))
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, cache.sources(store, id))
      assert.same(store:find('docs', id, { cache = false }), store:find('docs', id))
      assert.equal('{"n": 1.50}', store:find('docs', id, { raw = true }))
    end)

    it('remembers that there is no row', function()
      local id = keys:fresh()
      assert.same({ hits = 0, misses = 1, negative_hits = 0 }, cache.sources(store, id))
      keys:becomes('public.docs', id, 'N')
      assert.same({ hits = 0, misses = 0, negative_hits = 1 }, cache.sources(store, id))
      assert.is_false(store:exists('docs', id))
    end)

    it('answers a list by what it has and asks for the rest at once', function()
      local a, b, c, d = keys:cached(store), keys:fresh(), keys:fresh(), keys:fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(c))
      assert.is_nil(store:find('docs', d))
      keys:becomes('public.docs', d, 'N')
      local found, missing
      local figures = cache.grown(store, function()
        found, missing = store:findAllByIds('docs', { c, a, b, a, d })
      end, { 'hits', 'misses', 'negative_hits', 'selects' })
      assert.same({ { id = c }, { id = a }, { id = a } }, found)
      assert.same({ b, d }, missing)
      assert.same({ hits = 2, misses = 2, negative_hits = 1, selects = 1 }, figures)
      keys:becomes('public.docs', b, 'N')
      keys:becomes('public.docs', c, 'V')
    end)

    it('lets one of many readers of a cold row ask, and answers all', function()
      local id = keys:fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(id))
      local figures = cache.grown(store, function()
        local list = {}
        for i = 1, 200 do list[i] = i end
        stores.map(list, function() assert.same({ id = id }, store:find('docs', id)) end)
      end, { 'selects', 'fills' })
      assert.equal(1, figures.selects)
      keys:becomes('public.docs', id, 'V')
    end)

    it('does not wait long for the lease of another, and fills nothing without its own', function()
      local id = keys:fresh()
      support.psql(db, ("INSERT INTO docs VALUES (%s, '{}')"):format(id))
      local lease = 'L' .. ('x'):rep(16)
      keys.cli('SET', keys:key('public.docs', id), lease, 'PX', 30000)
      local began = store.hub:now()
      local figures = cache.grown(store, function()
        assert.same({ id = id }, store:find('docs', id))
      end, { 'leases_refused', 'lease_waits' })
      assert.is_true(store.hub:now() - began < 10)
      assert.same({ leases_refused = 4, lease_waits = 3 }, figures)
      assert.equal(lease, keys:row('public.docs', id))
      keys.cli('DEL', keys:key('public.docs', id))
    end)

    it('takes what the holder of the lease has filled meanwhile', function()
      local id = keys:fresh()
      local key = keys:key('public.docs', id)
      keys.cli('SET', key, 'L' .. ('x'):rep(16), 'PX', 3000)
      local figures = cache.grown(store, function()
        stores.run(function()
          local task = stores.spawn(function() return store:find('docs', id) end)
          stores.sleep(0.001)
          keys.cli('SET', key, 'V{"filled": true}', 'PX', 20000)
          assert.same({ id = id, filled = true }, task:join())
        end)
      end, { 'hits', 'selects' })
      assert.same({ hits = 1, selects = 0 }, figures)
      keys.cli('DEL', key)
    end)

    it('keeps nothing over 256 KiB, by reads and by writes', function()
      -- the text of a document: {"id": "N", "s": "xxx"}
      local function record(bytes)
        local id = keys:fresh()
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
      local id = keys:fresh()
      support.psql(db, ('INSERT INTO docs VALUES (%s, NULL)'):format(id))
      support.refused('not_a_document', nil, store.find, store, 'docs', id)
      keys:becomes('public.docs', id, nil)
      support.refused('not_a_document', nil, store.find, store, 'docs', id)
    end)

    it('is not asked where cache = false', function()
      local id = keys:cached(store, { n = 1 })
      keys.cli('SET', keys:key('public.docs', id), 'V{"n": 2}')
      assert.equal(2, store:find('docs', id).n)
      assert.equal(1, store:find('docs', id, { cache = false }).n)
      assert.equal(1, store:findAllByIds('docs', { id }, { cache = false })[1].n)
      assert.is_true(store:exists('docs', id, { cache = false }))
      local absent = keys:fresh()
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
end)

--- Tables that the cache does not serve, or stops to serve, and whom it serves nothing.
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

  describe('where it cannot keep its promise', function()
    local function uncached(name, id, expected)
      local figures = cache.grown(store, function()
        for _ = 1, 3 do assert.same(expected, store:find(name, id)) end
      end, { 'hits', 'misses', 'negative_hits', 'fills', 'leases_granted' })
      for figure, by in pairs(figures) do assert.equal(0, by, figure) end
    end

    it('does not serve views, but hears of writes through them', function()
      store:query('CREATE VIEW seen AS SELECT * FROM docs')
      local id = keys:cached(store, { n = 1 })
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
      assert.same({ hits = 1, misses = 0, negative_hits = 0 }, cache.sources(store, '1', 'parted'))
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

--- Rows that are held in the memory of a process: read there without a round trip, and never older
--- than a write that was acknowledged, in whichever process (docs/held.md).

local redis_cli = require('spec.support.redis_cli')
local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')
local system = require('stores.local.system')

describe('a held table', function()
  local store, other, id, db

  local function again(opts)
    return stores.Store.new(db, support.redis(), opts)
  end

  before_each(function()
    store, db = support.store({ 'routes' }, { hold = { 'routes' } })
    other = again({ hold = { 'routes' } })
    id = store:insert('routes', { path = '/', list = { 1, 2, { deep = true } } }).id
  end)

  after_each(function()
    support.close(store)
    support.close(other)
  end)

  local function hold(of, what) cache.hold(of, 'routes', what or id) end

  it('is read from memory, without a round trip', function()
    hold(store)
    local before = store:stats()
    for _ = 1, 100 do assert.equal('/', store:find('routes', id).path) end
    local after = store:stats()
    assert.equal(before.held_hits + 100, after.held_hits)
    assert.equal(before.calls, after.calls)
    assert.equal(1, after.held_rows)
    assert.is_true(after.held_bytes > 0)
    assert.is_true(after.held_leases > 0)
  end)

  it('gives each caller a document of its own', function()
    hold(store)
    store:find('routes', id).path = 'mine'
    assert.equal('/', store:find('routes', id).path)
  end)

  it('is never older than a write of another process that was acknowledged', function()
    hold(store)
    hold(other)
    for n = 1, 30 do
      other:update('routes', { id = id, n = n })
      assert.equal(n, store:find('routes', id).n)
      assert.equal(n, other:find('routes', id).n)
    end
    hold(store)
    other:delete('routes', id)
    assert.is_nil(store:find('routes', id))
  end)

  it('holds that there is no row', function()
    local none = store:generateId()
    hold(store, none)
    assert.is_nil(store:find('routes', none))
    assert.is_false(store:exists('routes', none))
    other:insert('routes', { id = none, path = '/new' })
    assert.equal('/new', store:find('routes', none).path)
  end)

  it('hears of writes whose rows nobody names', function()
    hold(store)
    other:query([[UPDATE routes SET value = value || '{"n": 1}']])
    assert.equal(1, store:find('routes', id).n)
    hold(store)
    other:transaction(function(tx)
      tx:query([[UPDATE routes SET value = value || '{"n": 2}']])
    end, { isolation = 'repeatable read' })
    assert.equal(2, store:find('routes', id).n)
    hold(store)
    other:query([[UPDATE routes SET value = value || '{"n": 3}']], {},
      { transaction = false, invalidates = { 'routes' } })
    assert.equal(3, store:find('routes', id).n)
  end)

  it('is read anew after invalidate, of a row and of the table', function()
    for n, what in ipairs({ id, false }) do
      hold(store)
      support.psql(db, ([[UPDATE routes SET value = value || '{"n": %d}']]):format(n))
      if what then other:invalidate('routes', what) else other:invalidate('routes') end
      assert.equal(n, store:find('routes', id).n)
    end
  end)

  it('is let go of in time, also by a process whose loop nobody turns', function()
    hold(store)
    local waits = other:stats().held_waits
    local began = os.time()
    other:update('routes', { id = id, n = 1 }) -- both are in this process: one loop
    assert.is_true(os.time() - began < 10)
    assert.is_true(other:stats().held_waits > waits)
    assert.equal(1, store:find('routes', id).n)
  end)

  it('gives findAllByIds and raw reads their rows', function()
    local second = store:insert('routes', { path = '/second' }).id
    hold(store)
    hold(store, second)
    local calls = store:stats().calls
    local found, missing = store:findAllByIds('routes', { id, second })
    assert.same({ '/', '/second' }, { found[1].path, found[2].path })
    assert.same({}, missing)
    assert.matches('/second', store:find('routes', second, { raw = true }), 1, true)
    assert.is_true(store:exists('routes', id))
    assert.equal(calls, store:stats().calls)
  end)

  it('is passed by where the caller wants that', function()
    hold(store)
    local before = store:stats()
    for _, opts in ipairs({ { cache = false }, { hold = false } }) do
      assert.equal('/', store:find('routes', id, opts).path)
      assert.equal('/', (store:findAllByIds('routes', { id }, opts))[1].path)
      assert.is_true(store:exists('routes', id, opts))
    end
    assert.equal('/', store:find('routes', id, { hold = false, etag = true }).path)
    local after = store:stats()
    assert.equal(before.held_hits, after.held_hits)
    assert.equal(before.hits + 4, after.hits)
    support.eventually(function() -- nor is what was read kept anew
      hold(store)
      local one = store:find('routes', id, { shared = true })
      store:find('routes', id, { hold = false })
      return rawequal(one, store:find('routes', id, { shared = true }))
    end)
  end)

  it('keeps no more bytes than it is to, and lets go of the longest unused first', function()
    support.close(store)
    store = again({ hold = { 'routes' }, hold_bytes = 4000 })
    local ids = {}
    for n = 1, 40 do ids[n] = store:insert('routes', { n = n, text = ('x'):rep(200) }).id end
    for n = 1, 40 do hold(store, ids[n]) end
    local stats = store:stats()
    assert.is_true(stats.held_bytes <= 4000)
    assert.is_true(stats.held_rows > 2 and stats.held_rows < 20)
    local calls = store:stats().calls
    store:find('routes', ids[40])
    assert.equal(calls, store:stats().calls)
  end)

  -- Those of this process in the hashes of all tables.
  local function holders()
    local found, own = {}, '[^\n]*:' .. system.pid() .. ':[^\n]*'
    for key in redis_cli.ask(support.redis(), 'KEYS', '*/held'):gmatch('[^\n]+') do
      for field in redis_cli.ask(support.redis(), 'HKEYS', key):gmatch(own) do
        found[#found + 1] = field
      end
    end
    return found
  end

  it('is what its name means, and waits for nobody who is gone, after DDL', function()
    store:query('CREATE TABLE others (id bigint PRIMARY KEY, value jsonb)')
    store:insert('others', { id = id, path = '/others' })
    for _, path in ipairs({ '/others', '/', '/others', '/' }) do
      hold(store)
      hold(other)
      other:query('ALTER TABLE routes RENAME TO was; ALTER TABLE others RENAME TO routes; '
        .. 'ALTER TABLE was RENAME TO others')
      assert.equal(path, store:find('routes', id).path)
      assert.equal(path, other:find('routes', id).path)
    end
    assert.is_true(other:stats().held_evictions < 2) -- a busy machine may be silent for a second
    hold(store)
    other:query('TRUNCATE routes')
    assert.is_nil(store:find('routes', id))
    hold(store)
    other:query('DROP TABLE routes; CREATE TABLE routes (id bigint PRIMARY KEY, value jsonb)')
    assert.is_nil(store:find('routes', id))
    other:insert('routes', { id = id, path = '/new' })
    assert.equal('/new', store:find('routes', id).path)
  end)

  it('has no holders once its stores are closed, at whatever moment that was', function()
    for n = 0, 12 do
      local one = again({ hold = { 'routes' } })
      for _ = 1, 3 do one:find('routes', id) end
      for _ = 1, n do stores.sleep(0) end
      one:close()
    end
    support.close(store)
    support.close(other)
    support.eventually(function() return #holders() == 0 end, 20)
  end)

  describe('shared', function()
    local SHARED = { shared = true }

    it('is one document for all, which nobody may write to', function()
      hold(store)
      local one = store:find('routes', id, SHARED)
      assert.equal(one, store:find('routes', id, SHARED))
      assert.equal('/', one.path)
      assert.is_true(one.list[3].deep)
      for _, write in ipairs({ function() one.path = 'x' end, function() one.new = 1 end,
        function() one.list[1] = 5 end, function() one.list[3].deep = false end }) do
        local ok, err = pcall(write)
        assert.is_false(ok)
        assert.equal('read_only', err.code)
      end
      -- these pass by metatables
      for _, write in ipairs({ function() rawset(one, 'path', 'x') end,
        function() table.insert(one.list, 4) end, function() table.remove(one.list) end,
        function() table.sort(one.list) end, function() setmetatable(one.list, nil) end }) do
        assert.is_false(pcall(write))
      end
      assert.equal('/', store:find('routes', id, SHARED).path)
      assert.equal(1, store:find('routes', id, SHARED).list[1])
      assert.equal('/', store:find('routes', id).path)
    end)

    it('is read through, and copied, by functions that know it', function()
      hold(store)
      local one, keys = store:find('routes', id, SHARED), {}
      for key in stores.pairs(one) do keys[key] = true end
      for key in pairs(one) do keys[key] = (keys[key] or 0) and 2 end
      assert.same({ id = 2, path = 2, list = 2 }, keys)
      assert.equal(3, stores.len(one.list))
      assert.equal(3, #one.list)
      local numbers = {}
      for i, value in stores.ipairs(one.list) do numbers[i] = value end
      for i, value in ipairs(one.list) do assert.equal(numbers[i], value) end
      assert.equal(3, #numbers)
      local copy = stores.clone(one)
      copy.list[3].deep = 'changed'
      assert.is_true(one.list[3].deep)
      other:update('routes', copy)
      assert.equal('changed', store:find('routes', id, SHARED).list[3].deep)
      -- what would find it empty, were it a table
      for _, take in ipairs({ stores.json.encode, require('cjson').encode, next }) do
        assert.is_false(pcall(take, one))
      end
      assert.is_false(pcall(table.concat, one.list, ','))
    end)

    it('is refused where a table is wanted, by words that say what to do', function()
      hold(store)
      local one, hint = store:find('routes', id, SHARED), 'stores.clone gives a table'
      local function none() return one end
      for _, call in ipairs({
        { 'insert', one }, { 'update', one }, { 'insertMany', { one } }, { 'findByJSON', one },
        { 'patch', id, { set = { list = one.list } } }, { 'updateObject', id, none },
        { 'insert', { one = one } }, { 'findAll', { where = { { 'list', '=', one.list } } } },
      }) do
        local ok, err = pcall(store[call[1]], store, 'routes', unpack(call, 2))
        assert.is_false(ok)
        assert.truthy(tostring(err):find(hint, 1, true), call[1] .. ': ' .. tostring(err))
      end
    end)

    it('is read by the declaration that counts, and is gone at its time', function()
      finally(function() stores.define('routes', {}) end)
      local far, soon = os.time() + 1000, os.time() + 3
      store:update('routes', { id = id, path = '/', lasts = { til = far } })
      hold(store)
      assert.is_nil(store:find('routes', id, SHARED).extra)
      stores.define('routes', { version = 2, expires = { 'lasts', 'til' },
        upgrade = { [2] = function(doc) doc.extra = 'new' return doc end } })
      assert.equal('new', store:find('routes', id, SHARED).extra)
      other:update('routes', { id = id, lasts = { til = soon } })
      if store:find('routes', id, SHARED) then -- unless the machine was too busy
        hold(store)
        support.eventually(function() return not store:find('routes', id, SHARED) end, 20)
      end
    end)

    it('is gone in every form', function()
      finally(function() stores.define('routes', {}) end)
      store:update('routes', { id = id, path = '/', til = os.time() - 1000 })
      hold(store)
      stores.define('routes', { expires = 'til' })
      local hits = store:stats().held_hits
      for _, opts in ipairs({ {}, { raw = true }, SHARED, { shared = true, raw = true } }) do
        assert.is_nil(store:find('routes', id, opts))
        opts.must = true
        support.refused('not_found', nil, store.find, store, 'routes', id, opts)
        opts.must = nil
      end
      for _, raw in ipairs({ true, false }) do
        assert.same({}, (store:findAllByIds('routes', { id }, { raw = raw })))
      end
      assert.is_false(store:exists('routes', id))
      assert.is_true(store:stats().held_hits > hits)
    end)

    it('is kept as long as all of them are not too large', function()
      support.close(store)
      store = again({ hold = { 'routes' }, hold_bytes = 20000 })
      local kept = setmetatable({}, { __mode = 'v' })
      for n = 1, 40 do
        local one = store:insert('routes', { text = ('x'):rep(2000) }).id
        hold(store, one)
        kept[n] = store:find('routes', one, SHARED)
      end
      collectgarbage()
      collectgarbage()
      local count = 0
      for _ in pairs(kept) do count = count + 1 end
      assert.is_true(count <= 20, count)
    end)

    it('is another one once the row has changed', function()
      hold(store)
      local one = store:find('routes', id, SHARED)
      other:update('routes', { id = id, path = '/2' })
      assert.equal('/', one.path)
      assert.equal('/2', store:find('routes', id, SHARED).path)
    end)
  end)

  it('is held by the call that asks for it, and by who defined it so', function()
    store:query('CREATE TABLE prices (id bigint PRIMARY KEY, value jsonb)')
    local price = store:insert('prices', { amount = 5 }).id
    support.eventually(function()
      local hits = store:stats().held_hits
      store:find('prices', price, { hold = true })
      return store:stats().held_hits > hits
    end, 20)
    other:update('prices', { id = price, amount = 6 })
    assert.equal(6, store:find('prices', price, { hold = true }).amount)
  end)
end)

describe('a table that nobody holds', function()
  it('has no mark, and its writes are what they were', function()
    local store = support.store({ 'routes' })
    local id = store:insert('routes', { n = 0 }).id
    store:find('routes', id)
    store:update('routes', { id = id, n = 1 })
    store:invalidate('routes', id)
    assert.equal(0, store:query("SELECT count(*)::int AS n FROM pg_type "
      .. "WHERE typname LIKE 'stores_held_%'")[1].n)
    assert.equal(0, store:stats().held_waits)
    support.close(store)
  end)
end)

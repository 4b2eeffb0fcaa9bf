--- Documents of held rows that were decoded once, and are copied, or shared, after that.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('a document of a held table', function()
  local store, other, db

  local function again(opts)
    return stores.Store.new(db, support.redis(), opts)
  end

  before_each(function()
    store, db = support.store({ 'routes' }, { hold = { 'routes' } })
    other = again({ hold = { 'routes' } })
  end)

  after_each(function()
    support.close(store)
    support.close(other)
    stores.define('routes', {})
  end)

  local function hold(id) cache.hold(store, 'routes', id) end

  -- By its third read it is a copy.
  local function read(id)
    store:find('routes', id)
    store:find('routes', id)
    return store:find('routes', id)
  end

  it('is the same to each caller, and to each its own, deep', function()
    local text = '{"list": [1, {"deep": [[], {}, null]}], "object": {"a": {"b": [true]}}, '
      .. '"number": 1e400, "empty": [], "none": {}, "null": null}'
    local id = store:insert('routes', stores.json.decode(text)).id
    local asked = store:find('routes', id, { cache = false })
    hold(id)
    local one = read(id)
    assert.equal(stores.json.encode(asked), stores.json.encode(one))
    assert.is_true(stores.json.is_array(one.empty))
    assert.is_true(stores.json.is_array(one.list[2].deep[1]))
    assert.is_false(stores.json.is_array(one.none))
    one.list[2].deep[2].mine, one.object.a.b[1], one.new = true, 'mine', 'mine'
    setmetatable(one.empty, nil)
    assert.equal(stores.json.encode(asked), stores.json.encode(read(id)))
    local two = store:findAllByIds('routes', { id })[1]
    two.object.a = nil
    assert.equal(stores.json.encode(asked), stores.json.encode(read(id)))
  end)

  it('is read anew when its row has changed, whichever rows came and went', function()
    local ids = {}
    for n = 1, 40 do ids[n] = store:insert('routes', { n = n, list = { n } }).id end
    for round = 1, 4 do
      for n = 1, 40 do
        hold(ids[n])
        local expected = (round - 1) * 100 + n
        assert.equal(expected, read(ids[n]).n)
        assert.equal(expected, store:find('routes', ids[n], { shared = true }).n)
        assert.equal(expected, store:find('routes', ids[n], { shared = true }).list[1])
      end
      for n = 40, 1, -1 do
        local now = round * 100 + n
        other:update('routes', { id = ids[n], n = now, list = { now } })
      end
    end
  end)

  it('is what is declared, by each name of its table', function()
    local id = store:insert('routes', { n = 1 }).id
    hold(id)
    read(id)
    stores.define('routes', { hold = true, version = 2,
      upgrade = { [2] = function(doc) doc.extra = 'new' return doc end } })
    for _ = 1, 3 do
      hold(id)
      for _, opts in ipairs({ { shared = true, hold = true }, { hold = true } }) do
        assert.equal('new', store:find('routes', id, opts).extra)
        assert.equal('new', store:find('public.routes', id, opts).extra)
      end
    end
  end)

  it('is right where what upgrades it calls the store, and the row changes meanwhile', function()
    local id, calls = store:insert('routes', { n = 1 }).id, 0
    local second = store:insert('routes', { n = 1000 }).id
    hold(id)
    hold(second)
    stores.define('routes', { hold = true, version = 2, upgrade = { [2] = function(doc)
      if calls < 3 then
        calls = calls + 1
        other:query("UPDATE routes SET value = jsonb_set(value, '{n}', to_jsonb($2::int)) "
          .. 'WHERE id = $1', { id, calls + 1 }, { invalidates = { 'routes' } })
        hold(second)
        store:find('routes', second, { shared = true })
      end
      doc.extra = true
      return doc
    end } })
    for _ = 1, 8 do
      hold(id)
      store:find('routes', id, { shared = true })
    end
    assert.equal(4, store:find('routes', id, { shared = true }).n)
    assert.equal(4, store:find('routes', id).n)
    assert.equal(1000, store:find('routes', second, { shared = true }).n)
  end)

  it('makes room for those of another table, whose rows are held in its place', function()
    support.close(store)
    support.psql(db, 'CREATE TABLE prices (id bigint PRIMARY KEY, value jsonb)')
    store = again({ hold = { 'routes', 'prices' }, hold_bytes = 40000 })
    local engine = debug.getmetatable(store.engine).__index
    local decode, count = engine.held, 0
    engine.held = function(...) -- luacheck: ignore 122
      count = count + 1
      return decode(...)
    end
    finally(function() engine.held = decode end)
    local function fill(name, size)
      local ids = {}
      for n = 1, 20 do
        ids[n] = store:insert(name, { text = ('x'):rep(size) }).id
        cache.hold(store, name, ids[n])
        store:find(name, ids[n])
      end
      return ids
    end
    fill('routes', 1500)
    local ids = fill('prices', 100)
    other:query('DELETE FROM routes')
    for n = 1, 20 do cache.hold(store, 'prices', ids[n]) end
    for _ = 1, 2 do
      count = 0
      for n = 1, 20 do assert.equal(ids[n], store:find('prices', ids[n]).id) end
    end
    assert.is_true(count < 5, count)
  end)

  it('is decoded each time where those that are kept are as many as may be', function()
    support.close(store)
    store = again({ hold = { 'routes' }, hold_bytes = 40000 })
    local ids = {}
    for n = 1, 60 do
      ids[n] = store:insert('routes', { n = n, text = ('x'):rep(300), list = { n } }).id
      hold(ids[n])
    end
    for _ = 1, 3 do
      for n = 1, 60 do
        local one = store:find('routes', ids[n])
        assert.equal(n, one.list[1])
        one.list[1] = 'mine'
      end
    end
  end)
end)

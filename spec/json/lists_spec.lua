-- What a verb gives as a list is an array to every JSON library that can be told, also when it is
-- empty, and the rows of a query are one, too.

local dkjson = require('dkjson')
local migrations = require('stores.migrations')
local stores = require('stores')
local support = require('spec.support')
local two = require('spec.support.shards')

local json = stores.json

-- A process of its own, in which a cjson with the two marks of OpenResty's is found: the one that
-- is installed, where it has them, and else one that has nothing but them.
local CHILD = [[
local is_real, cjson = pcall(require, 'cjson')
if not is_real or not cjson.array_mt then
  is_real = false
  package.loaded.cjson = { array_mt = {}, empty_array_mt = {} }
  cjson = package.loaded.cjson
end
local stores = require('stores')
local store = stores.Store.new({ host = %q, port = %q, user = 'postgres', database = %q })
local lists = { store:findAll('docs'), store:findByJSON('docs', { a = 1 }, { limit = 5 }),
  (store:findAllByIds('docs', {})), select(2, store:findAllByIds('docs', {})),
  stores.json.array(), stores.json.decode('[]') }
for _, list in ipairs(lists) do
  assert(getmetatable(list) == cjson.array_mt)
  if is_real then assert(cjson.encode(list) == '[]') end
end
local rows = store:query('SELECT 1 AS n WHERE false')
assert(getmetatable(rows) == cjson.empty_array_mt and rows.affected == 0)
local some = store:query('SELECT 1 AS n')
if is_real then
  assert(cjson.encode(rows) == '[]' and cjson.encode(some) == '[{"n":1}]')
  assert(stores.json.encode({ cjson.empty_array, setmetatable({}, cjson.array_mt),
    setmetatable({}, cjson.empty_array_mt), cjson.null }) == '[[],[],[],null]')
end
store:close()
print('done')
]]

describe('a list', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  local function lists(target, on)
    return {
      findAll = target:findAll('docs'), page = target:findAll('docs', { limit = 3 }),
      before = target:findAll('docs', { limit = 3, before = '100' }),
      findAllByIds = (target:findAllByIds('docs', { '404' })),
      missing = select(2, target:findAllByIds('docs', {})),
      findByJSON = target:findByJSON('docs', { a = 1 }),
      findByJsonArrayContains = target:findByJsonArrayContains('docs', 'a', 1),
      findByJsonSubContains = target:findByJsonSubContains('docs', 'a', { b = 1 }),
      findByPath = target:findByPath('docs', '$.a'),
      raw = target:findAll('docs', { raw = true }),
      query = target:query('SELECT 1 WHERE false', nil, on),
      patched = (target:patchWhere('docs', { a = 1 }, { set = { b = 1 } })),
      deleted = (target:deleteWhere('docs', { a = 1 })),
    }
  end

  local function are_arrays(all)
    for name, list in pairs(all) do
      assert.equal(0, #list, name)
      assert.equal('[]', json.encode(list), name)
      assert.equal('[]', dkjson.encode(list), name)
      assert.is_true(json.is_array(list), name)
    end
  end

  it('that is empty is an empty array, of a store and of a transaction', function()
    are_arrays(lists(store))
    store:transaction(function(tx) are_arrays(lists(tx)) end)
    assert.equal('{}', json.encode(store:findAllByIds('docs', {}, { as = 'map' })))
  end)

  it('is one of shards, too, whose rows tell what they affected beside', function()
    local shards, databases = two.open(2, { 'docs' })
    are_arrays(lists(shards, { on = 'all' }))
    local rows, affected = shards:query('SELECT 1 AS one', nil, { on = 'all' })
    assert.equal('[{"one":1},{"one":1}]', json.encode(rows))
    assert.equal('[{"one":1},{"one":1}]', dkjson.encode(rows))
    assert.same({ 2, 2, 2 }, { rows.affected, affected, #rows })
    two.close(shards, databases)
  end)

  it('of documents, or of rows, is an array of them', function()
    store:insert('docs', { id = '1', n = 1 })
    store:insert('docs', { id = '2', n = 2 })
    assert.equal('[1,2]', json.encode(stores.map(store:findAll('docs'), function(doc)
      return doc.n
    end)))
    local text = json.encode(store:findAll('docs'))
    assert.equal('[', text:sub(1, 1))
    assert.same({ { id = '1', n = 1 }, { id = '2', n = 2 } }, json.decode(text))
    local rows = store:query('SELECT 1 AS a, true AS b')
    assert.same({ { a = 1, b = true } }, json.decode(json.encode(rows)))
    assert.same({ { a = 1, b = true } }, (dkjson.decode(dkjson.encode(rows))))
    assert.equal('[', require('cjson').encode(rows):sub(1, 1))
    store:query('TRUNCATE docs')
  end)

  it('of migrations is one, too', function()
    local none = {}
    local result = store:migrate(none)
    are_arrays({ ran = result.ran, skipped = result.skipped,
      plan = migrations.plan(none, store), status = migrations.status(none, store),
      lint = migrations.lint(none), pending = migrations.verify(none, store).pending })
    local later = migrations.plan({ { name = 'later', phase = 'contract',
      migration = 'DROP TABLE docs' } }, store)
    assert.is_true(json.is_array(later))
    local shards, databases = two.open(2, {})
    result = shards:migrate(none)
    are_arrays({ ran = result.ran, skipped = result.skipped })
    assert.equal('[[],[]]', json.encode(migrations.plan(none, shards)))
    two.close(shards, databases)
  end)

  it('can be stored in a document as it came', function()
    store:insert('docs', { id = '3', found = store:findAll('docs'),
      rows = store:query("UPDATE docs SET value = '{}' WHERE false") })
    assert.equal('{"rows": [], "found": []}',
      store:query("SELECT (value - 'id')::text AS v FROM docs")[1].v)
    store:query('TRUNCATE docs')
  end)

  it('is marked as the cjson of OpenResty marks its own', function()
    local path = os.tmpname()
    local at = support.config(db.database)
    local file = assert(io.open(path, 'w'))
    file:write((CHILD:format(at.host, tostring(at.port), at.database)))
    file:close()
    local pipe = assert(io.popen('luajit ' .. path .. ' 2>&1'))
    local output = pipe:read('*a')
    pipe:close()
    os.remove(path)
    assert.equal('done\n', output)
  end)
end)

describe('rows of a query', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  it('tell how many they are, or were changed, in a field that is no member, and beside', function()
    store:query("INSERT INTO docs SELECT i, '{}' FROM generate_series(1, 3) i")
    for _, target in ipairs({ store, 'tx' }) do
      local function check(on)
        local rows, affected = on:query("UPDATE docs SET value = '{\"a\": 1}'")
        assert.same({ 3, 3, 0 }, { rows.affected, affected, #rows })
        assert.is_nil(next(rows))
        rows, affected = on:query('SELECT id FROM docs')
        assert.same({ 3, 3, 3 }, { rows.affected, affected, #rows })
        rows[4] = { id = 4 }
        assert.equal(3, rows.affected)
        assert.is_nil(rows.other)
      end
      if target == 'tx' then store:transaction(check) else check(target) end
    end
    local rows, affected = store:query('VACUUM docs; SELECT 1 AS one', nil,
      { transaction = false, invalidates = { 'docs' } })
    assert.same({ 1, 1, 1 }, { rows[1].one, rows.affected, affected })
  end)

  it('do not give what they affected to other arrays, and are let go', function()
    assert.is_nil(json.array().affected)
    assert.is_nil(store:findAll('docs').affected)
    local weak = setmetatable({ store:query('SELECT 1') }, { __mode = 'v' })
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)
end)

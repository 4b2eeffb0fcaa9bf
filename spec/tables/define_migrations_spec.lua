--- The migrations that come of a declared table.
-- Plain pass alone: SQL that plain Lua writes, over verbs that have the other passes.

local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local store, db

setup(function() store, db = support.store() end)
teardown(function() support.close(store, db) end)

local function names(list)
  local found = {}
  for i, item in ipairs(list) do found[i] = item.name end
  return found
end

local function valid(name)
  local rows = store:query('SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = '
    .. 'to_regclass($1)', { '"' .. name .. '"' })
  return rows[1] and rows[1].valid
end

local function all_are_skipped(list)
  for _, item in ipairs(migrations.plan(list, store)) do
    assert.equal('skip', item.action, item.name)
  end
end

describe('the migrations of a declared table', function()
  it('make the table and its indexes, and run once', function()
    local shop = stores.define('shop', { indexes = { 'age', { 'state', '-created' },
      { prefix = 'name' } }, unique = { 'email' }, expires = 'until' })
    local result = store:migrate({ shop })
    assert.equal(6, #result.ran)
    assert.equal(5, #shop.indexes)
    for _, index in ipairs(shop.indexes) do assert.is_true(valid(index.name), index.name) end
    assert.equal(0, #store:migrate({ shop }).ran)
    assert.is_truthy(store:insert('shop', { age = 1 }).id)
    local plan = store:findAll('shop', { where = { { 'age', '=', 1 } }, explain = true })
    assert.is_nil(plan.missing)
  end)

  it('stand in a list among others: itself, as a list, or unpacked', function()
    local one, two, three = stores.define('one', {}), stores.define('two', { indexes = { 'a' } }),
      stores.define('three', {})
    local list = { { name = 'first', migration = 'SELECT 1' }, one, two:migrations(),
      { name = 'second', migration = 'SELECT 2' }, unpack(three:migrations()) }
    assert.equal(6, #migrations.plan(list, store))
    local result = store:migrate(list)
    assert.same({ 'first', 'table one', 'table two', two:migrations()[2].name, 'second',
      'table three' }, result.ran)
    all_are_skipped(list)
  end)

  it('leave those that ran as they are, where an index comes to the others', function()
    local before = stores.define('grown', { indexes = { 'a', 'b' } })
    store:migrate({ before })
    local after = stores.define('grown', { indexes = { 'c', 'b', { 'a', '+b' } },
      unique = { 'a' } })
    local result = store:migrate({ before, after:migrations() and
      { name = 'between', migration = 'SELECT 1' } })
    assert.same({ 'between' }, result.ran)
    result = store:migrate({ after, { name = 'between', migration = 'SELECT 1' } })
    assert.equal(3, #result.ran)
    all_are_skipped({ after })
  end)

  it('build an index anew that a killed runner left INVALID', function()
    local broken = stores.define('broken', { indexes = { 'age' } })
    local list = broken:migrations()
    store:migrate({ list[1] })
    local name = broken.indexes[1].name
    store:query((list[2].migration:gsub('CONCURRENTLY', '')))
    store:query("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"" .. name
      .. "\"'::regclass")
    assert.is_false(valid(name))
    assert.same({ list[2].name }, store:migrate({ broken }).ran)
    assert.is_true(valid(name))
  end)

  it('name indexes within the bounds of names, each table its own', function()
    local long = ('x'):rep(60)
    local one = stores.define(long, { indexes = { { ('y'):rep(50), ('z'):rep(50) }, 'é' } })
    local two = stores.define('"Odd ""name"', { indexes = { 'a' } })
    assert.equal(5, #store:migrate({ one, two }).ran)
    for _, index in ipairs(one.indexes) do
      assert.is_true(#index.name <= 63)
      assert.is_true(valid(index.name))
    end
    assert.is_truthy(store:insert('"Odd ""name"', { a = 1 }).id)
    assert.equal(2, #names(two:migrations()))
  end)
end)

describe('shards', function()
  it('are migrated by the same list', function()
    local one, other = support.db(), support.db() -- one that is a shard is no other store's
    local shards = stores.Shards.new({ { id = 0, db = one }, { id = 1, db = other } })
    local spread = stores.define('spread', { indexes = { 'a' } })
    local sum = migrations.runMigrations({ spread }, shards)
    assert.equal(2, #sum.ran)
    assert.equal(2, #sum.shards[2].ran)
    shards:close()
    support.drop(one)
    support.drop(other)
  end)
end)

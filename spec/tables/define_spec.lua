--- stores.define: what is taken and what is refused, who knows of a definition, and what a strict
--- table refuses.

local stores = require('stores')
local support = require('spec.support')

local store, db

setup(function()
  store, db = support.store({ 'people', 'strict_people' })
end)
before_each(function() -- another spec may have defined it otherwise
  stores.define('strict_people', { strict = true,
    indexes = { 'age', { 'address', 'city' }, { 'state', '-created' } }, unique = { 'email' } })
end)
teardown(function() support.close(store, db) end)

local function refused(code, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal(code, err.code, tostring(err))
  return err
end

describe('stores.define', function()
  it('refuses what it does not know, and says what was probably meant', function()
    assert.matches("did you mean 'indexes'", refused('invalid_option', stores.define, 'x',
      { index = { 'a' } }).message)
    refused('invalid_option', stores.define, 'x', { version = 1.5 })
    refused('invalid_option', stores.define, 'x', { strict = 'yes' })
    refused('invalid_option', stores.define, 'x', { indexes = { a = 'b' } })
    refused('invalid_argument', stores.define, 'x', { indexes = { 'a..b' } })
    refused('invalid_argument', stores.define, 'x', { unique = { { prefix = 'a' } } })
    refused('invalid_table', stores.define, 'no name', {})
    refused('invalid_table', stores.define, nil, {})
    refused('invalid_option', stores.define, 'x', { version_member = 'v' })
  end)

  it('refuses versions that no function leads to', function()
    local function fn() end
    refused('invalid_option', stores.define, 'x', { upgrade = { [2] = fn } })
    refused('invalid_option', stores.define, 'x', { version = 3, upgrade = { [2] = fn } })
    refused('invalid_option', stores.define, 'x', { version = 3, upgrade = { [4] = fn } })
    refused('invalid_option', stores.define, 'x', { version = 2, upgrade = { [2] = 'fn' } })
    stores.define('x', { version = 3, upgrade = { [3] = fn } })
  end)

  it('is known to stores that were made before, however the name is written', function()
    assert.is_false(store.tables.folk)
    local definition = stores.define('folk', { hold = true })
    for _, name in ipairs({ 'folk', 'Folk', '"folk"', 'public.folk', '"public".FOLK' }) do
      assert.equal(definition, store.tables[name], name)
    end
    assert.is_false(store.tables['"Folk"'])
    assert.is_false(store.tables['other.folk'])
    assert.is_false(store.tables['not a name'])
  end)

  it('is one schema\'s where it names one', function()
    local own = stores.define('own.people', {})
    assert.equal(own, store.tables['OWN.people'])
    assert.not_equal(own, store.tables.people)
  end)

  it('holds for the tables of a store alone, where they are given to it', function()
    local mine = stores.define('people', { validate = function() return false, 'mine' end })
    stores.define('people', {})
    local other = stores.Store.new(db, nil, { tables = { mine } })
    refused('invalid_document', other.insert, other, 'people', { a = 1 })
    assert.is_truthy(store:insert('people', { a = 1 }).id)
    local none = stores.Store.new(db, nil, { tables = {} })
    assert.is_false(none.tables.people)
    other:close()
    none:close()
    refused('invalid_option', stores.Store.new, db, nil, { tables = { {} } })
    refused('invalid_option', stores.Store.new, db, nil, { tables = { people = mine } })
  end)
end)

describe('a strict table', function()
  local served = {
    { where = { { 'age', '>=', 18 } } },
    { where = { { 'address.city', '=', 'Ulm' } }, order = { 'age' } },
    { where = { { 'state', '=', 'open' } }, order = { '-created' } },
    { where = { { 'email', '=', 'a@b.c' } } },
    { contains = { name = 'Ada' } },
    { order = { 'age' }, limit = 3 },
    {},
  }

  local function holds_over(target)
    for i, opts in ipairs(served) do
      assert.same({}, { unpack(target:findAll('strict_people', opts)) }, i)
    end
    local err = refused('not_indexed', target.findAll, target, 'strict_people',
      { where = { { 'zip', '=', '89073' } } })
    assert.matches('^strict_people_zip_idx_%x+$', err.index)
    assert.is_truthy(err.message:find(err.index, 1, true))
    assert.matches('^CREATE INDEX CONCURRENTLY IF NOT EXISTS "' .. err.index, err.hint)
    refused('not_indexed', target.findAll, target, 'strict_people', { order = { 'name' } })
    refused('not_indexed', target.count, target, 'strict_people', nil,
      { where = { { 'zip', 'exists' } } })
    refused('not_indexed', target.findOne, target, 'strict_people', nil,
      { where = { { 'zip', 'exists' } } })
    refused('not_indexed', target.each, target, 'strict_people', { where = { { 'zip', '>', 1 } } })
    refused('not_indexed', target.deleteWhere, target, 'strict_people', nil,
      { where = { { 'zip', '>', 1 } } })
    refused('not_indexed', target.patchWhere, target, 'strict_people', nil, { set = { a = 1 } },
      { where = { { 'zip', '>', 1 } } })
    assert.equal(0, target:count('strict_people', { name = 'Ada' }))
    assert.same({}, { unpack(target:findByJsonArrayContains('strict_people', 'tags', 'x')) })
  end

  it('refuses what no declared index serves, by the name of the index', function()
    holds_over(store)
  end)

  it('does so in a transaction, which goes on', function()
    store:transaction(holds_over)
  end)

  it('names an index that serves, once it is made', function()
    local err = refused('not_indexed', store.findAll, store, 'strict_people',
      { where = { { 'zip', '=', 1 } } })
    store:query(err.hint, nil, { transaction = false, invalidates = {} })
    stores.define('strict_people', { strict = true, indexes = { 'zip' } })
    assert.same({}, { unpack(store:findAll('strict_people', { where = { { 'zip', '=', 1 } } })) })
    assert.is_truthy(store.tables.strict_people.by_constraint[err.index])
  end)
end)

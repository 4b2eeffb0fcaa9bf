--- The option `where`: what each condition matches, in a store and in a transaction, for every verb
--- that takes it; and what is refused.
-- Plain pass alone: a condition is SQL that plain Lua writes; its values are those of other verbs.

local stores = require('stores')
local support = require('spec.support')

local null, array = stores.json.null, stores.json.array
local ids_of, refused = support.ids_of, support.refused

local ODD = [[it's "%T" $1 \ -- {a,b}]] -- a name

describe('where', function()
  local store, db

  setup(function()
    store, db = support.store({ 'people' })
    for _, person in ipairs({
      { id = '1', name = 'Ann', age = 31, tags = { 'a', 'b' }, address = { city = 'Ulm' } },
      { id = '2', name = 'Bo', age = 25, tags = { 'b' }, address = { city = 'Bonn' }, ok = true },
      { id = '3', name = 'Anna', age = 25.5, tags = array({}), ok = false },
      { id = '4', name = 'Äpfel', age = '25', address = null, ['a.b'] = 1 },
      { id = '5', name = null, age = null, [ODD] = 5 },
      { id = '6', age = true, address = { city = { 'Ulm' } }, NULL = 'x' },
      { id = '7', name = '', age = -3, address = { city = '' } },
      { id = '8', name = 8, age = stores.json.decode('9007199254740993'), null = 'y' },
    }) do
      store:insert('people', person)
    end
  end)
  teardown(function() support.close(store, db) end)

  -- What a `where` finds, by every verb that takes one, in a store and in a transaction.
  local function found(where)
    local lists = {}
    local function ask(target)
      lists[#lists + 1] = ids_of(target:findAll('people', { where = where }))
      lists[#lists + 1] = ids_of(target:findByJSON('people', nil, { where = where }))
      local walked = {}
      for document in target:each('people', { where = where, batch = 2 }) do
        walked[#walked + 1] = document.id
      end
      lists[#lists + 1] = table.concat(walked, ' ')
      local first = target:findOne('people', nil, { where = where })
      assert.equal(lists[1]:match('^%d*'), first and first.id or '')
      assert.equal(#walked, target:count('people', nil, { where = where }))
    end
    ask(store)
    store:transaction(ask)
    for i = 2, #lists do assert.equal(lists[1], lists[i]) end
    return lists[1]
  end

  it('compares with a value of any kind, numbers by their value', function()
    assert.equal('2', found({ { 'age', '=', 25 } }))
    assert.equal('2', found({ { 'age', '=', stores.json.decode('25.0') } }))
    assert.equal('4', found({ { 'age', '=', '25' } }))
    assert.equal('6', found({ { 'age', '=', true } }))
    assert.equal('8', found({ { 'age', '=', stores.json.decode('9007199254740993') } }))
    assert.equal('', found({ { 'age', '=', 2 ^ 53 } }))
    assert.equal('2', found({ { 'tags', '=', { 'b' } } }))
    assert.equal('3', found({ { 'tags', '=', array({}) } }))
    assert.equal('1', found({ { 'address', '=', { city = 'Ulm' } } }))
  end)

  it('takes a null and what is missing for the same', function()
    assert.equal('5 6', found({ { 'name', '=', null } }))
    assert.equal('1 2 3 4 7 8', found({ { 'name', 'exists' } }))
    assert.equal('5 6', found({ { 'name', 'exists', false } }))
    assert.equal('3 4 5 8', found({ { 'address.city', 'exists', false } }))
  end)

  it('orders numbers among numbers, and strings among strings', function()
    assert.equal('1 3 8', found({ { 'age', '>', 25 } }))
    assert.equal('1 2 3 8', found({ { 'age', '>=', 25 } }))
    assert.equal('7', found({ { 'age', '<', 25 } }))
    assert.equal('2 7', found({ { 'age', '<=', 25 } }))
    assert.equal('2 3', found({ { 'age', '>=', 25 }, { 'age', '<', 31 } }))
    assert.equal('4', found({ { 'age', '>', '1' } }))
    assert.equal('', found({ { 'age', '<', '1' } }))
    assert.equal('1 3 7', found({ { 'name', '<', 'B' } }))
    assert.equal('7', found({ { 'name', '<=', '' } }))
    assert.equal('2 3', found({ { 'ok', '>=', false } }))
    assert.equal('3', found({ { 'ok', '<', true } }))
    assert.equal('6', found({ { 'age', '<=', true } }))
  end)

  it('takes a value among several', function()
    assert.equal('1 2', found({ { 'address.city', 'in', { 'Ulm', 'Bonn', 'Rom' } } }))
    assert.equal('2 4 5', found({ { 'age', 'in', { 25, '25', null } } }))
    assert.equal('', found({ { 'age', 'in', {} } }))
    assert.equal('5', found({ { 'age', 'in', { null } } }))
    assert.equal('6', found({ { { 'address', 'city' }, 'in', { { 'Ulm' }, '","' } } }))
  end)

  it('takes the beginning of a string, by its characters', function()
    assert.equal('1 3', found({ { 'name', 'prefix', 'An' } }))
    assert.equal('3', found({ { 'name', 'prefix', 'Anna' } }))
    assert.equal('4', found({ { 'name', 'prefix', 'Ä' } }))
    assert.equal('1 2 3 4 7', found({ { 'name', 'prefix', '' } }))
    assert.equal('', found({ { 'name', 'prefix', 'A%' } }))
    assert.equal('', found({ { 'name', 'prefix', '8' } })) -- a number has none
    for i, text in ipairs({ '\127x', '\223\191x', '\237\159\191x', '\239\191\191x',
      '\244\143\191\191x', 'a\244\143\191\191x' }) do
      local id = tostring(100 + i)
      store:insert('people', { id = id, edge = text })
      assert.equal(id, found({ { 'edge', 'prefix', text:sub(1, -2) } }))
    end
    store:query('DELETE FROM people WHERE id > 100')
  end)

  it('looks into arrays', function()
    assert.equal('1 2', found({ { 'tags', 'has', 'b' } }))
    assert.equal('1', found({ { 'tags', 'has', { 'b', 'a' } } }))
    assert.equal('6', found({ { 'address.city', 'has', 'Ulm' } }))
  end)

  it('joins conditions by all, any and none', function()
    assert.equal('2', found({ { 'age', '>=', 25 }, { 'ok', '=', true } }))
    assert.equal('1 2', found({ any = { { 'age', '=', 31 }, { 'ok', '=', true } } }))
    assert.equal('1 4 5 6 7 8', found({ none = { { 'ok', '=', true }, { 'ok', '=', false } } }))
    assert.equal('1', found({ { 'name', 'prefix', 'A' }, none = { { 'ok', 'exists' } } }))
    assert.equal('1 3', found({
      any = { { { 'age', '>', 30 }, { 'age', '<', 40 } }, { any = { { 'ok', '=', false } } } },
    }))
    assert.equal('2 3', found({ { any = { { 'ok', '=', true }, { 'ok', '=', false } } },
      { any = { { 'age', '=', 25 }, { 'age', '=', 25.5 } } } }))
    assert.equal('1 2 3 7', found({ none = { { none = { { 'age', '<', 1000 } } } } }))
  end)

  it('knows the id of a row, whatever the document says', function()
    assert.equal('3', found({ { 'id', '=', '3' } }))
    assert.equal('2 3', found({ { 'id', '>', '1' }, { 'id', '<=', 3LL } }))
    assert.equal('1 8', found({ { 'id', 'in', { '8', '1', '77' } } }))
    refused('invalid_argument', "not 'prefix'", store.findAll, store, 'people',
      { where = { { 'id', 'prefix', '1' } } })
  end)

  it('reaches names with anything in them', function()
    assert.equal('4', found({ { { 'a.b' }, '=', 1 } }))
    assert.equal('5', found({ { { ODD }, '=', 5 } }))
    assert.equal('5', found({ { { ODD }, '>', 4 }, { { ODD }, 'in', { 5 } } }))
    assert.equal('6', found({ { 'NULL', 'prefix', 'x' } }))
    assert.equal('8', found({ { 'null', '=', 'y' } }))
    assert.equal('', found({ { { '' }, '=', 1 } }))
    assert.equal('', found({ { { 'a', '', ODD }, 'has', ODD } }))
  end)

  it('takes values as data', function()
    for _, operator in ipairs({ '=', '<', '>=', 'prefix', 'has' }) do
      assert.is_string(found({ { 'nowhere', operator, ODD }, { 'nowhere', 'in', { ODD } } }))
    end
    assert.equal(8, store:count('people'))
  end)

  it('goes with containment', function()
    assert.equal('3', ids_of(store:findByJSON('people', { ok = false },
      { where = { { 'age', '>', 20 } } })))
    assert.equal('1', ids_of(store:findAll('people', { contains = { address = { city = 'Ulm' } },
      where = { { 'age', '>', 20 } } })))
    assert.equal(1, store:count('people', { ok = true }, { where = { { 'age', '=', 25 } } }))
    assert.equal('2', ids_of(store:findByJsonArrayContains('people', 'tags', 'b',
      { where = { { 'age', '<', 30 } } })))
    assert.equal('1', ids_of(store:findByPath('people', '$.tags', nil,
      { where = { { 'age', '>', 30 } } })))
    local walked = {}
    for document in store:each('people', { contains = { tags = { 'b' } }, order = { '-age' } }) do
      walked[#walked + 1] = document.id
    end
    assert.same({ '1', '2' }, walked)
  end)

  it('may not be empty where nothing else is asked', function()
    refused('empty_criteria', 'where', store.findAll, store, 'people', { where = {} })
    refused('empty_criteria', nil, store.findByJSON, store, 'people', nil, { where = {} })
    refused('empty_criteria', nil, store.count, store, 'people', {}, { where = {} })
    assert.equal('2', ids_of(store:findByJSON('people', { ok = true }, { where = {} })))
    assert.equal('2', ids_of(store:findByJSON('people', {}, { where = { { 'ok', '=', true } } })))
    assert.equal(8, store:count('people', {}, { where = {}, all = true }))
  end)

  it('is refused by name where it is not understood', function()
    local function wrong(text, where)
      refused('invalid_argument', text, store.findAll, store, 'people', { where = where })
    end
    wrong('must be a list of conditions', 'age > 5')
    wrong('two braces', { 'age', '>', 5 })
    wrong("did you mean '='?", { { 'age', '==', 5 } })
    wrong('say none = ', { { 'age', '!=', 5 } })
    wrong("known are", { { 'age', 'qqqqqq', 5 } })
    wrong('where[2] (.name) is nil', { { 'age', '=', 5 }, { 'name', '=', nil } })
    wrong('its operator is nil', { { 'age' } })
    wrong("knows no order of tables", { { 'age', '<', {} } })
    wrong("knows no order of nulls", { { 'age', '<', null } })
    wrong('where.any is empty', { any = {} })
    wrong('where.any[1] must be', { any = { 5 } })
    wrong("unknown group nor", { nor = { { 'a', '=', 1 } }, any = { { 'a', '=', 1 } } })
    wrong('has a gap', { { 'a', '=', 1 }, nil, { 'b', '=', 1 } })
    wrong('has extra too', { { 'a', '=', 1, extra = true } })
    wrong('empty name between its dots', { { 'a..b', '=', 1 } })
    wrong('the path of where[1]', { { 5, '=', 1 } })
    wrong('must be a string, for a prefix', { { 'a', 'prefix', 5 } })
    wrong('must be a list', { { 'a', 'in', 5 } })
    wrong('must be true or false', { { 'a', 'exists', 5 } })
    local deep = { { 'a', '=', 1 } }
    for _ = 1, 40 do deep = { any = { deep } } end
    wrong('deeper than 32', deep)
    refused('invalid_id', nil, store.findAll, store, 'people', { where = { { 'id', '=', 'x' } } })
    refused('invalid_document', '.a', store.findAll, store, 'people',
      { where = { { 'a', '=', print } } })
    refused('invalid_option', "did you mean 'where'?", store.findAll, store, 'people',
      { filter = {} })
  end)
end)

describe('fields', function()
  local store, db

  setup(function()
    store, db = support.store({ 'docs' })
    store:insert('docs', { id = '1', name = 'Ann', age = null, big = ('x'):rep(5000),
      address = { city = 'Ulm', zip = '1', geo = { x = 1, y = 2 } }, ['a.b'] = { 1 }, [ODD] = 5 })
    store:query([[INSERT INTO docs VALUES (2, '{"address": 5}'), (3, '[1]')]])
  end)
  teardown(function() support.close(store, db) end)

  local function of(fields, opts)
    local all = { fields = fields, where = { { 'id', '=', '1' } } }
    for key, value in pairs(opts or {}) do all[key] = value end
    local document = store:findOne('docs', nil, all)
    assert.same(document, store:findAll('docs', all)[1])
    store:transaction(function(tx)
      assert.same(document, tx:findByJSON('docs', nil, all)[1])
    end)
    return document
  end

  it('give these members, in their shape, and the id', function()
    assert.same({ id = '1', name = 'Ann', address = { city = 'Ulm' } },
      of({ 'name', { 'address', 'city' } }))
    assert.same({ id = '1', address = { zip = '1', geo = { y = 2 } } },
      of({ 'address.zip', 'address.geo.y', 'id' }))
    assert.same({ id = '1', address = { city = 'Ulm', zip = '1', geo = { x = 1, y = 2 } } },
      of({ 'address.city', 'address' }))
    assert.same({ id = '1', address = { city = 'Ulm', zip = '1', geo = { x = 1, y = 2 } } },
      of({ 'address', 'address.city' }))
    assert.same({ id = '1', ['a.b'] = { 1 }, [ODD] = 5 }, of({ { 'a.b' }, { ODD } }))
  end)

  it('give a null that is there, and nothing for what is not', function()
    assert.same({ id = '1', age = null }, of({ 'age', 'nowhere' }))
    assert.same({ id = '1' }, of({}))
    assert.same({ id = '2' }, store:findOne('docs', nil, { where = { { 'id', '=', '2' } },
      fields = { 'address.city' } }))
  end)

  it('are made by the server', function()
    local text = store:findOne('docs', nil, { where = { { 'id', '=', '1' } }, raw = true,
      fields = { 'name' } })
    assert.equal('{"id": "1", "name": "Ann"}', text)
    for document in store:each('docs', { fields = { 'name' }, where = { { 'name', 'exists' } } }) do
      assert.same({ id = '1', name = 'Ann' }, document)
    end
  end)

  it('are refused where the value is no document, and where they are none', function()
    refused('not_a_document', '3', store.findAll, store, 'docs', { fields = { 'a' } })
    for _, wrong in ipairs({ 'name', 5, { a = 'b' }, { 5 }, { 'a', nil, 'b' } }) do
      refused('invalid_argument', 'field', store.findAll, store, 'docs', { fields = wrong })
    end
  end)
end)

--- The verbs that look into documents: findByJSON, findOne, count, findByJsonArrayContains,
--- findByJsonSubContains, findByPath. What they match; that they do it by the GIN index:
--- criteria_index_spec.
-- Plain pass alone: SQL that plain Lua writes.

local stores = require('stores')
local support = require('spec.support')

local null, array = stores.json.null, stores.json.array
local ids_of, refused = support.ids_of, support.refused

describe('criteria', function()
  local store, db

  setup(function()
    store, db = support.store({ 'people', 'quoted' })
    for _, person in ipairs({
      { id = '1', name = 'Ann', age = 31, tags = { 'a', 'b' },
        address = { city = 'Ulm', zip = '1' } },
      { id = '2', name = 'Bo', age = 25, tags = { 'b', 'c' }, address = { city = 'Bonn' } },
      { id = '3', name = 'Cy', age = 25, tags = array({}), address = null },
      { id = '4', name = 'Di', tags = { { k = 1, l = 2 }, { 1, 2 } }, address = { city = 'Ulm' } },
      { id = '5', name = 'Ed', age = null, tags = 'a', deep = { list = { 'x', { y = 1 } } } },
      { id = '10', name = 'Ann', age = 25.5, deep = { list = 'x', ['a.b'] = { 'q' } } },
    }) do
      store:insert('people', person)
    end
  end)
  teardown(function() support.close(store, db) end)

  local function found(verb, ...) return ids_of(store[verb](store, 'people', ...)) end

  describe('of findByJSON', function()
    it('are contained in the documents', function()
      assert.equal('1 10', found('findByJSON', { name = 'Ann' }))
      assert.equal('1', found('findByJSON', { name = 'Ann', age = 31 }))
      assert.equal('2 3', found('findByJSON', { age = 25 }))
      assert.equal('10', found('findByJSON', { age = 25.5 }))
      assert.equal('', found('findByJSON', { age = '25' }))
      assert.equal('', found('findByJSON', { name = 'ann' }))
      assert.equal('1', found('findByJSON', { id = '1' }))
    end)

    it('reach into objects and arrays', function()
      assert.equal('1 4', found('findByJSON', { address = { city = 'Ulm' } }))
      assert.equal('1', found('findByJSON', { address = { city = 'Ulm', zip = '1' } }))
      assert.equal('1 2', found('findByJSON', { tags = { 'b' } }))
      assert.equal('1', found('findByJSON', { tags = { 'b', 'a' } }))
      assert.equal('4', found('findByJSON', { tags = { { k = 1 } } }))
      assert.equal('5', found('findByJSON', { deep = { list = { { y = 1 } } } }))
    end)

    it('match a null that is there, and not a member that is missing', function()
      assert.equal('5', found('findByJSON', { age = null }))
      assert.equal('3', found('findByJSON', { address = null }))
    end)

    it('match every object with an empty one, which is not empty criteria', function()
      assert.equal('1 2 4', found('findByJSON', { address = {} }))
      assert.equal('1 2 3 4', found('findByJSON', { tags = array({}) }))
    end)

    it('may not be empty unless that is meant', function()
      for _, empty in ipairs({ {}, { email = nil } }) do
        local err = refused('empty_criteria', '{all = true}', store.findByJSON, store, 'people',
          empty)
        assert.equal(400, err.http)
        refused('empty_criteria', nil, store.findOne, store, 'people', empty)
        refused('empty_criteria', nil, store.count, store, 'people', empty)
      end
      assert.equal('1 2 3 4 5 10', found('findByJSON', {}, { all = true }))
      assert.equal('1 2', found('findByJSON', {}, { all = true, limit = 2 }))
      assert.equal('1', store:findOne('people', {}, { all = true }).id)
    end)

    it('must be a table with names that can be stored', function()
      for _, wrong in ipairs({ 'x', 5, { 1, 2 }, array({}) }) do
        refused('invalid_argument', 'the criteria must be a table with names', store.findByJSON,
          store, 'people', wrong)
      end
      refused('invalid_argument', 'got nil', store.findByJSON, store, 'people')
      refused('invalid_document', '.a.f', store.findByJSON, store, 'people', { a = { f = print } })
    end)

    it('are data, whatever they hold', function()
      local evil = [['); DROP TABLE people; -- "\ $1 %T]]
      store:insert('quoted', { id = '1', [evil] = evil })
      assert.equal('1', ids_of(store:findByJSON('quoted', { [evil] = evil })))
      assert.equal('', found('findByJSON', { [evil] = evil }))
      assert.equal(6, store:count('people'))
    end)

    it('match numbers by their value, to the last digit', function()
      local exact = stores.json.decode('9007199254740993')
      store:insert('quoted', { id = '2', n = exact })
      assert.equal('2', ids_of(store:findByJSON('quoted', { n = exact })))
      assert.equal('', ids_of(store:findByJSON('quoted', { n = 2 ^ 53 })))
      store:insert('quoted', { id = '3', n = stores.json.decode('1.0') })
      assert.equal('3', ids_of(store:findByJSON('quoted', { n = 1 })))
    end)
  end)

  describe('with options', function()
    it('page by limit and after, in the order of the ids as numbers', function()
      assert.equal('1', found('findByJSON', { name = 'Ann' }, { limit = 1 }))
      assert.equal('10', found('findByJSON', { name = 'Ann' }, { after = '1' }))
      assert.equal('10', found('findByJSON', { name = 'Ann' }, { after = '9', limit = 5 }))
      assert.equal('', found('findByJSON', { name = 'Ann' }, { after = '10' }))
      assert.equal('', found('findByJSON', { name = 'Ann' }, { limit = 0 }))
    end)

    it('are ordered by id either way', function()
      assert.equal('10 1', found('findByJSON', { name = 'Ann' }, { order = 'desc' }))
      assert.equal('1', found('findByJSON', { name = 'Ann' }, { order = 'desc', after = '10' }))
      assert.equal('10', store:findOne('people', { name = 'Ann' }, { order = '-id' }).id)
    end)

    it('are ordered by what is at a path, those without it last', function()
      -- a null is no value; equals come in the order of their ids, which goes the way of the key
      assert.equal('2 3 10 1 4 5', found('findByJSON', {}, { all = true, order = { 'age' } }))
      assert.equal('1 10 3 2 5 4', found('findByJSON', {},
        { all = true, order = { 'age', 'desc' } }))
      assert.equal('2 1 4', found('findByJSON', { address = {} },
        { order = { { 'address', 'city' } } }))
      assert.equal('4 1 2', found('findByJSON', { address = {} },
        { order = { { 'address', 'city' }, 'desc' } }))
      assert.equal('4', found('findByJSON', { address = {} },
        { order = { { 'address', 'city' }, 'desc' }, limit = 1 }))
    end)

    it('give JSON texts with raw', function()
      local texts = store:findByJSON('people', { name = 'Bo' }, { raw = true })
      assert.equal(1, #texts)
      assert.equal('Bo', stores.json.decode(texts[1]).name)
      assert.equal('string', type(store:findOne('people', { name = 'Bo' }, { raw = true })))
    end)

    it('give a document or nil, or raise with must', function()
      assert.equal('Bo', store:findOne('people', { age = 25 }).name)
      assert.is_nil(store:findOne('people', { age = 1 }))
      local err = refused('not_found', 'people', store.findOne, store, 'people', { age = 1 },
        { must = true })
      assert.equal(404, err.http)
    end)

    it('give a number to count', function()
      assert.equal(2, store:count('people', { name = 'Ann' }))
      assert.equal(0, store:count('people', { name = 'Zoe' }))
      assert.equal(6, store:count('people'))
    end)
  end)

  describe('of findByJsonArrayContains', function()
    it('name an element of the array at a key', function()
      assert.equal('1', found('findByJsonArrayContains', 'tags', 'a'))
      assert.equal('1 2', found('findByJsonArrayContains', 'tags', 'b'))
      assert.equal('', found('findByJsonArrayContains', 'tags', 'z'))
      assert.equal('', found('findByJsonArrayContains', 'name', 'Ann'))
      assert.equal('', found('findByJsonArrayContains', 'missing', 'a'))
    end)

    it('name several elements, in any order', function()
      assert.equal('1', found('findByJsonArrayContains', 'tags', { 'b', 'a' }))
      assert.equal('2', found('findByJsonArrayContains', 'tags', { 'c' }))
      assert.equal('', found('findByJsonArrayContains', 'tags', { 'a', 'c' }))
    end)

    it('name an object that an element contains, or an array in the array', function()
      assert.equal('4', found('findByJsonArrayContains', 'tags', { k = 1 }))
      assert.equal('4', found('findByJsonArrayContains', 'tags', { { 2 } }))
      assert.equal('', found('findByJsonArrayContains', 'tags', { k = 2 }))
    end)

    it('take a path, of names with anything in them', function()
      assert.equal('5', found('findByJsonArrayContains', { 'deep', 'list' }, 'x'))
      assert.equal('5', found('findByJsonArrayContains', { 'deep', 'list' }, { y = 1 }))
      assert.equal('10', found('findByJsonArrayContains', { 'deep', 'a.b' }, 'q'))
      assert.equal('', found('findByJsonArrayContains', 'deep.list', 'x'))
    end)

    it('may be a null, but not nil', function()
      store:insert('quoted', { id = '20', list = { null, 1 } })
      assert.equal('20', ids_of(store:findByJsonArrayContains('quoted', 'list', null)))
      refused('invalid_argument', 'json.null', store.findByJsonArrayContains, store, 'people',
        'tags')
    end)

    it('may not be empty unless that is meant', function()
      refused('empty_criteria', nil, store.findByJsonArrayContains, store, 'people', 'tags', {})
      refused('empty_criteria', nil, store.findByJsonArrayContains, store, 'people', 'tags',
        array({}))
      assert.equal('1 2 3 4', found('findByJsonArrayContains', 'tags', array({}), { all = true }))
      assert.equal('4', found('findByJsonArrayContains', 'tags', {}, { all = true }))
    end)

    it('page and order as the others do', function()
      assert.equal('2', found('findByJsonArrayContains', 'tags', 'b', { after = '1', limit = 1 }))
      assert.equal('2 1', found('findByJsonArrayContains', 'tags', 'b',
        { order = { 'name', 'desc' } }))
    end)

    it('need a key', function()
      for _, wrong in ipairs({ {}, 5, { 'a', 5 }, { a = 'b' } }) do
        refused('invalid_argument', 'the key', store.findByJsonArrayContains, store, 'people',
          wrong, 'x')
      end
      refused('invalid_argument', 'the key', store.findByJsonArrayContains, store, 'people', nil,
        'x')
    end)
  end)

  describe('of findByJsonSubContains', function()
    it('are contained in the object at a key', function()
      assert.equal('1 4', found('findByJsonSubContains', 'address', { city = 'Ulm' }))
      assert.equal('1', found('findByJsonSubContains', 'address', { zip = '1' }))
      assert.equal('', found('findByJsonSubContains', 'address', { city = 'Ulm', zip = '2' }))
      assert.equal('5', found('findByJsonSubContains', 'deep', { list = { 'x' } }))
      assert.equal('10', found('findByJsonSubContains', { 'deep' }, { list = 'x' }))
      assert.equal('', found('findByJsonSubContains', 'name', { city = 'Ulm' }))
    end)

    it('may not be empty unless that is meant, and must have names', function()
      refused('empty_criteria', nil, store.findByJsonSubContains, store, 'people', 'address', {})
      assert.equal('1 2 4', found('findByJsonSubContains', 'address', {}, { all = true }))
      refused('invalid_argument', 'the document must be a table with names',
        store.findByJsonSubContains, store, 'people', 'address', { 'a' })
      refused('invalid_argument', 'got a string', store.findByJsonSubContains, store, 'people',
        'address', 'Ulm')
      refused('invalid_argument', 'got nil', store.findByJsonSubContains, store, 'people',
        'address')
    end)
  end)

  describe('of findByPath', function()
    it('are a path that finds something', function()
      assert.equal('1 2 4', found('findByPath', '$.address.city'))
      assert.equal('1', found('findByPath', '$ ? (@.age > 30)'))
      assert.equal('1 2', found('findByPath', '$.tags[*] ? (@ == "b")'))
      assert.equal('1 10', found('findByPath', '$ ? (@.name like_regex "^a" flag "i")'))
      assert.equal('5 10', found('findByPath', 'lax $.deep.list[*]'))
      assert.equal('5', found('findByPath', 'strict $.deep.list[*]'))
    end)

    it('take variables, which are data', function()
      assert.equal('1', found('findByPath', '$ ? (@.age > $least)', { least = 30 }))
      assert.equal('2', found('findByPath', '$ ? (@.name == $"the name")', { ['the name'] = 'Bo' }))
      assert.equal('5', found('findByPath', '$ ? (@.age == $none)', { none = null }))
      assert.equal('', found('findByPath', '$ ? (@.name == $name)', { name = '") || (1 == 1' }))
      assert.equal('', found('findByPath', '$ ? (@.name == $name)', { name = [[\' "]] }))
    end)

    it('are true as a predicate', function()
      assert.equal('1', found('findByPath', '$.age > 30', nil, { predicate = true }))
      assert.equal('2 3', found('findByPath', '$.age == $age', { age = 25 },
        { predicate = true, limit = 2 }))
      refused('invalid_argument', '{predicate = true}', store.findByPath, store, 'people',
        '$.age > 30')
    end)

    it('page and order as the others do', function()
      assert.equal('4', found('findByPath', '$.address.city', nil, { after = '2', limit = 1 }))
      assert.equal('4 2 1', found('findByPath', '$.address.city', nil, { order = 'desc' }))
    end)

    it('may not match every row unless that is meant', function()
      refused('empty_criteria', nil, store.findByPath, store, 'people', ' $ ')
      assert.equal(6, #store:findByPath('people', '$', nil, { all = true }))
    end)

    it('are refused where they cannot be read', function()
      refused('invalid_argument', 'has the variable $least', store.findByPath, store, 'people',
        '$ ? (@.age > $least)')
      refused('invalid_argument', 'is not used', store.findByPath, store, 'people', '$.age',
        { least = 1 })
      refused('invalid_argument', "go in the fourth", store.findByPath, store, 'people', '$.age',
        { limit = 1 })
      refused('invalid_argument', 'no literals for tables', store.findByPath, store, 'people',
        '$ ? (@.tags == $t)', { t = { 'a' } })
      for _, wrong in ipairs({ '', '  ', 5 }) do
        refused('invalid_argument', 'the path', store.findByPath, store, 'people', wrong)
      end
      local err = refused('invalid_argument', nil, store.findByPath, store, 'people', '$.a[')
      assert.equal('42601', err.sqlstate)
    end)
  end)

  it('of all verbs name a table that is not there', function()
    for _, call in ipairs({
      function() store:findByJSON('nowhere', { a = 1 }) end,
      function() store:findOne('nowhere', { a = 1 }) end,
      function() store:count('nowhere') end,
      function() store:findAll('nowhere') end,
      function() store:findByJsonArrayContains('nowhere', 'a', 1) end,
      function() store:findByJsonSubContains('nowhere', 'a', { b = 1 }) end,
      function() store:findByPath('nowhere', '$.a') end,
      function() store:each('nowhere')() end,
    }) do
      assert.equal(500, refused('table_not_found', 'nowhere', call).http)
    end
  end)
end)

--- updateProperty and patch: changes of a document by path, in one statement on the server.

local stores = require('stores')
local support = require('spec.support')

local null, array = stores.json.null, stores.json.array
local refused = support.refused
local store, db

setup(function() store, db = support.store({ 'docs' }) end)
teardown(function() support.close(store, db) end)

before_each(function()
  store:upsert('docs', { id = '1', n = 1, text = 'x', none = null, list = { 1 }, empty = array({}),
    object = { a = 1, b = { c = 2 } } })
end)

local function stored() return store:find('docs', '1', { cache = false }) end

-- What the call gives has to be what is stored, and what the cache says.
local function check(document)
  assert.same(stored(), document)
  assert.same(document, store:find('docs', '1'))
  return document
end

local function set(key, value, opts)
  return check(store:updateProperty('docs', '1', key, value, opts))
end

local function patch(spec, opts)
  return check(store:patch('docs', '1', spec, opts))
end

local function fails(code, text, verb, ...)
  local before = stored()
  local err = refused(code, text, store[verb], store, 'docs', '1', ...)
  assert.equal('none', err.outcome)
  assert.same(before, stored())
  return err
end

describe('updateProperty', function()
  it('sets a value of any kind at a name', function()
    for _, value in ipairs({ 5, 'text', true, false, null, array({}), {}, { 1, { 2 } },
                             { a = { b = null } } }) do
      assert.same(value, set('value', value).value)
    end
    assert.same({ 1 }, set('text', 'y').list)
  end)

  it('sets a value at a path, and leaves its neighbours alone', function()
    assert.same({ a = 1, b = { c = 3 } }, set({ 'object', 'b', 'c' }, 3).object)
    assert.same({ a = 1, b = { c = 3, d = 4 } }, set({ 'object', 'b', 'd' }, 4).object)
    assert.same({ a = { 9 }, b = { c = 3, d = 4 } }, set({ 'object', 'a' }, { 9 }).object)
    assert.equal(7, set({ 'n' }, 7).n)
  end)

  it('makes missing and null parents, as objects', function()
    assert.same({ b = { c = 'new' } }, set({ 'a', 'b', 'c' }, 'new').a)
    assert.same({ b = { c = 'new' } }, set({ 'none', 'b', 'c' }, 'new').none)
    assert.same({ a = 1, b = { c = 2 }, x = { y = { z = 1 } } },
      set({ 'object', 'x', 'y', 'z' }, 1).object)
    set({ 'half', 'null' }, null)
    assert.same({ null = { below = 1 } }, set({ 'half', 'null', 'below' }, 1).half)
  end)

  it('refuses a scalar or an array that is in the way, and says where and what', function()
    fails('path_blocked', "part 1 of .n.x must be an object, found number", 'updateProperty',
      { 'n', 'x' }, 1)
    fails('path_blocked', 'part 1 of .text.x.y must be an object, found string', 'updateProperty',
      { 'text', 'x', 'y' }, 1)
    fails('path_blocked', 'part 1 of .list', 'updateProperty', { 'list', '0' }, 1)
    fails('path_blocked', 'found array', 'updateProperty', { 'empty', 'x' }, 1)
    local err = fails('path_blocked', 'part 3 of .object.b.c.d must be an object, found number',
      'updateProperty', { 'object', 'b', 'c', 'd' }, 1)
    assert.equal(409, err.http)
    set('flag', true)
    fails('path_blocked', 'found boolean', 'updateProperty', { 'flag', 'x' }, 1)
  end)

  it('takes names literally, whatever they hold', function()
    local names = { 'a.b', '0', '-1', '', ' ', '"', '\\', "'", '{}', 'a,b', '$1', '%T', 'ä€😀',
                    'line\nbreak', 'NULL', 'null', '{a,b}', '*', '#' }
    for i, name in ipairs(names) do
      assert.equal(i, set(name, i)[name])
      assert.equal(i, set({ 'deep', name, name }, i).deep[name][name])
    end
    local document = stored()
    for i, name in ipairs(names) do assert.equal(i, document[name]) end
  end)

  it('keeps numbers to the last digit', function()
    local big = stores.json.decode('123456789012345678901234567890.5')
    assert.equal('123456789012345678901234567890.5', tostring(set('big', big).big))
    assert.equal('9007199254740993', tostring(set('cdata', 9007199254740993LL).cdata))
    assert.equal(0.1 + 0.2, set('sum', 0.1 + 0.2).sum)
    set('n', 5)
    assert.equal('123456789012345678901234567890.5', tostring(stored().big))
  end)

  it('cannot set the id, nor give no value', function()
    fails('invalid_argument', 'the id of a row cannot be changed', 'updateProperty', 'id', '2')
    fails('invalid_argument', 'the id of a row cannot be changed', 'updateProperty', { 'id' }, '1')
    fails('invalid_argument', 'the id of a row cannot be changed', 'updateProperty', { 'id', 'x' },
      '1')
    assert.equal('sub', set({ 'object', 'id' }, 'sub').object.id)
    fails('invalid_argument', 'say json.null', 'updateProperty', 'n', nil)
    fails('invalid_argument', 'say json.null', 'updateProperty', 'n')
  end)

  it('refuses a key that is none', function()
    for _, wrong in ipairs({ 5, true, {}, { 1 }, { 'a', 5 }, { a = 'b' }, 'a\0b', '\255' }) do
      fails('invalid_argument', 'the key', 'updateProperty', wrong, 1)
    end
    fails('invalid_argument', 'the key', 'updateProperty', nil, 1)
  end)

  it('refuses a value that cannot be stored, with its path in the document', function()
    fails('invalid_document', 'cannot store .object.x.f: function', 'updateProperty',
      { 'object', 'x' }, { f = print })
    fails('invalid_document', '.n', 'updateProperty', 'n', 0 / 0)
    local deep = {}
    for _ = 1, 511 do deep = { deep } end
    fails('invalid_document', nil, 'updateProperty', 'deep', { deep })
  end)

  it('gives nil where there is no such row, or raises with must', function()
    assert.is_nil(store:updateProperty('docs', '404', 'n', 1))
    refused('not_found', 'docs has no row 404', store.updateProperty, store, 'docs', '404', 'n', 1,
      { must = true })
    refused('table_not_found', nil, store.updateProperty, store, 'nowhere', '1', 'n', 1)
    assert.is_nil(store:find('docs', '404'))
  end)

  it('gives JSON text with raw', function()
    store:upsert('docs', { id = '2' })
    assert.equal('{"n": 1, "id": "2"}', store:updateProperty('docs', '2', 'n', 1, { raw = true }))
  end)

  it('refuses a row whose value is no object', function()
    support.psql(db, "INSERT INTO docs VALUES (3, '[1]'), (4, NULL)")
    for _, id in ipairs({ '3', '4' }) do
      refused('path_blocked', 'the value of the row', store.updateProperty, store, 'docs', id, 'n',
        1)
      refused('path_blocked', 'the value of the row', store.patch, store, 'docs', id,
        { merge = { n = 1 } })
    end
    support.psql(db, 'DELETE FROM docs WHERE id IN (3, 4)')
  end)

  it('loses no update of others, each of its own property', function()
    local names = {}
    for i = 1, 100 do names[i] = 'p' .. i end
    stores.map(names, function(name) store:updateProperty('docs', '1', name, name) end)
    local document = stored()
    for _, name in ipairs(names) do assert.equal(name, document[name]) end
    assert.same(document, store:find('docs', '1'))
  end)
end)

describe('patch', function()
  it('sets, adds, appends, removes and merges', function()
    local document = patch({
      set = { text = 'y', fresh = { 1 } },
      inc = { n = 2, started = 1 },
      append = { list = 2, begun = 'x' },
      remove = { 'none', { 'object', 'a' } },
      merge = { merged = true },
    })
    assert.same({ id = '1', text = 'y', fresh = { 1 }, n = 3, started = 1, list = { 1, 2 },
      begun = { 'x' }, object = { b = { c = 2 } }, merged = true, empty = {} }, document)
  end)

  it('goes in the order set, inc, append, remove, merge', function()
    assert.equal(15, patch({ set = { n = 10 }, inc = { n = 5 } }).n)
    assert.same({ 'a', 'b' }, patch({ set = { list = { 'a' } }, append = { list = 'b' } }).list)
    assert.is_nil(patch({ set = { gone = 1 }, remove = { 'gone' } }).gone)
    assert.equal('back', patch({ remove = { 'text' }, merge = { text = 'back' } }).text)
    assert.same({ x = { 'one' } }, patch({ set = { { { 'o', 'x' }, array({}) } },
      append = { { { 'o', 'x' }, 'one' } } }).o)
  end)

  it('takes paths as a list of {path, value}, in the order of the list', function()
    assert.same({ a = 5, b = { c = 4 } }, patch({
      set = { { { 'object', 'a' }, 5 }, { { 'object', 'b', 'c' }, 3 } },
      inc = { { { 'object', 'b', 'c' }, 2 }, { { 'object', 'b', 'c' }, -1 } },
    }).object)
    assert.equal(2, patch({ set = { { 'n', 1 }, { 'n', 2 } } }).n)
    assert.same({ 1, 'x', 'y' }, patch({ append = { { 'list', 'x' }, { { 'list' }, 'y' } } }).list)
    assert.same({ y = { z = 2 } }, patch({
      set = { { { 'fresh', 'x' }, 1 }, { 'fresh', { y = 1 } }, { { 'fresh', 'y' }, { z = 2 } } },
    }).fresh)
  end)

  describe('inc', function()
    it('starts from 0 where there is nothing, or null, also below', function()
      assert.equal(1, patch({ inc = { count = 1 } }).count)
      assert.equal(-2, patch({ inc = { none = -2 } }).none)
      assert.same({ y = 3 }, patch({ inc = { { { 'x', 'y' }, 3 } } }).x)
    end)

    it('is exact', function()
      set('n', 9007199254740993LL)
      assert.equal(9007199254740994, patch({ inc = { n = 1 } }).n)
      assert.equal('9007199254740995', tostring(patch({ inc = { n = 1 } }).n))
      set('n', 0.1)
      assert.equal(0.3, patch({ inc = { n = 0.2 } }).n)
      assert.equal(0, patch({ inc = { n = -0.3 } }).n)
      set('n', stores.json.decode('1e300'))
      assert.equal('number', type(patch({ inc = { n = 0 } }).n))
      assert.equal(1e300, stored().n)
      assert.equal('9223372036854775808', tostring(patch({ set = { n = 9223372036854775807LL },
        inc = { n = 1LL } }).n))
    end)

    it('refuses what is no number, in the document or in the patch', function()
      fails('path_blocked', '.text must be a number, found string', 'patch', { inc = { text = 1 } })
      fails('path_blocked', 'found array', 'patch', { inc = { list = 1 } })
      fails('path_blocked', 'part 1 of .text.x', 'patch', { inc = { { { 'text', 'x' }, 1 } } })
      for _, wrong in ipairs({ '1', true, null, {} }) do
        fails('invalid_argument', 'inc of .n needs a number', 'patch', { inc = { n = wrong } })
      end
      fails('invalid_document', nil, 'patch', { inc = { n = math.huge } })
    end)

    it('loses nothing when many add at once', function()
      local list = {}
      for i = 1, 200 do list[i] = i end
      stores.map(list, function() store:patch('docs', '1', { inc = { n = 1 } }) end)
      assert.equal(201, check(store:find('docs', '1')).n)
    end)
  end)

  describe('append', function()
    it('starts from [] where there is nothing, or null, also below', function()
      assert.same({ 'x' }, patch({ append = { fresh = 'x' } }).fresh)
      assert.same({ 'x' }, patch({ append = { none = 'x' } }).none)
      assert.same({ 'x' }, patch({ append = { empty = 'x' } }).empty)
      assert.same({ b = { 'x' } }, patch({ append = { { { 'a', 'b' }, 'x' } } }).a)
    end)

    it('appends one element, of any kind', function()
      assert.same({ 1, { 2, 3 }, { a = 1 }, null, false }, patch({ append = {
        { 'list', { 2, 3 } }, { 'list', { a = 1 } }, { 'list', null }, { 'list', false },
      } }).list)
    end)

    it('refuses what is no array', function()
      fails('path_blocked', '.object must be an array, found object', 'patch',
        { append = { object = 1 } })
      fails('path_blocked', '.n must be an array, found number', 'patch', { append = { n = 1 } })
      fails('path_blocked', 'part 1 of .list.x', 'patch', { append = { { { 'list', 'x' }, 1 } } })
    end)
  end)

  describe('remove', function()
    it('takes out names and paths, and does not mind what is not there', function()
      local document = patch({ remove = { 'n', 'missing', { 'object', 'b', 'c' },
        { 'object', 'x', 'y' }, { 'none', 'x' }, { 'nowhere', 'x' } } })
      assert.is_nil(document.n)
      assert.same({ a = 1, b = {} }, document.object)
      assert.equal(null, document.none)
    end)

    it('takes one name alone', function()
      assert.is_nil(patch({ remove = 'text' }).text)
    end)

    it('refuses a scalar or an array that is in the way', function()
      fails('path_blocked', 'part 1 of .list', 'patch', { remove = { { 'list', '0' } } })
      fails('path_blocked', 'part 1 of .n.x', 'patch', { remove = { { 'n', 'x' } } })
    end)

    it('refuses a list that is none', function()
      for _, wrong in ipairs({ 5, { a = true }, { [2] = 'a' }, { 5 }, { {} } }) do
        fails('invalid_argument', 'remove', 'patch', { remove = wrong })
      end
    end)
  end)

  describe('merge', function()
    it('lays an object over the top level, and goes no deeper', function()
      local document = patch({ merge = { object = { z = 1 }, text = null, [''] = 1 } })
      assert.same({ z = 1 }, document.object)
      assert.equal(null, document.text)
      assert.equal(1, document[''])
      assert.equal(1, document.n)
    end)

    it('may hold the id of the row, and no other', function()
      assert.equal(5, patch({ merge = { id = '1', n = 5 } }).n)
      assert.equal(6, patch({ merge = { id = 1LL, n = 6 } }).n)
      fails('id_mismatch', 'merge', 'patch', { merge = { id = '2', n = 5 } })
      fails('invalid_id', 'as a string', 'patch', { merge = { id = 1 } })
    end)

    it('refuses what is no object', function()
      for _, wrong in ipairs({ 5, 'x', { 1, 2 }, array({}) }) do
        fails('invalid_argument', 'merge must be a table with names', 'patch', { merge = wrong })
      end
    end)
  end)

  it('does all of it or nothing', function()
    fails('path_blocked', nil, 'patch', { set = { fresh = 1 }, inc = { text = 1 } })
    assert.is_nil(stored().fresh)
  end)

  it('cannot reach the id', function()
    for _, spec in ipairs({ { set = { id = '2' } }, { set = { { { 'id', 'x' }, 1 } } },
                            { inc = { id = 1 } }, { append = { id = 1 } }, { remove = { 'id' } },
                            { remove = 'id' }, { remove = { { 'id', 'x' } } } }) do
      fails('invalid_argument', 'the id of a row cannot be changed', 'patch', spec)
    end
  end)

  it('refuses a patch that is empty, or says what is not known', function()
    for _, empty in ipairs({ {}, { set = {} }, { set = { n = nil } }, { remove = {} },
                             { merge = {} } }) do
      fails('invalid_argument', 'the patch is empty', 'patch', empty)
    end
    fails('invalid_argument', "did you mean 'append'?", 'patch', { push = { list = 1 } })
    fails('invalid_argument', "did you mean 'remove'?", 'patch', { unset = { 'n' } })
    fails('invalid_argument', "did you mean 'merge'?", 'patch', { merg = { n = 1 } })
    fails('invalid_argument', "unknown key 'n'", 'patch', { n = 1 })
    fails('invalid_argument', 'the patch must be a table', 'patch', 'set')
    fails('invalid_argument', 'got nil', 'patch')
    fails('invalid_argument', 'value not nil', 'patch', { set = { { 'n' } } })
    fails('invalid_argument', '{path, value}', 'patch', { set = { 'n', 5 } })
    fails('invalid_argument', 'mixes', 'patch', { set = { { 'n', 1 }, n = 2 } })
    fails('invalid_argument', 'names are strings', 'patch', { set = { [true] = 2 } })
  end)

  it('gives nil where there is no such row, or raises with must', function()
    assert.is_nil(store:patch('docs', '404', { inc = { n = 1 } }))
    refused('not_found', 'docs has no row 404', store.patch, store, 'docs', '404',
      { inc = { n = 1 } }, { must = true })
  end)

  it('gives JSON text with raw', function()
    store:upsert('docs', { id = '2', n = 1 })
    assert.equal('{"n": 3, "id": "2"}', store:patch('docs', '2', { inc = { n = 2 } },
      { raw = true }))
  end)
end)

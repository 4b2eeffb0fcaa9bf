-- Values as other JSON libraries give them: their empty arrays, marked objects and nulls are stored
-- as what they are, or refused by their path; never as {}.

local stores = require('stores')
local support = require('spec.support')
local dkjson = require('dkjson')

local json, refused = stores.json, support.refused

-- A library under a name that nobody knows, with the marks of OpenResty's cjson.
local library = { empty_array = newproxy(), null = setmetatable({}, {}), array_mt = {},
  empty_array_mt = {} }

describe('a value of another JSON library', function()
  setup(function() package.loaded['somebody.json'] = library end)
  teardown(function() package.loaded['somebody.json'] = nil end)

  local function is_written(expected, value)
    assert.equal(expected, json.encode(value))
    assert.equal('{"v":' .. expected .. '}', json.encode({ v = value }))
    assert.equal('[1,' .. expected .. ']', json.encode({ 1, value }))
  end

  it('that says in its metatable that it is an array is one', function()
    is_written('[]', (dkjson.decode('[]')))
    is_written('[1,2]', dkjson.decode('[1,2]'))
    is_written('{"tags":[]}', dkjson.decode('{"tags": []}'))
    is_written('[]', setmetatable({}, { __jsontype = 'array' }))
    is_written('[]', setmetatable({}, { __serialize = 'seq' }))
    is_written('[[],{"a":[]}]', dkjson.decode('[[], {"a": []}]'))
  end)

  it('that says that it is an object is one', function()
    is_written('{}', dkjson.decode('{}'))
    is_written('{"a":1}', dkjson.decode('{"a":1}'))
    is_written('{}', setmetatable({}, { __serialize = 'map' }))
    refused('invalid_document', '.v', json.encode,
      { v = setmetatable({ 'a', 'b' }, { __jsontype = 'object' }) })
  end)

  it('that its module exports is what its name there says', function()
    is_written('[]', library.empty_array)
    is_written('[]', setmetatable({}, library.array_mt))
    is_written('[]', setmetatable({}, library.empty_array_mt))
    is_written('[1]', setmetatable({ 1 }, library.array_mt))
    is_written('null', library.null)
    is_written('null', dkjson.null)
    is_written('[1,null,2]', dkjson.decode('[1, null, 2]', 1, dkjson.null))
    refused('invalid_document', '[1]', json.encode, { setmetatable({ a = 1 }, library.array_mt) })
  end)

  it('that could be anything is refused by its path', function()
    for _, metatable in ipairs({ {}, { __index = { a = 1 } }, { __tostring = tostring },
      { __jsontype = 'other' }, { __serialize = print } }) do
      refused('invalid_document', '.list[2].x', json.encode,
        { list = { 1, { x = setmetatable({}, metatable) } } })
    end
    for _, metatable in ipairs({ { __tojson = print }, { __json = print }, { __jsontype = 5 },
      { __serialize = 'other' } }) do
      refused('invalid_document', '.x', json.encode, { x = setmetatable({ a = 1 }, metatable) })
    end
    refused('invalid_document', '.x: userdata', json.encode, { x = newproxy() })
  end)

  it('whose contents tell what it is needs no mark; nothing of its metatable is called', function()
    local calls = setmetatable({}, { __index = function() error('called') end })
    local metatable = setmetatable(
      { __index = error, __pairs = error, __len = error, __eq = error }, { __index = calls })
    is_written('{"a":1}', setmetatable({ a = 1 }, metatable))
    is_written('[1,2]', setmetatable({ 1, 2 }, metatable))
  end)

  it('is what was meant in the database, too', function()
    local store, db = support.store({ 'docs' })
    store:insert('docs', (dkjson.decode('{"id": "1", "tags": [], "none": {}}')))
    store:updateProperty('docs', '1', 'more', (dkjson.decode('[]')))
    store:patch('docs', '1', { set = { null = dkjson.null } })
    local stored = store:query("SELECT (value - 'id')::text AS v FROM docs")[1].v
    assert.equal('{"more": [], "none": {}, "null": null, "tags": []}', stored)
    assert.is_true(json.is_array(store:find('docs', '1').tags))
    refused('invalid_document', nil, store.insert, store, 'docs', (dkjson.decode('[]')))
    assert.equal(json.null, store:query('SELECT $1::text AS v', { dkjson.null })[1].v)
    assert.equal('[]', store:query('SELECT $1::text AS v', { (dkjson.decode('[]')) })[1].v)
    support.close(store, db)
  end)
end)

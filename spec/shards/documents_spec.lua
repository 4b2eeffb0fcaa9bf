--- Documents as applications use them, over shards: etags and conditional writes, declared tables,
--- times, what a transaction of one of them has, listeners and lists, as a store has them.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local json, refused = stores.json, support.refused
local NEVER = '"' .. ('0'):rep(32) .. '"'

local shards, databases

setup(function()
  local people = stores.define('people', { indexes = { 'age' }, unique = { 'email' },
    strict = true, expires = 'until', validate = function(doc, old)
      if doc.age == -1 then return false, 'nobody is that young', 'age' end
      if old and doc.email ~= old.email then return false, 'an e-mail stays', 'email' end
    end })
  shards, databases = three.open(3, { 'docs' }, nil, { tables = { people } })
  shards:migrate({ people })
end)
teardown(function() three.close(shards, databases) end)
before_each(function()
  shards:query('DELETE FROM docs', nil, { on = 'all' })
  shards:query('DELETE FROM people', nil, { on = 'all' })
end)

-- Calls fn with an id of each shard.
local function each_shard(fn)
  for id = 6, 8 do fn(tostring(id)) end
end

describe('documents of shards', function()
  it('have etags, by which one that is known is left out', function()
    each_shard(function(id)
      local _, made = shards:insert('docs', { id = id, n = 1 }, { etag = true })
      local document, etag = shards:find('docs', id, { etag = true })
      assert.same({ 1, made }, { document.n, etag })
      assert.equal(stores.unchanged, (shards:find('docs', id, { if_none_match = etag })))
      assert.equal(1, shards:find('docs', id, { if_none_match = NEVER }).n)
    end)
  end)

  it('are written where they are still the same, and by nobody else', function()
    local writes = {
      function(id, etag) return shards:update('docs', { id = id, n = 2 }, { if_match = etag }) end,
      function(id, etag) return shards:upsert('docs', { id = id, n = 2 }, { if_match = etag }) end,
      function(id, etag)
        return shards:patch('docs', id, { inc = { n = 1 } }, { if_match = etag })
      end,
      function(id, etag)
        return shards:updateProperty('docs', id, 'n', 2, { if_match = etag })
      end,
      function(id, etag) return shards:delete('docs', id, { if_match = etag }) end,
    }
    for _, write in ipairs(writes) do
      each_shard(function(id)
        shards:upsert('docs', { id = id, n = 1 })
        local _, etag = shards:find('docs', id, { etag = true })
        local err = refused('conflict', nil, write, id, NEVER)
        assert.same({ 412, id, 'docs', etag }, { err.http, err.row, err.table, err.etag })
        assert.is_truthy(write(id, etag))
        refused('conflict', nil, write, id, etag)
      end)
    end
  end)

  it('are called by an id as it was given', function()
    for _, id in ipairs({ '9007199254740993', ffi.new('int64_t', 12),
      json.number('9007199254740995') }) do
      local text = tostring(id):gsub('LL$', '')
      shards:insert('docs', { id = id, n = 1 })
      assert.equal(text, shards:find('docs', id).id)
      assert.equal(1, shards:mod(text):find('docs', text).n)
      assert.is_true(shards:exists('docs', id))
      assert.equal(text, shards:findAllByIds('docs', { id })[1].id)
      assert.equal(2, shards:patch('docs', id, { inc = { n = 1 } }).n)
      assert.is_true(shards:delete('docs', id))
    end
  end)

  it('are found by criteria in each form, as one store finds them', function()
    for i = 1, 30 do
      shards:insert('docs', { id = tostring(i), age = i % 7, name = 'n' .. i,
        tags = { 't' .. i % 3 }, address = { city = i % 2 == 0 and 'A' or 'B' },
        email = i % 5 == 0 and 'x' or nil })
    end
    local function ids(where)
      local list = {}
      for i, doc in ipairs(shards:findAll('docs', { where = where })) do
        list[i] = tonumber(doc.id)
      end
      assert.equal(#list, shards:count('docs', nil, { where = where }))
      return list
    end
    local function expected(fn)
      local list = {}
      for i = 1, 30 do if fn(i) then list[#list + 1] = i end end
      return list
    end
    for _, one in ipairs({
      { { { 'age', '>=', 5 } }, function(i) return i % 7 >= 5 end },
      { { { 'age', '=', 3 } }, function(i) return i % 7 == 3 end },
      { { { 'address.city', 'in', { 'A', 'C' } } }, function(i) return i % 2 == 0 end },
      { { { 'name', 'prefix', 'n2' } }, function(i) return i == 2 or math.floor(i / 10) == 2 end },
      { { { 'tags', 'has', 't1' } }, function(i) return i % 3 == 1 end },
      { { { 'email', 'exists' } }, function(i) return i % 5 == 0 end },
      { { any = { { 'age', '=', 0 }, { 'tags', 'has', 't2' } } },
        function(i) return i % 7 == 0 or i % 3 == 2 end },
      { { none = { { 'age', '<', 6 } } }, function(i) return i % 7 == 6 end },
    }) do
      assert.same(expected(one[2]), ids(one[1]))
    end
    assert.same({ { id = '6', name = 'n6' } }, shards:findAll('docs', { fields = { 'name' },
      where = { { 'name', '=', 'n6' } } }))
    assert.equal(5, #shards:patchWhere('docs', { age = 2 }, { set = { age = 20 } }))
    assert.equal(5, #shards:deleteWhere('docs', nil, { where = { { 'age', '=', 20 } } }))
    assert.equal(25, shards:count('docs'))
  end)
end)

describe('a declared table of shards', function()
  it('refuses by its name what no index serves, and finds by what one does', function()
    each_shard(function(id) shards:insert('people', { id = id, age = tonumber(id) }) end)
    assert.equal(2, #shards:findAll('people', { where = { { 'age', '>', 6 } } }))
    local err = refused('not_indexed', 'name', shards.findAll, shards, 'people',
      { where = { { 'name', '=', 'x' } } })
    assert.equal(400, err.http)
    assert.equal(3, #shards:findAll('people', { where = { { 'age', '>', 6 } },
      explain = true }).shards)
  end)

  it('checks each document before it is sent', function()
    each_shard(function(id)
      local err = refused('invalid_document', 'nobody is that young', shards.upsert, shards,
        'people', { id = id, age = -1 })
      assert.equal('age', err.path)
      shards:insert('people', { id = id, email = id .. '@b.c' })
      refused('invalid_document', 'an e-mail stays', shards.patch, shards, 'people', id,
        { set = { email = 'x' } })
      refused('invalid_document', 'an e-mail stays', shards.updateObject, shards, 'people', id,
        function(doc) doc.email = 'y' end)
      assert.equal(id .. '@b.c', shards:find('people', id).email)
    end)
  end)

  it('names the path of a value that its shard has twice, and finds by it', function()
    shards:insert('people', { id = '6', email = 'a@b.c' })
    local err = refused('duplicate', nil, shards.insert, shards, 'people',
      { id = '9', email = 'a@b.c' })
    assert.equal('email', err.path)
    for _ = 1, 3 do assert.equal('6', shards:findBy('people', 'email', 'a@b.c').id) end
    shards:delete('people', '6')
    assert.is_nil(shards:findBy('people', 'email', 'a@b.c'))
    shards:insert('people', { id = '7', email = 'a@b.c' })
    assert.equal('7', shards:findBy('people', 'email', 'a@b.c').id)
  end)

  it('has times, past which documents are gone to all verbs, and are deleted by expire', function()
    each_shard(function(id)
      shards:insert('people', { id = id, age = 1, ['until'] = 5 })
      assert.is_nil(shards:find('people', id))
      assert.is_false(shards:exists('people', id))
      assert.is_nil(shards:patch('people', id, { set = { age = 2 } }))
      shards:insert('people', { id = id .. '0', age = 1, ['until'] = os.time() + 1000 })
    end)
    assert.equal(3, shards:count('people'))
    assert.equal(3, #shards:findAll('people', { where = { { 'age', '=', 1 } } }))
    assert.equal(3, shards:expire('people'))
    assert.equal(3, shards:query('SELECT FROM people', nil, { on = 'all' }).affected)
  end)
end)

describe('a transaction of one of shards', function()
  it('locks what it finds, and tells which run it is', function()
    shards:insert('docs', { id = '6', n = 0 })
    local runs = {}
    shards:transaction('6', function(tx)
      runs[#runs + 1] = tx.attempt
      assert.equal(0, tx:find('docs', '6', { lock = true }).n)
      local waits = support.psql(databases[1], "SELECT count(*) FROM docs WHERE id = 6 AND id NOT "
        .. 'IN (SELECT id FROM docs FOR UPDATE SKIP LOCKED)')
      assert.matches('1', waits)
      if #runs == 1 then error(stores.errors.new('serialization', 'once more'), 0) end
      tx:update('docs', { id = '6', n = 1 })
    end)
    assert.same({ 1, 2 }, runs)
    assert.equal(1, shards:find('docs', '6').n)
  end)

  it('refuses the verbs of its store, and those of shards that go there, where it is strict',
    function()
      refused('unsupported', 'call it on tx', shards.transaction, shards, '6', function()
        shards:find('docs', '6')
      end, { strict = true })
      shards:transaction('6', function(tx) tx:insert('docs', { id = '6' }) end, { strict = true })
      assert.is_true(shards:exists('docs', '6'))
    end)

  it('tells who listens when it is committed, and not before', function()
    local heard = {}
    stores.run(function()
      local listener = shards:listen('done', function(payload) heard[#heard + 1] = payload end)
      shards.try:transaction('6', function(tx)
        tx:notify('done', 'undone')
        error('no', 0)
      end)
      shards:transaction('7', function(tx) tx:notify('done', 'kept') end)
      support.eventually(function() return #heard == 1 end)
      listener:stop()
    end)
    assert.same({ 'kept' }, heard)
  end)
end)

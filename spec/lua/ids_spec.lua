-- Every verb takes an id as the program has it: as text, as a 64-bit integer, or as a number of a
-- document that no double carries; and gives it as text.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')

local json = stores.json
local ID = '9007199254740993'

-- The forms in which a program may have the id ID.
local FORMS = {
  text = ID,
  int64 = 9007199254740993LL,
  uint64 = ffi.new('uint64_t', 9007199254740993ULL),
  number = json.number(ID),
  ['number of a document'] = json.decode('{"ref": 9007199254740993}').ref,
}

describe('an id', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)
  before_each(function() store:query('TRUNCATE docs') end)

  local function by_id(on, id)
    local record = { id = id, n = 1 }
    assert.equal(record, on:insert('docs', record))
    assert.equal(ID, record.id)
    assert.equal(ID, on:find('docs', id).id)
    assert.is_true(on:exists('docs', id))
    local found, missing = on:findAllByIds('docs', { id, '405' })
    assert.same({ ID, '405' }, { found[1].id, missing[1] })
    assert.equal(1, on:findAllByIds('docs', { id }, { as = 'map' })[ID].n)
    record = { id = id, n = 2 }
    assert.is_true(on:update('docs', record))
    assert.equal(ID, record.id)
    record = { id = id, n = 3 }
    assert.is_false(select(2, on:upsert('docs', record)))
    assert.equal(ID, record.id)
    assert.equal(ID, on:updateProperty('docs', id, 'p', 1).id)
    assert.equal(4, on:patch('docs', id, { merge = { id = id }, inc = { n = 1 } }).n)
    assert.equal(5, on:updateObject('docs', id, function(doc)
      doc.id, doc.n = id, doc.n + 1
    end).n)
    assert.equal(0, #on:findAll('docs', { after = id }))
    assert.equal(1, #on:findAll('docs', { after = '-1', limit = 5 }))
    for _ in on:each('docs', { after = id }) do error('there is none behind it') end
    assert.is_true(on:delete('docs', id))
  end

  for form, id in pairs(FORMS) do
    it('as ' .. form .. ' is taken by every verb', function()
      by_id(store, id)
      store:transaction(function(tx) by_id(tx, id) end)
      store:invalidate('docs', id)
      assert.is_number(stores.flake.time(id))
    end)
  end

  it('tells its shard in every form', function()
    local shards = stores.Shards.new({ { id = 0, db = support.config(db.database) },
      { id = 1, db = support.config(db.database) } })
    for _, id in pairs(FORMS) do
      assert.equal(shards.shards[2], shards:mod(id))
      by_id(shards:mod(id), id)
    end
    shards:close()
  end)

  it('as a number is one that PostgreSQL would write so', function()
    for _, text in ipairs({ '1.5', '1e5', '7.0', '9223372036854775808', '-0' }) do
      support.refused('invalid_id', nil, store.find, store, 'docs', json.number(text))
      support.refused('invalid_id', nil, store.insert, store, 'docs', { id = json.number(text) })
    end
  end)
end)

--- Shards whose ids belong where a function of the program's own says.
-- Plain pass alone: plain Lua over several stores; verbs_spec and health_spec have these passes.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused = support.refused

-- By the last but one digit.
local function owner(id, count)
  return (tonumber(id:sub(-2, -2)) or 0) % count
end

local BY_DIGIT = { name = 'digit', version = 2, owner = owner }

describe('a strategy of one\'s own', function()
  local shards, databases, list

  setup(function()
    shards, databases, list = three.open(3, { 'things' }, { strategy = BY_DIGIT })
    shards:init()
  end)
  teardown(function() three.close(shards, databases) end)

  before_each(function()
    for _, store in ipairs(shards.shards) do store:query('TRUNCATE things') end
  end)

  it('says whose an id is, to every verb', function()
    for n = 10, 99 do
      local id = tostring(n)
      shards:insert('things', { id = id, n = n })
      assert.equal(shards.shards[owner(id, 3) + 1], shards:mod(id))
      assert.is_true(shards:mod(id):exists('things', id))
    end
    assert.equal(90, shards:count('things'))
    local wrong = shards.shards[1]
    for _, call in ipairs({
      function() wrong:find('things', '15') end,
      function() wrong:findAllByIds('things', { '5', '15' }) end,
      function() wrong:insert('things', { id = '15' }) end,
      function() wrong:patch('things', '15', { set = { a = 1 } }) end,
      function() wrong:updateObject('things', '15', function() end) end,
      function() wrong:transaction(function(tx) tx:delete('things', '15') end) end,
      function() wrong:upsertMany('things', { { id = '15' } }) end,
      function() wrong:deleteMany('things', { '15' }) end,
    }) do
      local err = refused('wrong_shard', nil, call)
      assert.equal(0, err.shard)
    end
    for _, document in ipairs(shards:findAll('things')) do
      assert.equal(document.n, shards:find('things', document.id).n)
    end
  end)

  it('says it of the ids that are made, too', function()
    for _ = 1, 60 do
      local record = shards:insert('things', {})
      assert.is_true(shards:mod(record.id):exists('things', record.id))
      assert.equal(stores.Shards, getmetatable(shards))
      shards:mod(shards:generateId())
    end
    for _, store in ipairs(shards.shards) do
      assert.equal(store, shards:mod(store:generateId()))
      assert.is_true(store:count('things') > 0)
    end
  end)

  it('stands in the databases with its name and version', function()
    local row = shards.shards[1]:query('SELECT strategy, version FROM stores_shard')[1]
    assert.same({ strategy = 'digit', version = '2' }, row)
    for _, strategy in ipairs({ { name = 'digit', version = '3', owner = owner },
      { name = 'other', version = '2', owner = owner }, 'modulo' }) do
      local other = stores.Shards.new(list, { strategy = strategy })
      refused('shard_mismatch', 'by digit 2', other.find, other, 'things', '15')
      other:close()
    end
  end)

  it('has to be of a name, and to give one of the shards', function()
    for _, strategy in ipairs({ 'other', {}, { name = 'x' }, { name = 'modulo', owner = owner },
      { name = 'a b', owner = owner }, { name = 'x', owner = owner, more = 1 },
      { name = 'x', owner = 'f' }, { name = 'x', version = {}, owner = owner } }) do
      refused('invalid_option', 'strategy', stores.Shards.new, list, { strategy = strategy })
    end
    for _, given in ipairs({ 3, -1, 0.5, 'a', false }) do
      local odd = stores.Shards.new(list, { strategy = { name = 'digit', version = 2,
        owner = function() return given end } })
      refused('invalid_argument', 'from 0 to 2', odd.find, odd, 'things', '15')
      odd:close()
    end
  end)

  it('may give new ids to some of the shards alone', function()
    local new = ('1'):rep(15)
    local some, own = three.open(2, { 'things' }, { strategy = { name = 'age',
      owner = function(id) return #id >= #new and 1 or 0 end } })
    for _ = 1, 5 do some:insert('things', {}) end
    some:insert('things', { id = '5' })
    assert.equal(5, some.shards[2]:count('things'))
    assert.equal(1, some.shards[1]:count('things'))
    refused('unsupported', 'gives none to shard 0', some.shards[1].insert, some.shards[1],
      'things', {})
    three.close(some, own)
  end)
end)

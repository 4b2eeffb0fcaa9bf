--- Shards: which database an id belongs to, and that a shard's store takes no other ids.

local stores = require('stores')
local support = require('spec.support')

local refused, Shards = support.refused, stores.Shards
local COUNT = 3
local databases, shards = {}, nil

setup(function()
  local list = {}
  for id = 0, COUNT - 1 do
    local store, db = support.store({ 'users', 'kept' })
    support.close(store)
    databases[id + 1] = db
    list[id + 1] = { db = db, redis = support.redis(), id = id }
  end
  -- the order of the list does not matter
  list[1], list[COUNT] = list[COUNT], list[1]
  shards = Shards.new(list)
end)

teardown(function()
  for i, store in ipairs(shards.shards) do support.close(store, databases[i]) end
end)

local function database_of(store)
  return store:query('SELECT current_database() AS name')[1].name
end

describe('shards', function()
  local db = { database = 'none', host = '/nowhere' }

  it('are made of a list that names each of them once, from 0 on', function()
    refused('invalid_option', 'takes a list', Shards.new)
    refused('invalid_option', 'takes a list', Shards.new, {})
    refused('invalid_option', 'takes a list', Shards.new, 'x')
    refused('invalid_option', 'entry 1', Shards.new, { 5 })
    refused('invalid_option', 'entry 2 of the shards needs an id', Shards.new,
      { { db = db, id = 0 }, { db = db } })
    for _, id in ipairs({ '0', -1, 0.5, true, 0 / 0, math.huge }) do
      refused('invalid_option', 'entry 1 of the shards needs an id', Shards.new,
        { { db = db, id = id } })
    end
    refused('invalid_option', 'two shards have the id 1', Shards.new,
      { { db = db, id = 0 }, { db = db, id = 1 }, { db = db, id = 1 } })
    refused('invalid_option', '1 is missing', Shards.new,
      { { db = db, id = 0 }, { db = db, id = 2 } })
    refused('invalid_option', '0 is missing', Shards.new, { { db = db, id = 1 } })
    refused('invalid_option', nil, Shards.new, { { db = db, id = 0 }, nil, { db = db, id = 1 } })
    refused('invalid_option', 'list', Shards.new,
      { { db = db, id = 0 }, more = { db = db, id = 1 } })
  end)

  it('leave no store open where one of them cannot be made', function()
    local function open_stores()
      local count = 0
      for _ in pairs(stores.Store.open_stores) do count = count + 1 end
      return count
    end
    local before = open_stores()
    refused('invalid_option', 'shard 1: the url of PostgreSQL', Shards.new, { { db = db, id = 0 },
      { db = { url = 'postgresql://u@h/d?schema=x' }, id = 1 } })
    assert.equal(before, open_stores())
  end)

  it('are refused in odd lists', function()
    for _, list in ipairs({ { { id = 0, db = db }, { id = 2 ^ 31, db = db } },
      { { id = 0, db = db }, { id = 0LL, db = db } }, { [0] = { id = 0, db = db } },
      { [1] = { id = 0, db = db }, [3] = { id = 1, db = db } }, { { id = 0 } }, { db = db, id = 0 },
      { { id = 0, db = db }, false }, { { id = 0, db = { db } } } }) do
      refused('invalid_option', nil, Shards.new, list)
    end
  end)

  it('have stores whose options are checked, and named', function()
    refused('invalid_option', "unknown key 'opt'", Shards.new, { { db = db, id = 0, opt = {} } })
    refused('invalid_option', 'shard 1: db', Shards.new, { { db = db, id = 0 }, { id = 1 } })
    refused('invalid_option', 'shard 0: ', Shards.new,
      { { db = db, id = 0, opts = { tiemout = 5 } } })
    refused('invalid_option', 'shard 0: ', Shards.new,
      { { db = db, id = 0, redis = { host = 'h', auth_pass = 'x' } } })
  end)

  it('may be made by calling the class', function()
    local one = Shards({ { db = db, id = 0 } })
    assert.equal(one.shards[1], one:mod('-5'))
    one:close()
    one:close()
  end)
end)

describe('mod', function()
  it('is the true modulo of the signed id', function()
    for id, shard in pairs({ ['0'] = 0, ['1'] = 1, ['2'] = 2, ['3'] = 0, ['-1'] = 2, ['-2'] = 1,
                             ['-3'] = 0, ['9223372036854775807'] = 1,
                             ['-9223372036854775808'] = 1, ['432243343432'] = 1 }) do
      assert.equal(shards.shards[shard + 1], shards:mod(id), id)
      assert.equal(databases[shard + 1].database, database_of(shards:mod(id)))
    end
  end)

  it('of -1 and 4 is 3, whatever the count', function()
    local db = { database = 'none', host = '/nowhere' }
    for count = 1, 8 do
      local list = {}
      for id = 0, count - 1 do list[id + 1] = { db = db, id = id } end
      local some = Shards.new(list)
      for id = -20, 20 do
        assert.equal(some.shards[id % count + 1], some:mod(tostring(id)))
        assert.equal(some.shards[id % count + 1], some:mod(id + 0LL))
      end
      some:close()
    end
  end)

  it('takes ids only', function()
    refused('invalid_id', 'as a string', shards.mod, shards, 5)
    refused('invalid_id', 'leading zeros', shards.mod, shards, '007')
    refused('invalid_id', nil, shards.mod, shards, 'abc')
    refused('invalid_id', nil, shards.mod, shards)
    refused('invalid_argument', 'call it with a colon: shards:mod(...)', shards.mod, '5')
  end)
end)

describe('the store of a shard', function()
  it('keeps rows of its own', function()
    for i = -10, 10 do
      local id = tostring(i)
      shards:mod(id):insert('kept', { id = id, n = i })
    end
    local total = 0
    for shard, store in ipairs(shards.shards) do
      for _, document in ipairs(store:findAll('kept')) do
        assert.equal(shard - 1, tonumber(document.id) % COUNT)
        assert.equal(document.n, shards:mod(document.id):find('kept', document.id).n)
        total = total + 1
      end
    end
    assert.equal(21, total)
  end)

  it('refuses the ids of other shards, in every verb', function()
    local store = shards.shards[1]
    shards.shards[2]:upsert('users', { id = '1' })
    -- about the tables: a connection that the pool opens by itself says something, too
    local sent = {}
    local off = stores.on('statement', function(event)
      if event.sql:find('users', 1, true) then sent[#sent + 1] = event.sql end
    end)
    finally(off)
    for name, call in pairs({
      find = function() store:find('users', '1') end,
      exists = function() store:exists('users', '1') end,
      findAllByIds = function() store:findAllByIds('users', { '0', '1' }) end,
      insert = function() store:insert('users', { id = '1' }) end,
      update = function() store:update('users', { id = '1' }) end,
      upsert = function() store:upsert('users', { id = '1' }) end,
      delete = function() store:delete('users', '1') end,
      updateProperty = function() store:updateProperty('users', '1', 'a', 1) end,
      patch = function() store:patch('users', '1', { set = { a = 1 } }) end,
      updateObject = function() store:updateObject('users', '1', function() end) end,
      create = function()
        store:updateObject('users', '1', function() return {} end, { create = true })
      end,
      invalidate = function() store:invalidate('users', '1') end,
      insertMany = function() store:insertMany('users', { { id = '0' }, { id = '1' } }) end,
      upsertMany = function() store:upsertMany('users', { { id = '1' } }) end,
      deleteMany = function() store:deleteMany('users', { '0', '1' }) end,
    }) do
      local ok, err = pcall(refused, 'wrong_shard', 'shard 1 of 3, this is shard 0', call)
      assert.is_true(ok, name .. ': ' .. tostring(err))
      assert.equal('none', err.outcome)
      assert.equal(0, err.shard)
    end
    assert.same({}, sent)
    store:transaction(function(tx)
      refused('wrong_shard', nil, tx.find, tx, 'users', '1')
      refused('wrong_shard', nil, tx.insert, tx, 'users', { id = '1' })
      refused('wrong_shard', nil, tx.findAllByIds, tx, 'users', { '1' })
      refused('wrong_shard', nil, tx.insertMany, tx, 'users', { {}, { id = '1' } })
      refused('wrong_shard', nil, tx.deleteMany, tx, 'users', { '1' })
    end)
    assert.is_true(shards.shards[2]:exists('users', '1'))
  end)

  it('makes ids of its own', function()
    for shard, store in ipairs(shards.shards) do
      local last
      for _ = 1, 2000 do
        local id = store:generateId()
        assert(shards:mod(id) == store)
        assert(last == nil or #id > #last or id > last)
        last = id
      end
      local record = store:insert('users', { made = shard })
      assert.equal(store, shards:mod(record.id))
      assert.equal(shard, shards:mod(record.id):find('users', record.id).made)
      assert.equal(store, shards:mod(store:upsert('users', {}).id))
      store:transaction(function(tx)
        assert.equal(store, shards:mod(tx:insert('users', {}).id))
      end)
    end
  end)

  it('is named in its errors', function()
    for shard, store in ipairs(shards.shards) do
      local id = store:generateId()
      for _, call in ipairs({
        function() store:find('nowhere', id) end,
        function() store:query('SELEKT') end,
        function()
          store:upsert('users', { id = id })
          store:insert('users', { id = id })
        end,
        function()
          store:upsert('users', { id = id, n = 1 })
          store:updateProperty('users', id, { 'n', 'x' }, 1)
        end,
        function() store:updateObject('nowhere', id, function() end) end,
      }) do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.equal(shard - 1, err.shard, tostring(err))
      end
    end
  end)
end)

describe('an id of the shards', function()
  it('is made for any of them, and increases', function()
    local seen, last = {}, ''
    for _ = 1, 300 do
      local id = shards:generateId()
      seen[shards:mod(id)] = true
      assert.is_true(#id > #last or id > last)
      last = id
    end
    for _, store in ipairs(shards.shards) do assert.is_true(seen[store]) end
  end)
end)

--- The verbs of shards: each goes to the shard of its row, or to all of them, and gives what a
--- store gives that has all of the rows. What is merged: lists_spec.

local list = require('stores.verbs.list')
local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused, json = support.refused, stores.json
local shards, databases

setup(function()
  shards, databases = three.open(3, { 'users', 'spread', 'many', 'unique_names' })
end)
teardown(function() three.close(shards, databases) end)

local function sorted(documents, key)
  local values = {}
  for i, document in ipairs(documents) do values[i] = document[key or 'id'] end
  table.sort(values)
  return table.concat(values, ' ')
end

describe('shards', function()
  it('have every verb of a store', function()
    for _, row in ipairs(list.verbs) do
      if row.on ~= 'tx' and row.on ~= 'session' and not row.is_internal then
        assert.is_function(stores.Shards[row.name], row.name)
      end
    end
  end)

  it('have each of them as try, too', function()
    local ok, err = shards.try:find('users', 'x')
    assert.is_false(ok)
    assert.equal('invalid_id', err.code)
    assert.same({ true, nil }, { shards.try:find('users', '404') })
  end)

  it('name a call that would wait for what its own coroutine holds', function()
    shards:upsert('users', { id = '31', n = 1 })
    shards:updateObject('users', '31', function(user)
      for _, call in ipairs({
        { 'update', 'users', { id = '31' } },
        { 'deleteMany', 'users', { '32', '31' } },
        { 'upsertMany', 'users', { { n = 2 }, { id = '31' } } },
      }) do
        local ok, err = pcall(shards[call[1]], shards, unpack(call, 2))
        assert.is_false(ok)
        assert.equal('self_deadlock', err.code)
        assert.is_nil(type(call[3][1]) == 'table' and call[3][1].id or nil)
      end
      shards:upsertMany('users', { { id = '32' }, { id = '33' } })
      user.n = 2
    end)
    assert.equal(2, shards:find('users', '31').n)
    shards:deleteMany('users', { '31', '32', '33' })
  end)

  it('raise closed where the store of a shard was closed by itself', function()
    local opened = stores.Shards.new({
      { id = 0, db = databases[1], redis = support.redis() },
      { id = 1, db = databases[2], redis = support.redis() },
      { id = 2, db = databases[3], redis = support.redis() },
    })
    opened:count('users')
    opened.shards[2]:close()
    for _, call in ipairs({
      { 'find', 'users', '1' }, { 'exists', 'users', '1' }, { 'insert', 'users', { id = '1' } },
      { 'update', 'users', { id = '1' } }, { 'upsert', 'users', { id = '1' } },
      { 'patch', 'users', '1', { set = { n = 1 } } }, { 'delete', 'users', '1' },
      { 'updateObject', 'users', '1', function() end }, { 'count', 'users' },
      { 'findAllByIds', 'users', { '1', '3' } }, { 'deleteMany', 'users', { '1', '3' } },
    }) do
      local ok, err = pcall(opened[call[1]], opened, unpack(call, 2))
      assert.is_false(ok)
      assert.is_true(stores.errors.is(err, 'closed'), call[1] .. ': ' .. tostring(err))
    end
    assert.is_nil(opened:find('users', '3000'))
    local ok, err = pcall(opened.metrics, opened)
    assert.is_true(not ok and stores.errors.is(err, 'closed'))
    opened:close()
  end)

  it('send a verb of a row to the shard that it belongs to', function()
    for i = 500, 508 do
      local id = tostring(i - 1004 * (i % 2)) -- of either sign
      assert.equal(id, shards:insert('users', { id = id, n = i }).id)
      assert.is_true(shards:mod(id):exists('users', id))
      assert.equal(i, shards:find('users', id).n)
      assert.is_true(shards:exists('users', id))
      assert.is_true(shards:update('users', { id = id, n = i + 1 }))
      assert.is_false(select(2, shards:upsert('users', { id = id, n = i + 2 })))
      assert.equal(5, shards:patch('users', id, { set = { m = 5 } }).m)
      assert.equal(6, shards:updateProperty('users', id, 'm', 6).m)
      assert.equal(i + 3, shards:updateObject('users', id, function(user)
        user.n = user.n + 1
      end).n)
      assert.equal(i + 3, shards:mod(id):find('users', id, { cache = false }).n)
      shards:invalidate('users', id)
      assert.is_true(shards:delete('users', id))
      assert.is_nil(shards:find('users', id))
    end
  end)

  it('spread rows whose ids they make evenly', function()
    local count = 300
    local fns = {}
    for i = 1, count do fns[i] = function() return shards:insert('spread', { n = i }) end end
    for _, record in ipairs(stores.all(fns)) do
      assert.is_true(shards:mod(record.id):exists('spread', record.id))
    end
    for _, store in ipairs(shards.shards) do assert.equal(count / 3, store:count('spread')) end
    assert.is_true(select(2, shards:upsert('spread', {})))
    assert.equal(count + 1, shards:count('spread'))
  end)

  it('find rows by their ids in the order of the ids', function()
    for i = 1, 7 do shards:upsert('users', { id = tostring(i), n = i }) end
    local found, missing = shards:findAllByIds('users', { '7', '99', '3', '1', '7', '98', '99' })
    assert.equal('7 3 1 7', support.ids_of(found))
    assert.same({ '99', '98' }, missing)
    local by_id
    by_id, missing = shards:findAllByIds('users', { '2', '404' }, { as = 'map' })
    assert.equal(2, by_id['2'].n)
    assert.same({ '404' }, missing)
    assert.same({ json.array(), json.array() }, { shards:findAllByIds('users', {}) })
    refused('invalid_argument', 'gap', shards.findAllByIds, shards, 'users', { '1', nil, '2' })
  end)

  it('count, change and delete rows of all', function()
    for i = 1, 20 do shards:upsert('many', { id = tostring(i), n = i, even = i % 2 == 0 }) end
    assert.equal(20, shards:count('many'))
    assert.equal(10, shards:count('many', { even = true }))
    assert.equal(5, shards:count('many', nil, { where = { { 'n', '>', 15 } } }))
    local ids = shards:patchWhere('many', { even = true }, { set = { seen = true } })
    assert.equal(10, #ids)
    assert.equal(10, shards:count('many', { seen = true }))
    assert.equal(10, #shards:deleteWhere('many', { seen = true }))
    assert.equal(10, shards:count('many'))
    refused('empty_criteria', nil, shards.deleteWhere, shards, 'many', {})
    refused('invalid_option', 'tiemout', shards.count, shards, 'many', nil, { tiemout = 1 })
    assert.equal(3, #shards:count('many', nil, { explain = true }).shards)
  end)

  it('find the row that has a value, wherever it is', function()
    for i = 1, 9 do shards:upsert('unique_names', { id = tostring(i), name = 'n' .. i }) end
    for i = 1, 9 do
      assert.equal(tostring(i), shards:findBy('unique_names', 'name', 'n' .. i,
        { unique = true }).id)
    end
    assert.is_nil(shards:findBy('unique_names', 'name', 'x', { unique = true }))
    refused('not_found', nil, shards.findBy, shards, 'unique_names', 'name', 'x',
      { unique = true, must = true })
    shards:insert('unique_names', { id = '11', name = 'n1' })
    refused('duplicate', 'two shards', shards.findBy, shards, 'unique_names', 'name', 'n1',
      { unique = true })
  end)

  it('run a text where they are told to', function()
    local rows, affected = shards:query('SELECT current_database() AS name', nil, { on = 'all' })
    assert.equal(3, affected)
    assert.equal(3, rows.affected)
    local expected = {}
    for i, db in ipairs(databases) do expected[i] = { name = db.database } end
    table.sort(expected, function(a, b) return a.name < b.name end)
    assert.equal(sorted(expected, 'name'), sorted(rows, 'name'))
    rows = shards:query('SELECT current_database() AS name', {}, { on = '-1' })
    assert.equal(databases[3].database, rows[1].name)
    refused('invalid_option', "on = 'all'", shards.query, shards, 'SELECT 1')
    refused('invalid_id', nil, shards.query, shards, 'SELECT 1', nil, { on = 'some' })
  end)

  it('have transactions, each of one shard', function()
    shards:transaction('4', function(tx)
      tx:upsert('users', { id = '4', from = 'tx' })
      refused('wrong_shard', nil, tx.find, tx, 'users', '5')
    end)
    assert.equal('tx', shards:find('users', '4').from)
    shards:transaction('4', function(tx)
      refused('wrong_shard', nil, tx.upsertMany, tx, 'users', { { id = '4' }, { id = '5' } })
    end)
    refused('invalid_argument', 'of one shard', shards.transaction, shards, function() end)
    assert.same({ 1, 2 }, { shards:transaction('1', function() return 1, 2 end) })
  end)

  it('hear of notifications, each once', function()
    local heard = {}
    stores.run(function()
      local listener = shards:listen('news', function(payload) heard[#heard + 1] = payload end)
      for i = 1, 3 do shards:notify('news', tostring(i)) end
      shards.shards[3]:notify('news', 'of one')
      support.eventually(function() return #heard == 4 end)
      listener:stop()
    end)
    table.sort(heard)
    assert.same({ '1', '2', '3', 'of one' }, heard)
  end)

  it('are listened to by coroutines alone, as a store is', function()
    local function nothing() end
    for _, target in ipairs({ shards, shards.shards[1] }) do
      refused('unsupported', 'stores.run', target.listen, target, 'news', nothing)
      refused('invalid_argument', 'a channel', target.listen, target, '', nothing)
      refused('invalid_argument', 'a function', target.listen, target, 'news')
    end
  end)

  it('say which one of them it is that has something to say', function()
    local said, deaf = {}, {}
    local function log(text) said[#said + 1] = text:match('^shard %d: Redis is not') end
    for at = 1, #shards.shards do
      deaf[at] = { id = at - 1, db = databases[at], redis = { path = '/nowhere' },
        opts = { log = log } }
    end
    local opened = stores.Shards.new(deaf)
    opened:count('users')
    support.eventually(function() return #said == #deaf end)
    table.sort(said)
    assert.same({ 'shard 0: Redis is not', 'shard 1: Redis is not', 'shard 2: Redis is not' }, said)
    opened:close()
  end)

  it('tell what all of them have counted', function()
    shards:count('users') -- the first call looks at each database
    local before = shards:stats()
    for i = 1, 6 do shards:find('users', tostring(i)) end
    local stats = shards:stats()
    assert.equal(6, stats.calls - before.calls)
    assert.equal(3, #stats.shards)
    assert.equal(2, stats.shards[1].calls - before.shards[1].calls)
    local text = shards:metrics()
    for number = 0, 2 do
      assert.matches(('\nstores_calls_total{store="[^"]*",shard="%d"} '):format(number), text)
    end
    assert.is_table(shards:metrics({ as = 'table' })[1].series)
    refused('invalid_option', nil, shards.metrics, shards, { as = 'x' })
  end)

  it('tell nothing once they are closed', function()
    local some, own = three.open(2, {})
    some:close()
    for _, verb in ipairs({ 'metrics', 'stats', 'generateId', 'token' }) do
      refused('closed', nil, some[verb], some)
    end
    some:close()
    for _, db in ipairs(own) do support.drop(db) end
  end)

  it('are told to hooks, a call of each shard', function()
    local heard = {}
    local off = stores.on('call', function(event)
      heard[#heard + 1] = ('%s %s %s'):format(event.verb, event.table, event.shard)
    end)
    for _, call in ipairs({
      { 'findAll users', function() shards:findAll('users', { limit = 2 }) end },
      { 'findOne users', function() shards:findOne('users', { n = 1 }) end },
      { 'count users', function() shards:count('users') end },
    }) do
      heard = {}
      call[2]()
      table.sort(heard)
      assert.same({ call[1] .. ' 0', call[1] .. ' 1', call[1] .. ' 2' }, heard)
    end
    heard = {}
    shards:find('users', '1')
    assert.same({ 'find users 1' }, heard)
    off()
  end)

  it('forget a table, sweep, and raise what is no use to any of them', function()
    shards:invalidate('users')
    assert.is_number(shards:sweep())
    refused('invalid_table', nil, shards.find, shards, nil, '1')
    refused('invalid_id', nil, shards.find, shards, 'users', 5)
    refused('invalid_document', nil, shards.insert, shards, 'users', 'x')
    refused('invalid_argument', 'colon', shards.find, 'users', '1')
    local err = refused('table_not_found', 'shard 0', shards.count, shards, 'nowhere')
    assert.equal(0, err.shard)
    assert.equal(3, #err.failed)
  end)
end)

describe('one shard that fails', function()
  it('raises with its name, or is named beside the answer of the others', function()
    for i = 1, 9 do shards:upsert('many', { id = tostring(i), n = i }) end
    shards.shards[2]:query('ALTER TABLE many RENAME TO elsewhere')
    local err = refused('table_not_found', 'shard 1: ', shards.findAll, shards, 'many')
    assert.equal(1, err.shard)
    local documents, _, _, failed = shards:findAll('many', { partial = true })
    assert.equal(1, #failed)
    assert.equal(1, failed[1].shard)
    for _, document in ipairs(documents) do assert.is_not_equal(1, tonumber(document.id) % 3) end
    local count
    count, failed = shards:count('many', nil, { partial = true })
    assert.equal(#documents, count)
    assert.equal(1, failed[1].shard)
    documents, _, failed = shards:findAllByIds('many', { '1', '2', '3' }, { partial = true })
    assert.equal('2 3', support.ids_of(documents))
    assert.equal(1, failed[1].shard)
    _, failed = shards:findOne('many', {}, { all = true, partial = true })
    assert.equal(1, failed[1].shard)
    -- that others have written it is not to be kept from anybody
    err = refused('table_not_found', nil, shards.patchWhere, shards, 'many', {},
      { set = { a = 1 } }, { all = true })
    assert.equal('unknown', err.outcome)
    refused('invalid_option', 'partial', shards.each, shards, 'many', { partial = true })
    shards.shards[2]:query('ALTER TABLE elsewhere RENAME TO many')
    assert.is_nil(select(4, shards:findAll('many', { partial = true })))
  end)
end)

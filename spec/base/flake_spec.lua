--- The ids that Stores makes: milliseconds above random bits, strictly increasing in a process.
-- Not in the gc pass: an id is a text, on which nothing of C hangs.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local flake = stores.flake

-- 2000-01-01T00:00:00Z
local EPOCH = 946684800

local function number(id)
  return ffi.cast('int64_t', tonumber(id:sub(1, -10)) or 0) * 1000000000LL
    + tonumber(id:sub(-9))
end

describe('an id that is made', function()
  local store, db
  setup(function() store, db = support.store({ 'things' }) end)
  teardown(function() support.close(store, db) end)

  it('is a string of a positive decimal', function()
    local id = store:generateId()
    assert.equal('string', type(id))
    assert.truthy(id:find('^[1-9]%d*$'), id)
    assert.is_true(number(id) > 0LL)
    assert.is_nil(store:find('things', id))
  end)

  it('is strictly greater than the one before', function()
    local last = number(store:generateId())
    for _ = 1, 50000 do
      local id = number(store:generateId())
      assert(id > last)
      last = id
    end
  end)

  it('is strictly greater than those of every other store of the process', function()
    local other = stores.Store.new(db, nil, { cache = false })
    local last = 0LL
    for i = 1, 5000 do
      local id = number((i % 2 == 0 and store or other):generateId())
      assert(id > last)
      last = id
    end
    support.close(other)
  end)

  it('says when it was made', function()
    local before = os.time()
    local made = flake.time(store:generateId())
    assert.is_true(made >= before - 1 and made <= os.time() + 2, made)
  end)

  it('is drawn by insert and upsert as well, in coroutines too', function()
    local list = {}
    for i = 1, 100 do list[i] = i end
    local ids = stores.map(list, function(i)
      return i % 2 == 0 and store:insert('things', {}).id or store:upsert('things', {}).id
    end)
    local seen = {}
    for _, id in ipairs(ids) do
      assert.is_nil(seen[id])
      seen[id] = true
    end
    for _, id in ipairs(ids) do assert.is_true(store:exists('things', id)) end
  end)

  it('is drawn again where another process made the same one', function()
    local before, pipes = store:count('things'), {}
    local program = ([[luajit -e "
      local stores = require('stores')
      local store = stores.Store.new({ host = '%s', port = %d, database = '%s', user = '%s' })
      local list = {}
      for i = 1, 300 do list[i] = {} end
      stores.map(list, function(record) store:insert('things', record) end)
      print('done')
    " 2>&1]]):format(db.host, db.port, db.database, db.user)
    for i = 1, 4 do pipes[i] = assert(io.popen(program)) end
    for _, pipe in ipairs(pipes) do
      assert.equal('done\n', pipe:read('*a'))
      pipe:close()
    end
    assert.equal(before + 4 * 300, store:count('things'))
  end)

  it('has the layout of simpleflake where that is asked for', function()
    local simple = stores.Store.new(db, nil, { flake = 'simpleflake' })
    local before, id = os.time(), simple:generateId()
    local made = flake.time(id, 'simpleflake')
    assert.is_true(made >= before - 1 and made <= os.time() + 2, made)
    -- the other layout has half of the time for the same number
    assert.is_true(flake.time(id) - EPOCH > 1.9 * (made - EPOCH))
    support.close(simple)
  end)
end)

describe('stores.flake', function()
  it('gives the smallest id of a time, and the time of an id', function()
    assert.equal('0', flake.at(EPOCH))
    assert.equal(tostring(2 ^ 22 * 1000):gsub('%.0$', ''), flake.at(EPOCH + 1))
    assert.equal('8388608', flake.at(EPOCH + 0.001, 'simpleflake'))
    assert.equal('4194304', flake.at(EPOCH + 0.001))
    assert.equal('-4194304', flake.at(EPOCH - 0.001))
    for _, time in ipairs({ EPOCH, 1e9, 1.7e9, 1700000000.123, 3.1e9, 0, -1e9 }) do
      assert.equal(time, flake.time(flake.at(time)))
    end
    for _, time in ipairs({ EPOCH, 1e9, 1.7e9, 1700000000.123, 2e9 }) do
      assert.equal(time, flake.time(flake.at(time, 'simpleflake'), 'simpleflake'))
    end
  end)

  it('reaches to 2069, and with simpleflake to 2034', function()
    local last = '9223372036854775807'
    assert.equal('2069', os.date('!%Y', flake.time(last)))
    assert.equal('2034', os.date('!%Y', flake.time(last, 'simpleflake')))
    assert.equal(last, flake.at(1e11))
    assert.equal(last, flake.at(2.2e9, 'simpleflake'))
    assert.equal('-9223372036854775808', flake.at(-1e11))
  end)

  it('makes ranges of ids by time', function()
    local store, db = support.store({ 'events' }, { cache = false })
    for i = 1, 5 do
      local id = tostring(number(flake.at(1e9 + i)) + 5LL):match('^%d+')
      store:insert('events', { id = id, second = i })
    end
    local after = store:findAll('events', { after = flake.at(1e9 + 3) })
    assert.equal(3, #after)
    assert.equal(3, after[1].second)
    support.close(store, db)
  end)

  it('takes ids and seconds', function()
    refused('invalid_id', 'as a string', flake.time, 5)
    refused('invalid_id', nil, flake.time, 'abc')
    refused('invalid_argument', 'seconds', flake.at, 1e13)
    refused('invalid_argument', 'seconds', flake.at, 0 / 0)
    refused('invalid_argument', 'seconds', flake.at, '1e9')
    refused('invalid_argument', 'seconds', flake.at)
    refused('invalid_argument', "'simpleflake'", flake.at, 1e9, 'snowflake')
    refused('invalid_argument', "'simpleflake'", flake.time, '5', 'snowflake')
    assert.equal(flake.time('5000000000'), flake.time(5000000000LL))
    assert.equal(flake.at(1e9), flake.at(1e9, 'flake'))
  end)
end)

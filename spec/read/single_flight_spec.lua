--- Many who miss the same cold row: a few of them read it, the others wait a moment for the fill.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('a cold row that everybody wants at once', function()
  local store, db

  setup(function() store, db = support.store({ 'hot' }) end)
  teardown(function() support.close(store, db) end)

  local CHILD = [[
    local stores = require('stores')
    local host, database, redis, gate = arg[1], arg[2], arg[3], arg[4]
    local store = stores.Store.new({ host = host, port = 5432, database = database,
      user = 'postgres' }, { path = redis, opts = { timeout = 2 } })
    store:find('hot', '2') -- warm: connections, the table, its epoch
    local before = store:stats().selects
    io.open(gate .. '.ready.' .. arg[5], 'w'):close()
    while not io.open(gate) do stores.sleep(0.001) end
    local ids = {}
    for i = 1, 250 do ids[i] = '1' end
    local found = 0
    stores.map(ids, function(id)
      if store:find('hot', id).n == 7 then found = found + 1 end
    end)
    io.write(found, ' ', store:stats().selects - before, '\n')
    store:close()
  ]]

  it('is read a handful of times by 1,000 coroutines in 4 processes', function()
    store:upsert('hot', { id = '2', n = 2 })
    store:insert('hot', { id = '1', n = 7 }, { cache = false })
    local script, gate = os.tmpname(), os.tmpname()
    os.remove(gate)
    local out = assert(io.open(script, 'w'))
    out:write(CHILD)
    out:close()
    store:invalidate('hot', '1')
    local children = {}
    for i = 1, 4 do
      children[i] = assert(io.popen(("luajit %s '%s' %s '%s' %s %d"):format(script, db.host,
        db.database, support.redis().path, gate, i)))
    end
    support.eventually(function()
      for i = 1, 4 do
        local file = io.open(gate .. '.ready.' .. i)
        if not file then return false end
        file:close()
      end
      return true
    end, 20)
    assert(io.open(gate, 'w')):close()
    local found, selects = 0, 0
    for i = 1, 4 do
      local text = children[i]:read('*a')
      children[i]:close()
      os.remove(gate .. '.ready.' .. i)
      local own, asked = text:match('^(%d+) (%d+)')
      assert.truthy(own, text)
      found, selects = found + tonumber(own), selects + tonumber(asked)
    end
    os.remove(gate)
    os.remove(script)
    assert.equal(1000, found)
    assert.is_true(selects <= 12, selects .. ' SELECTs')
  end)

  it('is read once by the coroutines of one tick', function()
    store:upsert('hot', { id = '3', n = 3 }, { cache = false })
    store:upsert('hot', { id = '2', n = 2 })
    local hits = store:stats().hits
    support.eventually(function() -- warm: connections, the table, its epoch
      store:find('hot', '2')
      return store:stats().hits > hits
    end)
    local before = store:stats().selects
    local ids = {}
    for i = 1, 500 do ids[i] = '3' end
    stores.map(ids, function(id) assert.equal(3, store:find('hot', id).n) end)
    assert.is_true(store:stats().selects - before <= 4)
  end)
end)

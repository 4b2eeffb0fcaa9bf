--- A store that is closed while something of it is under way: what comes next raises `closed`.

local stores = require('stores')
local support = require('spec.support')

describe('a store that is closed', function()
  local base, db

  setup(function()
    base, db = support.store({ 'boats' })
    for i = 1, 9 do base:insert('boats', { id = tostring(i), n = i }) end
  end)
  teardown(function() support.close(base, db) end)

  -- fn(store) closes it
  local function ends_closed(fn)
    for _, mode in ipairs({ 'blocking', 'waiting' }) do
      local store = stores.Store.new(db)
      local ok, err
      local function go() ok, err = pcall(fn, store) end
      if mode == 'waiting' then stores.run(go) else go() end
      store:close()
      assert.is_false(ok)
      assert.equal('closed', type(err) == 'table' and err.code or err)
    end
  end

  local function exhaust(iterator)
    while iterator() do end -- luacheck: ignore
  end

  it('before the first batch of each, or between two', function()
    for _, opts in ipairs({ { batch = 2 }, { batch = 2, order = { 'n' } } }) do
      ends_closed(function(store)
        local iterator = store:each('boats', opts)
        store:close()
        exhaust(iterator)
      end)
      ends_closed(function(store)
        local iterator = store:each('boats', opts)
        iterator()
        store:close()
        local ok, err = pcall(exhaust, iterator)
        assert.is_false(ok)
        assert.equal('closed', err.code)
        exhaust(iterator)
      end)
    end
  end)

  it('in the function, or between the batches, of what goes batch by batch', function()
    local function close(store) return function() store:close() end end
    local missing = { '101', '102', '103' }
    ends_closed(function(store)
      store:updateEach('boats', nil, close(store), { all = true, batch = 2 })
    end)
    ends_closed(function(store)
      store:updateEach('boats', nil, function() return false end,
        { all = true, batch = 2, progress = close(store) })
    end)
    ends_closed(function(store)
      store:deleteMany('boats', missing, { batch = 1, transaction = false,
        progress = close(store) })
    end)
    for _, transaction in ipairs({ true, false }) do
      ends_closed(function(store)
        local calls = 0
        store:insertMany('boats', function()
          calls = calls + 1
          if calls == 3 then store:close() end
          return calls < 6 and {} or nil
        end, { batch = 2, transaction = transaction })
      end)
    end
  end)

  it('in the function of a transaction', function()
    for _, call in ipairs({
      function(tx) tx:find('boats', '1') end,
      function(tx) tx:insert('boats', { n = 0 }) end,
      function(tx) tx:insertMany('boats', { { n = 0 } }) end,
      function(tx) exhaust(tx:each('boats', { batch = 2 })) end,
      function(tx) tx:updateEach('boats', nil, function() end, { all = true }) end,
      function(tx) tx:query('SELECT 1') end,
      function() end,
    }) do
      for _, connects in ipairs({ true, false }) do
        ends_closed(function(store)
          store:transaction(function(tx)
            if connects then tx:patch('boats', '1', { inc = { n = 1 } }) end
            store:close()
            call(tx)
            if not connects then error(stores.errors.new('closed', 'nothing was sent')) end
          end)
        end)
      end
    end
    assert.equal(1, base:find('boats', '1', { cache = false }).n)
    assert.equal(0, base:count('boats', { n = 0 }))
  end)
end)

--- stores.on, stores.metrics and the histograms of stats().

local stores = require('stores')
local support = require('spec.support')

describe('somebody who watches', function()
  local store, db

  setup(function()
    store, db = support.store({ 'users' })
    store:insert('users', { id = '1', n = 1 })
  end)
  teardown(function() support.close(store, db) end)

  local function watch(fn, ...)
    local events = {}
    local off = stores.on('call', function(event) events[#events + 1] = event end)
    pcall(fn, ...)
    off()
    return events
  end

  it('hears of each call: its verb, table, source and time', function()
    local events = watch(function()
      support.eventually(function()
        store:find('users', '1')
        return store:stats().hits > 0
      end)
      store:find('users', '1', { cache = false })
    end)
    local cached, read = events[#events - 1], events[#events]
    assert.equal('find', cached.verb)
    assert.equal('users', cached.table)
    assert.equal('cache', cached.source)
    assert.is_true(cached.redis > 0)
    assert.equal(0, cached.postgres)
    assert.equal('postgres', read.source)
    assert.is_true(read.postgres > 0)
    assert.equal(0, read.redis)
  end)

  it('finds the parts of a call within its time', function()
    local events = watch(function()
      store:patch('users', '1', { inc = { n = 1 } })
      store:updateObject('users', '1', function(doc) doc.n = doc.n + 1 end)
      store:transaction(function(tx) tx:patch('users', '1', { inc = { n = 1 } }) end)
      store:count('users')
    end)
    assert.equal(4, #events)
    for _, event in ipairs(events) do
      local parts = event.queue + event.connect + event.redis + event.postgres + event.decode
      assert.is_true(parts > 0 and parts <= event.seconds, event.verb)
      assert.is_true(event.postgres > 0, event.verb)
    end
    assert.is_true(events[2].round_trips > 1)
    assert.is_true(events[1].redis > 0)
  end)

  it('hears of errors too, which are raised all the same', function()
    local events = watch(function() store:find('users', 5) end)
    assert.equal('invalid_id', events[1].error.code)
    assert.has_error(function() store:find('users', 5) end)
  end)

  it('hears of calls of many coroutines, each with its own time', function()
    local events = watch(function()
      local list = {}
      for i = 1, 50 do list[i] = tostring(i) end
      stores.map(list, function(id) store:upsert('users', { id = id, n = 0 }) end)
    end)
    assert.equal(50, #events)
    for _, event in ipairs(events) do assert.equal('upsert', event.verb) end
  end)

  it('hears of slow calls alone where it asks for those', function()
    local events = {}
    local off = stores.on('slow', function(event) events[#events + 1] = event end,
      { seconds = 0.05 })
    store:find('users', '1')
    store:query('SELECT pg_sleep(0.06)')
    off()
    assert.equal(1, #events)
    assert.equal('query', events[1].verb)
  end)

  it('has histograms of every verb in stats()', function()
    local before = store:stats().latency.find
    store:find('users', '1')
    local after = store:stats().latency.find
    assert.equal(before.count + 1, after.count)
    assert.is_true(after.sum > before.sum)
    local total = 0
    for _, bucket in ipairs(after) do total = total + bucket.count end
    assert.equal(after.count, total)
  end)

  it('reads the figures of all stores in the text format of Prometheus', function()
    local text = stores.metrics()
    for line in text:gmatch('[^\n]+') do
      assert.truthy(line:match('^# TYPE stores_[%w_]+ %l+$')
        or line:match('^stores_[%w_]+{[^}]+} [%d.e+-]+$'), line)
    end
    assert.truthy(text:find('stores_hits_total{store="', 1, true))
    assert.truthy(text:find('stores_pool_idle{store="', 1, true))
    assert.truthy(text:find('le="+Inf"', 1, true))
  end)

  it('is refused for hooks that are none', function()
    local ok, err = pcall(stores.on, 'calls', print)
    assert.is_false(ok)
    assert.equal('invalid_argument', err.code)
    ok, err = pcall(stores.on, 'call', 'print')
    assert.is_false(ok)
    assert.equal('invalid_argument', err.code)
  end)
end)

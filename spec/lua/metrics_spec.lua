--- stores.metrics: its text, and the figures of several processes that share a folder.

local process = require('spec.support.process')
local prometheus = require('spec.support.prometheus')
local stores = require('stores')
local support = require('spec.support')

-- Where processes share. This one goes on telling there when its stores are closed, also in what
-- other specs of this file ask for: it stays until the last of them, whatever their order.
local all
setup(function()
  all = os.tmpname()
  os.remove(all)
  assert(os.execute('mkdir ' .. all) == 0)
end)
teardown(function() os.execute(("rm -rf '%s'"):format(all)) end)

describe('stores.metrics', function()
  local store, db

  setup(function()
    store, db = support.store({ 'users' })
    store:insert('users', { id = '1', n = 1 })
    store:find('users', '1')
  end)
  teardown(function() support.close(store, db) end)

  local function scrape(opts) return prometheus.read(stores.metrics(opts)) end

  it('is in the format of Prometheus, with HELP and TYPE of each', function()
    local families = scrape()
    assert.equal('counter', families.stores_hits_total.kind)
    assert.equal('gauge', families.stores_pool_idle.kind)
    assert.equal('histogram', families.stores_call_seconds.kind)
    assert.equal('Reads by id that found a document in the cache.',
      families.stores_hits_total.help)
  end)

  it('has every number of stats(), and says what it is', function()
    local families, stats = scrape(), store:stats()
    local figures = require('stores.metrics.figures')
    for name, value in pairs(stats) do
      if type(value) == 'number' then
        local family = families[figures.full_name(name)]
        assert.is_table(family, name)
        assert.not_equal(name:gsub('_', ' ') .. '.', family.help, name)
      end
    end
  end)

  it('has histograms whose buckets add up', function()
    local before = prometheus.sum(scrape(), 'stores_call_seconds')
    for _ = 1, 7 do store:find('users', '1') end
    assert.equal(before + 7, prometheus.sum(scrape(), 'stores_call_seconds'))
  end)

  it('calls a store by its name, and its labels are escaped', function()
    local named = stores.Store.new(support.config(db.database), nil,
      { cache = false, name = 'a "name"\\\n' })
    named:query('SELECT 1')
    assert.equal(1, scrape().stores_calls_total.series['store="a \\"name\\"\\\\\\n"'])
    for _, family in ipairs(stores.metrics({ as = 'table' })) do
      if family.name == 'stores_calls_total' then
        local names = {}
        for _, series in ipairs(family.series) do names[series.labels.store] = series.value end
        assert.equal(1, names['a "name"\\\n'])
      end
    end
    named:close()
  end)

  it('tells which tables are not cached, and why', function()
    store:query('CREATE VIEW views AS SELECT * FROM users')
    store:find('views', '1')
    local uncached = scrape().stores_table_uncached
    assert.equal('gauge', uncached.kind)
    local found
    for labels, value in pairs(uncached.series) do
      if labels:find('table="public.views"', 1, true) then found = labels .. value end
    end
    assert.matches('reason="a view"', found, 1, true)
    assert.matches('1$', found)
    store:query('DROP VIEW views')
  end)

  it('refuses what it does not take', function()
    for _, opts in ipairs({ 5, { dir = '/tmp' }, { as = 'xml' }, { dict = 'none' },
                            { folder = '' }, { folder = '/nowhere/figures' },
                            { folder = '/dev/null' }, { folder = '/proc' } }) do
      local ok, err = pcall(stores.metrics, opts)
      assert.is_false(ok)
      assert.equal('invalid_option', err.code)
    end
    for _, given in ipairs({ 5, {}, { dict = 'none' }, { folder = '/tmp/x', dict = 'y' },
                             { folders = '/tmp/x' }, { folder = '/nowhere/figures' },
                             { folder = '/dev/null' }, { folder = '/proc' } }) do
      local ok, err = pcall(stores.Store.new, support.config(db.database), nil,
        { metrics = given })
      assert.is_false(ok)
      assert.equal('invalid_option', err.code)
    end
  end)
end)

describe('the metrics of several processes', function()
  local store, db, folder
  local count = 0

  setup(function()
    store, db = support.store({ 'users' }, { no_redis = true })
    store:insert('users', { id = '1', n = 1 })
  end)
  teardown(function() support.close(store, db) end)
  before_each(function()
    count = count + 1
    folder = all .. '/' .. count
  end)

  local function sharing(fields)
    return stores.Store.new(support.config(db.database, fields), nil,
      { cache = false, name = 'app', metrics = { folder = folder } })
  end

  local CHILD = [[
    local stores = require('stores')
    local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q }, nil,
      { cache = false, name = 'app', metrics = { folder = %q } })
    for _ = 1, %d do store:find('users', '1') end
    %s
    print('done')
    require('ffi').cdef('int pause(void);')
    require('ffi').C.pause()
  ]]

  local function child(calls, more)
    local config = support.config(db.database)
    local one = process.lua(CHILD:format(config.host, config.port, config.database, config.user,
      folder, calls, more or 'stores.metrics()'))
    assert.equal('done', one:line())
    return one
  end

  -- In a process of its own, which tells nothing: this one adds up all folders of this file.
  local function scrape()
    local one = process.lua(('io.write(require("stores").metrics({ folder = %q }))'):format(folder))
    local lines = {}
    for line in function() return one:line() end do lines[#lines + 1] = line end
    one:wait()
    return prometheus.read(table.concat(lines, '\n') .. '\n')
  end

  local function finds()
    local families = scrape()
    local latency = families.stores_call_seconds
    local of = latency and latency.series['store="app",verb="find"']
    return of and of.count or 0, families
  end

  it('are one scrape of any of them', function()
    local own = sharing()
    local first, second = child(3), child(4)
    own:find('users', '1')
    stores.metrics() -- tells at once: a call within a tenth of a second of another is told later
    local found, families = finds()
    assert.equal(8, found)
    assert.equal(3, families.stores_workers.series[''])
    assert.equal(3, families.stores_pool_idle.series['store="app"'])
    for _, one in ipairs({ first, second }) do
      one:signal('KILL')
      one:wait()
    end
    own:close()
  end)

  it('count what those did that were killed, and no more how they were', function()
    local own = sharing()
    own:find('users', '1')
    stores.metrics() -- tells at once: a call within a tenth of a second of another is told later
    local first, second = child(3), child(4)
    first:signal('KILL')
    first:wait()
    for _ = 1, 3 do
      local found, families = finds()
      assert.equal(8, found)
      assert.equal(2, families.stores_workers.series[''])
      assert.equal(2, families.stores_pool_idle.series['store="app"'])
    end
    second:signal('KILL')
    second:wait()
    local third = child(5)
    local found, families = finds()
    assert.equal(13, found)
    assert.equal(2, families.stores_pool_idle.series['store="app"'])
    third:signal('KILL')
    third:wait()
    -- nothing is left of them but one file for all
    finds()
    local left = io.popen(("ls '%s'"):format(folder)):read('*a')
    assert.equal(1, select(2, left:gsub('%d+%-%d+%.json', '')), left)
    assert.matches('departed.json', left, 1, true)
    own:close()
  end)

  it('count what stores did that were closed', function()
    local one = child(3, 'store:close() stores.metrics()')
    assert.equal(3, (finds()))
    local own = sharing()
    own:find('users', '1')
    stores.metrics() -- tells at once: a call within a tenth of a second of another is told later
    own:close()
    local again = sharing()
    again:find('users', '1')
    stores.metrics()
    assert.equal(5, (finds()))
    again:close()
    assert.equal(5, (finds()))
    one:signal('KILL')
    one:wait()
  end)

  it('are told a moment after a burst of calls, though none follows', function()
    local one = child(1, [[
      stores.run(function()
        stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() store:find('users', '1') end)
        stores.sleep(0.5)
      end)]])
    local found, families = finds()
    assert.equal(9, found)
    assert.equal(0, families.stores_ops.series['store="app"'])
    one:signal('KILL')
    one:wait()
  end)

  it('never go back while processes come, go and are scraped', function()
    local own = sharing()
    local last, expected = 0, 0
    for round = 1, 6 do
      local one = child(round)
      expected = expected + round
      local found = finds()
      assert.is_true(found >= last)
      last = found
      one:signal(round % 2 == 0 and 'KILL' or 'TERM')
      one:wait()
      found = finds()
      assert.is_true(found >= last)
      last = found
    end
    assert.equal(expected, last)
    own:close()
  end)
end)

--- Finalizers of the program, which run wherever Lua is asked for memory: also in the middle of a
--- call, that may find its store closed, or its row gone, after that.
-- Not in the gc pass: its collector would run them sooner than they are to.

local cache = require('spec.support.cache')
local finalizers = require('spec.support.finalizers')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('a finalizer', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }, { hold = { 'docs' } }) end)
  teardown(function() support.close(store, db) end)

  it('that closes the store in the middle of a call ends that call alone', function()
    local list, none, doc = { '1' }, {}, { id = '1', n = 2LL, deep = { {}, { {} } } }
    for name, start in pairs({
      query = function(engine) return engine:query('SELECT $1::text', list, none, 5) end,
      write = function(engine) return engine:write('update', 'docs', '1', doc, 5) end,
      modify = function(engine)
        return engine:write('modify', 'docs', '1', nil, 5, true, false, 'value', list)
      end,
      select = function(engine)
        return engine:select('docs', 'SELECT id, value FROM %T WHERE id = $1', list, 5)
      end,
      find_many = function(engine) return engine:find_many('docs', list, 5) end,
      transaction = function(engine) return engine:tx(nil, 5) end,
      listen = function(engine) return engine:listen('news') end,
    }) do
      local own = stores.Store.new(db, support.redis())
      local engine = own.engine
      local ok, result = finalizers.run(function() own:close() end, function()
        return start(engine)
      end)
      assert.is_false(ok, name)
      assert.equal('closed', result.code, name)
    end
  end)

  it('that closes the store in the middle of a verb has it raise that, and no error of Lua',
    function()
      local ids, list = { '1', '2', '1' }, { { id = '31' }, { id = '32' } }
      local criteria, raw, shared = { n = 1 }, { raw = true }, { shared = true }
      local wrong = {}
      local function nothing() end
      store:upsert('docs', { id = '1', n = 1 })
      store:upsert('docs', { id = '2', n = 2, deep = { { 1 } } })
      local function try(name, own, call)
        local ok, result = finalizers.run(function() own:close() end, function()
          return call(own)
        end)
        -- it may be over before
        if not ok and (type(result) ~= 'table' or result.code ~= 'closed') then
          wrong[name] = tostring(result)
        end
      end
      for name, call in pairs({
        find = function(own) return own:find('docs', '2') end,
        raw = function(own) return own:find('docs', '2', raw) end,
        shared = function(own) return own:find('docs', '2', shared) end,
        exists = function(own) return own:exists('docs', '1') end,
        findAllByIds = function(own) return own:findAllByIds('docs', ids) end,
        raw_ids = function(own) return own:findAllByIds('docs', ids, raw) end,
      }) do
        local own = stores.Store.new(db, support.redis(), { hold = { 'docs' } })
        cache.hold(own, 'docs', '1')
        cache.hold(own, 'docs', '2')
        own:findAllByIds('docs', ids)
        try(name, own, call)
      end
      for name, call in pairs({
        findByJSON = function(own) return own:findByJSON('docs', criteria) end,
        count = function(own) return own:count('docs', criteria) end,
        update = function(own) return own:update('docs', list[1]) end,
        insert = function(own) return own:insert('docs', { n = 1 }) end,
        delete = function(own) return own:delete('docs', '33') end,
        deleteMany = function(own) return own:deleteMany('docs', ids) end,
        upsertMany = function(own) return own:upsertMany('docs', list) end,
        patch = function(own) return own:patch('docs', '1', { inc = criteria }) end,
        patchWhere = function(own) return own:patchWhere('docs', criteria, { inc = criteria }) end,
        updateObject = function(own) return own:updateObject('docs', '1', nothing) end,
        updateEach = function(own) return own:updateEach('docs', criteria, nothing) end,
        transaction = function(own) return own:transaction(nothing) end,
        query = function(own) return own:query('SELECT 1') end,
        invalidate = function(own) return own:invalidate('docs', '1') end,
        token = function(own) return own:token() end,
        stats = function(own) return own:stats() end,
        generateId = function(own) return own:generateId() end,
        notify = function(own) return own:notify('news', 'x') end,
        sweep = function(own) return own:sweep() end,
      }) do
        local own = stores.Store.new(db, support.redis())
        own:find('docs', '1')
        try(name, own, call)
      end
      assert.same({}, wrong)
    end)

  it('that closes the store while figures are read comes before or behind that', function()
    for name, read in pairs({
      stats = function(engine) return engine:stats() end,
      tables = require('stores.core').tables,
    }) do
      local own = stores.Store.new(db, support.redis())
      own:find('docs', '1')
      local engine = own.engine
      local ok, result = finalizers.run(function() own:close() end, function()
        return read(engine)
      end)
      assert.is_true(ok and next(result) ~= nil or result.code == 'closed', name)
    end
  end)

  it('that writes a row, or reads another one, while it is read from memory spoils none', function()
    local list = {}
    for at = 1, 300 do list[at] = { name = 'one of many', at = at } end
    local expected = { id = '7', list = list }
    store:upsert('docs', expected)
    store:upsert('docs', { id = '8', text = 'another one' })
    local before = store:query('SELECT value::text AS text FROM docs WHERE id = 7')[1].text
    local engine = store.engine
    for _, raw in ipairs({ false, true }) do
      cache.hold(store, 'docs', '7')
      cache.hold(store, 'docs', '8')
      local ok, got = finalizers.run(function()
        for _ = 1, 3 do assert.equal('another one', engine:held('docs', '8', false).text) end
        store:update('docs', { id = '7' })
        -- what takes the place of what is gone
        for at = 1, 50 do assert(#('x'):rep(#before - 50 + 2 * at) > 0) end
        store:update('docs', expected)
      end, function() return engine:held('docs', '7', raw) end)
      assert.is_true(ok)
      -- that it is not known any more is right, too
      if got and raw then
        assert.is_true(before == got)
      elseif got then
        assert.equal(300, #got.list)
        for at, one in ipairs(got.list) do
          assert.equal('one of many', one.name)
          assert.equal(at, one.at)
        end
      end
    end
  end)

  it('that reads rows into memory while the free places are told is heard', function()
    local engine, own = store.engine, {}
    for n = 1, 200 do own[n] = store:insert('docs', { n = n }).id end
    local function hold(first, last)
      for n = first, last do cache.hold(store, 'docs', own[n]) end
    end
    hold(1, 40)
    store:query('UPDATE docs SET value = value', nil, { invalidates = { 'docs' } })
    support.eventually(function() return #engine:held_free_slots() >= 40 end)
    local ok, free = finalizers.run(function() hold(1, 200) end, function()
      return engine:held_free_slots()
    end)
    assert.is_true(ok)
    assert.same(engine:held_free_slots(), free)
  end)

  it('that raises while luv resumes a coroutine takes nobody else with it', function()
    local child = process.lua(([[
      local stores = require('stores')
      stores.use('luv')
      local uv = require('luv')
      local finalizers = require('spec.support.finalizers')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q })
      store:find('docs', '1')
      local went_on, began, timer = 0, false, uv.new_timer()
      local function wait()
        stores.sleep(0.05)
        pcall(store.find, store, 'docs', '1')
        went_on = went_on + 1
        if went_on == 20 then
          print('all of them')
          os.exit(0)
        end
        if began then return end
        began = true
        pcall(finalizers.run, function() error('the finalizer is broken', 0) end, coroutine.yield)
      end
      for _ = 1, 20 do stores.spawn(wait) end
      timer:start(30000, 0, function()
        print(went_on)
        os.exit(1)
      end)
      uv.run()]]):format(db.host, tostring(db.port), db.database, db.user), '/dev/null')
    assert.equal('all of them\n', child:wait())
  end)
end)

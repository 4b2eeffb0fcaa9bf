--- store:listen and store:notify.

local stores = require('stores')
local support = require('spec.support')

describe('a listener', function()
  local store, db

  setup(function() store, db = support.store({}, { no_redis = true }) end)
  teardown(function() support.close(store, db) end)

  local function listening(channel)
    local rows = store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 AND "
      .. 'query = $2', { db.database, ('LISTEN "%s"'):format(channel) })
    return rows[1].n == 1
  end

  it('hears what is notified, in order', function()
    stores.run(function()
      local heard = {}
      local listener = store:listen('news', function(payload) heard[#heard + 1] = payload end)
      support.eventually(function() return listening('news') end)
      for i = 1, 20 do store:notify('news', 'n' .. i) end
      support.eventually(function() return #heard == 20 end)
      for i = 1, 20 do assert.equal('n' .. i, heard[i]) end
      listener:stop()
    end)
  end)

  it('hears of a transaction when it commits, and nothing of one that is rolled back', function()
    stores.run(function()
      local heard = {}
      local listener = store:listen('news', function(payload) heard[#heard + 1] = payload end)
      support.eventually(function() return listening('news') end)
      pcall(store.transaction, store, function(tx)
        tx:query("SELECT pg_notify('news', 'no')")
        error('no')
      end)
      store:transaction(function(tx) tx:query("SELECT pg_notify('news', 'yes')") end)
      support.eventually(function() return #heard > 0 end)
      assert.same({ 'yes' }, heard)
      listener:stop()
    end)
  end)

  it('listens again after a loss, and says that there is a gap', function()
    stores.run(function()
      local heard = {}
      local listener = store:listen('a "quoted" channel', function(payload, gap)
        heard[#heard + 1] = gap or payload
      end)
      support.eventually(function() return listening('a ""quoted"" channel') end)
      store:query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
        .. "AND query LIKE 'LISTEN%'", { db.database })
      support.eventually(function() return heard[1] == 'gap' end)
      store:notify('a "quoted" channel', 'after')
      support.eventually(function() return heard[2] == 'after' end)
      listener:stop()
    end)
  end)

  it('gives its connection back when it is stopped', function()
    stores.run(function()
      local listener = store:listen('news', function() end)
      support.eventually(function() return listening('news') end)
      listener:stop()
      listener:stop()
      support.eventually(function() return store:stats().pool_checked_out == 0 end)
    end)
  end)

  it('logs the error of its function, and the next payload comes', function()
    local said = {}
    local logs = stores.Store.new(support.config(db.database), nil,
      { cache = false, log = function(text) said[#said + 1] = text end })
    stores.run(function()
      local heard = {}
      local listener = logs:listen('news', function(payload)
        heard[#heard + 1] = payload
        if payload ~= 'third' then error(payload == 'first' and 'mine' or { no = 'text' }, 0) end
      end)
      for _, payload in ipairs({ 'first', 'second', 'third' }) do store:notify('news', payload) end
      support.eventually(function() return #heard == 3 end)
      assert.same({ 'first', 'second', 'third' }, heard)
      assert.equal(2, #said)
      assert.equal("the function of a listener to 'news' failed: mine", said[1])
      assert.matches('failed: table', said[2])
      listener:stop()
    end)
    logs:close()
  end)

  describe('of many', function()
    local ears = 0 -- sessions of another example may take their time to end, and are not counted

    local function own_store(fields)
      local all = { application_name = 'ears ' .. ears }
      for key, value in pairs(fields or {}) do all[key] = value end
      return stores.Store.new(support.config(db.database, all), nil, { cache = false })
    end

    before_each(function() ears = ears + 1 end)

    local function sessions(where)
      local rows = store:query('SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 AND '
        .. 'application_name = $2 AND ' .. where, { db.database, 'ears ' .. ears })
      return rows[1].n
    end

    it('shares one connection, which is none of the pool', function()
      local small = own_store({ poolsize = 1 })
      stores.run(function()
        local heard, list = {}, {}
        for i = 1, 5 do
          for twice = 1, 2 do
            list[#list + 1] = small:listen('c' .. i, function(payload)
              heard[#heard + 1] = i .. '/' .. twice .. payload
            end)
          end
        end
        assert.equal(1, small:query('SELECT 1 AS one')[1].one)
        assert.equal(2, sessions('true'))
        local stats = small:stats()
        assert.equal(10, stats.listeners)
        assert.equal(0, stats.listeners_deaf)
        assert.equal(0, stats.pool_checked_out)
        for i = 1, 5 do store:notify('c' .. i, '!') end
        support.eventually(function() return #heard == 10 end)
        table.sort(heard)
        for i = 1, 5 do
          assert.same({ i .. '/1!', i .. '/2!' }, { heard[2 * i - 1], heard[2 * i] })
        end
        for _, one in ipairs(list) do one:stop() end
        support.eventually(function() return sessions("query LIKE '%LISTEN%'") == 0 end)
        assert.equal(0, small:stats().listeners)
      end)
      small:close()
    end)

    it('the last one of a channel ends it, and the next one begins it again', function()
      local small = own_store()
      stores.run(function()
        local kept = small:listen('kept', function() end)
        for round = 1, 3 do
          local heard = {}
          local first = small:listen('now and then', function(payload) heard[1] = payload end)
          local second = small:listen('now and then', function(payload) heard[2] = payload end)
          first:stop()
          store:notify('now and then', tostring(round))
          support.eventually(function() return heard[2] end)
          assert.is_nil(heard[1])
          assert.equal(tostring(round), heard[2])
          second:stop()
          if round == 1 then
            support.eventually(function() return sessions("query LIKE 'UNLISTEN%'") == 1 end)
          end
        end
        kept:stop()
      end)
      small:close()
    end)

    it('all hear of the gap when their connection was lost', function()
      local small = own_store()
      stores.run(function()
        local gaps, list = 0, {}
        for i = 1, 3 do
          list[i] = small:listen('g' .. i, function(_, gap) if gap then gaps = gaps + 1 end end)
        end
        store:query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
          .. "AND query LIKE 'LISTEN%'", { db.database })
        support.eventually(function() return gaps == 3 end)
        assert.equal(0, small:stats().listeners_deaf)
        for _, one in ipairs(list) do one:stop() end
      end)
      small:close()
    end)
  end)

  it('listens already when listen returns', function()
    stores.run(function()
      for _ = 1, 20 do
        local fresh = stores.Store.new(support.config(db.database), nil, { cache = false })
        local heard
        local listener = fresh:listen('now', function(payload) heard = payload end)
        store:notify('now', 'x')
        support.eventually(function() return heard == 'x' end)
        listener:stop()
        fresh:close()
      end
    end)
  end)

  it('says that the server refuses, and keeps nothing then', function()
    local nobody = stores.Store.new(support.config(db.database, { user = 'nobody_known' }), nil,
      { cache = false })
    stores.run(function()
      local ok, err = nobody.try:listen('news', function() end)
      assert.is_false(ok)
      assert.equal('auth_failed', err.code)
      assert.equal(0, nobody:stats().listeners)
      local failures = nobody:stats().pg_connect_failures
      stores.sleep(0.3)
      assert.equal(failures, nobody:stats().pg_connect_failures)
    end)
    nobody:close()
  end)

  it('that is refused later on says so once, and listens again when it may', function()
    local said, gap = {}, false
    support.psql(db, 'DROP ROLE IF EXISTS listens; CREATE ROLE listens LOGIN')
    local app = stores.Store.new(support.config(db.database, { user = 'listens' }), nil,
      { cache = false, log = function(text) said[#said + 1] = text end })
    stores.run(function()
      local one = app:listen('news', function(_, is_gap) gap = gap or is_gap end)
      support.psql(db, 'ALTER ROLE listens NOLOGIN')
      support.psql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename ="
        .. " 'listens'")
      support.eventually(function() return app:stats().pg_connect_failures >= 3 end, 20)
      assert.equal(1, app:stats().listeners_deaf)
      assert.equal(1, #said)
      assert.truthy(said[1]:find('LISTEN is refused', 1, true), said[1])
      support.psql(db, 'ALTER ROLE listens LOGIN')
      support.eventually(function() return gap end, 20)
      assert.equal(0, app:stats().listeners_deaf)
      one:stop()
    end)
    app:close()
    support.psql(db, 'DROP ROLE listens')
  end)

  it("shares one connection with others behind pooler = 'transaction' too", function()
    local url = ('postgresql:///%s?host=%s&user=%s&application_name=direct'):format(db.database,
      support.config().host, support.config().user)
    local pooled = stores.Store.new(support.config(db.database, { pooler = 'transaction',
      migrate_url = url }), nil, { cache = false })
    stores.run(function()
      local heard, list = 0, {}
      for i = 1, 3 do list[i] = pooled:listen('p' .. i, function() heard = heard + 1 end) end
      for i = 1, 3 do store:notify('p' .. i) end
      support.eventually(function() return heard == 3 end)
      assert.equal(1, store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE"
        .. " application_name = 'direct' AND datname = $1", { db.database })[1].n)
      for _, one in ipairs(list) do one:stop() end
    end)
    pooled:close()
  end)

  it('refuses names that are none, and to block', function()
    for _, name in ipairs({ '', ('x'):rep(64), 5 }) do
      local ok, err = store.try:listen(name, function() end)
      assert.is_false(ok)
      assert.equal('invalid_argument', err.code)
    end
    local ok, err = store.try:listen('news', function() end)
    assert.is_false(ok)
    assert.equal('unsupported', err.code)
  end)

  it("says what is missing with pooler = 'transaction'", function()
    local pooled = stores.Store.new(support.config(db.database, { pooler = 'transaction' }), nil,
      { cache = false })
    stores.run(function()
      local ok, err = pooled.try:listen('news', function() end)
      assert.is_false(ok)
      assert.truthy(err.message:find('migrate_url', 1, true))
    end)
    pooled:close()
  end)
end)

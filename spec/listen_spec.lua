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

  it('raises the error of its function where run ends', function()
    local ok, err = pcall(stores.run, function()
      store:listen('news', function() error('mine', 0) end)
      support.eventually(function() return listening('news') end)
      store:notify('news')
      support.eventually(function() return store:stats().pool_checked_out == 0 end)
    end)
    assert.is_false(ok)
    assert.equal('mine', err)
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

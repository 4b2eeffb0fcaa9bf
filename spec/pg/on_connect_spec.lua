-- What a config has run on each new connection before anybody uses it.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('on_connect', function()
  local db, open

  setup(function() db = support.db() end)
  teardown(function() support.drop(db) end)

  before_each(function() open = {} end)
  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(config)
    local store = stores.Store.new(config, nil, { cache = false })
    open[#open + 1] = store
    return store
  end

  local function failure_of(config)
    local ok, err = store_of(config).try:query('SELECT 1')
    assert.is_false(ok)
    assert.equal('none', err.outcome)
    return err
  end

  it('has prepared each connection', function()
    local store = store_of(support.config(db.database, { poolsize = 3,
      on_connect = "SET work_mem = '9MB'; SET app.name = 'the shop'" }))
    local inside = 0
    local seen = stores.map({ 1, 2, 3 }, function()
      return store:transaction(function(tx)
        local row = tx:query("SELECT pg_backend_pid() AS pid, current_setting('work_mem') AS mem,"
          .. " current_setting('app.name') AS app")[1]
        inside = inside + 1
        support.eventually(function() return inside == 3 end)
        return row
      end)
    end)
    local pids, count = {}, 0
    for _, row in ipairs(seen) do
      assert.same({ '9MB', 'the shop' }, { row.mem, row.app })
      if not pids[row.pid] then count = count + 1 end
      pids[row.pid] = true
    end
    assert.equal(3, count)
  end)

  it('lets nobody in where it fails, and says why', function()
    local err = failure_of(support.config(db.database, { on_connect = 'SELECT no_such_column' }))
    assert.equal('connect_failed', err.code)
    assert.equal('42703', err.sqlstate)
    assert.truthy(err.message:find('on_connect', 1, true), err.message)
    assert.truthy(err.message:find('no_such_column', 1, true), err.message)
    err = failure_of(support.config(db.database, { on_connect = 'BEGIN' }))
    assert.equal('connect_failed', err.code)
    assert.truthy(err.message:find('leaves a transaction open', 1, true), err.message)
  end)

  it('lets nobody in where it asks for rows, or gives some, by COPY, and says why', function()
    for _, sql in ipairs({ 'COPY pg_class TO STDOUT', 'CREATE TEMP TABLE c (n int);'
        .. ' COPY c FROM STDIN' }) do
      local err = failure_of(support.config(db.database, { on_connect = sql }))
      assert.equal('connect_failed', err.code)
      assert.truthy(err.message:find('on_connect failed: COPY is not possible', 1, true),
        err.message)
      assert.is_false(err.retryable)
    end
  end)

  it('changes nothing of the settings that the engine relies on', function()
    local other = store_of(support.config(db.database, { on_connect = [[
      SET client_encoding = 'LATIN1';
      SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ;
      SET standard_conforming_strings = off;
      SET extra_float_digits = -10;
      SET work_mem = '9MB']] }))
    for _ = 1, 2 do
      assert.equal('é', other:query("SELECT 'é' AS text")[1].text)
      assert.equal('\\', other:query("SELECT '\\' AS text")[1].text)
      assert.equal(0.1 + 0.2, other:query('SELECT 0.1::float8 + 0.2::float8 AS n')[1].n)
      assert.same({ { isolation = 'read committed', mem = '9MB' } }, other:query([[
        SELECT current_setting('transaction_isolation') AS isolation,
          current_setting('work_mem') AS mem]]))
      other:query("SET client_encoding = 'LATIN1'; SET extra_float_digits = 0") -- and is reset
    end
    assert.equal(1, other:stats().pg_connects)
  end)
end)

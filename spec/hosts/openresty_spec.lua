--- What Stores does in nginx beside the contract of the hosts: phases, clients that go away,
--- reloads.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local http = require('spec.support.http')
local openresty = require('spec.support.openresty')
local process = require('spec.support.process')
local support = require('spec.support')

local RELOADS = tonumber(os.getenv('STORES_TEST_RELOADS')) or 30

local root = os.getenv('STORES_ROOT') or '.'

describe('in nginx #slow', function()
  local own, db, server

  lazy_setup(function()
    own = openresty.new()
    db = own.db
  end)
  lazy_teardown(function() support.drop(db) end)
  after_each(function() own:stop() end)

  local function start(...) server = own:start(...) end
  local function get(target) return own:get(target) end

  it('refuses a store that is made before the workers are forked', function()
    start(openresty.at('t', 'ngx.say(tostring(refused))'), {
      init = 'local ok, err = pcall(open) refused = ok or err.code .. ": " .. err.message' })
    assert.matches('^forked: init_by_lua', get('/t'))
  end)

  it('shares poolsize_total among the workers', function()
    start(openresty.at('t', [[
      local config = require('stores.config.tables')
      local function size(total)
        return config.resolve({ host = '/tmp', database = 'x', poolsize_total = total }).poolsize
      end
      ngx.say(size(20), ' ', size(2), ' ', tostring(pcall(size, 0)))]]), { workers = 3 })
    assert.matches('^6 1 false', get('/t'))
  end)

  it('names the phase that cannot wait, and sends nothing', function()
    start(openresty.at('t', 'ngx.say("body")') .. [[
      header_filter_by_lua_block {
        local store = S()
        local ok, err = pcall(store.find, store, 'docs', '1')
        ngx.header.found = ok and 'ok' or err.code .. ': ' .. err.message
        ngx.header.ops = store:stats().ops
        local run_ok, run_err = pcall(stores.run, function() end)
        ngx.header.run = run_ok and 'ok' or run_err.code
      }]])
    local _, _, headers = server:request('GET', '/t')
    assert.matches('^unsupported: header_filter_by_lua', headers.found)
    assert.equal('0', headers.ops)
    assert.equal('unsupported', headers.run)
  end)

  it('serves every phase that can wait, timers and light threads', function()
    start([[
      location = /t {
        rewrite_by_lua_block { a = S():query("SELECT 'rewrite' AS v")[1].v }
        access_by_lua_block { b = S():query("SELECT 'access' AS v")[1].v }
        content_by_lua_block {
          local function one(v) return S():query("SELECT '" .. v .. "' AS v")[1].v end
          local thread = ngx.thread.spawn(one, 'thread')
          local wakes = require('ngx.semaphore').new()
          local c
          ngx.timer.at(0, function() c = one('timer') wakes:post(1) end)
          wakes:wait(10)
          local _, d = ngx.thread.wait(thread)
          for _ = 1, 1000 do
            if started then break end
            ngx.sleep(0.01)
          end
          ngx.say(a, ' ', b, ' ', c, ' ', d, ' ', started, ' ', blocked)
        }
      }]], {
      main = [[init_worker_by_lua_block {
        blocked = S():query("SELECT 'blocked' AS v")[1].v
        stores.spawn(function() started = S():query("SELECT 'started' AS v")[1].v end)
      }]] })
    assert.equal('rewrite access timer thread started blocked', get('/t'))
  end)

  it('sends what one turn of the loop asked for in one round trip', function()
    start(openresty.at('t', [[
      local store = S()
      store:query('CREATE TABLE IF NOT EXISTS flushed (id bigint PRIMARY KEY, value jsonb)')
      local before = store:stats()
      local list = {}
      for i = 1, 200 do
        list[i] = ngx.thread.spawn(function() return store:find('flushed', tostring(i)) end)
      end
      for i = 1, 200 do assert(ngx.thread.wait(list[i])) end
      ngx.say(store:stats().pg_statements - before.pg_statements)]]))
    assert.is_true(tonumber(get('/t')) <= 8)
  end)

  it('waits, and gives nginx its turns, where no unix socket can be made', function()
    start(openresty.at('t', [[
      local store = S()
      local ticks, over = 0, false
      ngx.thread.spawn(function()
        while not over do
          ticks = ticks + 1
          ngx.sleep(0.001)
        end
      end)
      local list, ends = {}, store.hub:now() + 0.2
      for i = 1, 50 do
        list[i] = ngx.thread.spawn(function()
          -- a busy machine takes longer for as many turns
          local now = store.hub:now()
          while now < ends or ticks <= 20 and now < ends + 20 do
            stores.sleep(0)
            now = store.hub:now()
          end
          return store:query('SELECT $1::int AS n', { i })[1].n
        end)
      end
      local sum = 0
      for i = 1, 50 do sum = sum + select(2, assert(ngx.thread.wait(list[i]))) end
      over = true
      ngx.say(sum, ' ', ticks > 20)]]), { outside = 'env TMPDIR=/nowhere;' })
    assert.equal('1275 true', get('/t'))
    assert.matches('there is no doorbell: no unix socket', server:log())
  end)

  it('gives up the calls of a client that went away, and what they held', function()
    start('lua_check_client_abort on;' .. openresty.at('hold', [[
      local store = S()
      store:query('CREATE TABLE IF NOT EXISTS held (id bigint PRIMARY KEY, value jsonb)')
      store:upsert('held', { id = '1', n = 0 })
      store:transaction(function(tx)
        tx:updateProperty('held', '1', 'n', 1)
        tx:query('SELECT pg_sleep(30)')
      end)]]) .. openresty.at('sleep', [[
      local store = S()
      store:transaction(function(tx)
        tx:updateProperty('held', '1', 'n', 2)
        ngx.sleep(30)
      end)]]) .. openresty.at('stats', [[
      local stats = S():stats()
      local hub = require('stores.wait').host.hub()
      -- one is pending while the service of the host runs
      ngx.say(stats.transactions, ' ', stats.ops, ' ', math.max(hub:pending() - 1, 0), ' ',
        stats.pool_checked_out)
    ]]))
    for _, name in ipairs({ 'hold', 'sleep' }) do
      http.leave(server.socket, '/' .. name, function()
        return get('/stats'):find('^1 ') and not pcall(support.psql, db,
          'SELECT FROM held WHERE id = 1 FOR UPDATE NOWAIT')
      end)
      support.eventually(function() return get('/stats') == '0 0 0 0' end, 20, name)
    end
    assert.matches('"n": ?0', support.psql(db, "SELECT value FROM held WHERE id = 1"))
  end)

  it('answers those whom the call of a client that went away was serving', function()
    start('lua_check_client_abort on;' .. openresty.at('lead', [[
      local store = S()
      store:query('DROP TABLE IF EXISTS led')
      store:query('CREATE TABLE led (id bigint PRIMARY KEY, value jsonb)')
      store:query("CREATE OR REPLACE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS "
        .. "'BEGIN PERFORM pg_sleep(2); RETURN NULL; END'")
      store:query('CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON led '
        .. 'INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()')
      store:insert('led', { id = '1', n = 0 })
      told = {}
      local locked, go = ngx.semaphore.new(), ngx.semaphore.new()
      ngx.timer.at(0, function()
        store:transaction(function(tx)
          tx:query('SELECT 1 FROM led FOR UPDATE')
          locked:post(1)
          go:wait(10)
        end)
      end)
      locked:wait(10)
      local function add(doc) doc.n = doc.n + 1 end
      for i = 1, 2 do
        ngx.timer.at(0.05, function()
          local ok, err = pcall(store.updateObject, store, 'led', '1', add)
          told[i] = ok and 'ok' or err.code .. ' ' .. err.outcome
        end)
      end
      ngx.timer.at(0.2, function() go:post(1) end)
      store:updateObject('led', '1', add)]]) .. openresty.at('told', [[
      ngx.say(tostring(told and told[1]), ', ', tostring(told and told[2]))
    ]]), { init = 'ngx.semaphore = require("ngx.semaphore")' })
    http.leave(server.socket, '/lead', function() -- until it commits
      return support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
        .. "current_database() AND wait_event = 'PgSleep'") ~= '0\n'
    end)
    local last
    for _ = 1, 200 do
      last = get('/told')
      if not last:find('nil', 1, true) then break end
      os.execute('sleep 0.05')
    end
    assert.equal('abandoned unknown, abandoned unknown', last)
  end)

  it('ends the worker gracefully though it listens and was asked lately', function()
    start(openresty.at('t', 'ngx.say(S():query("SELECT 1 AS one")[1].one)'), {
      main = [[init_worker_by_lua_block {
        stores.spawn(function() S():listen('news', function() end) end)
      }]] })
    assert.equal('1', get('/t'))
    local log = own:quit()
    assert.matches('exited with code 0', log)
    assert.is_nil(log:match('[^\n]*%[error%][^\n]*'))
    assert.is_nil(log:find('%[alert%]'))
  end)

  it('answers every request while it is reloaded under load, and keeps nothing', function()
    local before = openresty.redis_clients()
    start(openresty.at('t', [[
      local store = S({ poolsize_total = 4 })
      store:upsert('reloads', { id = tostring(math.random(20)), n = 1 })
      ngx.say(store:exists('reloads', '1'))]]) .. openresty.at('slow', [[
      S():transaction(function(tx)
        tx:updateProperty('reloads', tostring(math.random(21, 40)), 'n', 1)
        tx:query('SELECT pg_sleep(0.05)')
      end)
      ngx.say('true')]]), {
      workers = 2,
      main = [[init_worker_by_lua_block {
        stores.spawn(function()
          S({ poolsize_total = 4 }):listen('news', function() end)
        end)
      }]] })
    support.psql(db, "CREATE TABLE reloads (id bigint PRIMARY KEY, value jsonb); "
      .. "INSERT INTO reloads VALUES (1, '{}')")
    local load = process.lua(([[
      package.path = '%s/?.lua;' .. package.path
      local cqueues = require('cqueues')
      local http = require('spec.support.http')
      local controller, answered, failed, over = cqueues.new(), 0, 0, false
      controller:wrap(function()
        while not io.open('%s/over') do cqueues.sleep(0.05) end
        over = true
      end)
      for i = 1, 8 do
        controller:wrap(function()
          while not over do
            local status, text = http.request('%s', 'GET', i == 1 and '/slow' or '/t')
            if status == 200 then answered = answered + 1
            else failed = failed + 1 print(status, text) end
          end
        end)
      end
      assert(controller:loop())
      print(('answered %%d failed %%d'):format(answered, failed))
    ]]):format(root, server.folder, server.socket))
    local known = {}
    local function fresh()
      local count = 0
      for _, pid in ipairs(server:workers()) do
        if not known[pid] then count = count + 1 end
      end
      return count
    end
    for _ = 1, RELOADS do
      for _, pid in ipairs(server:workers()) do known[pid] = true end
      server:signal('HUP')
      support.eventually(function() return fresh() == 2 end, 30, 'new workers')
    end
    support.eventually(function() return #server:workers() == 2 end, 30, 'the old workers end')
    -- a round trip through the new ones, while nothing of the old ones is there
    assert.equal('true', get('/t'))
    io.open(server.folder .. '/over', 'w'):close()
    local said = load:wait()
    local answered, failed = said:match('answered (%d+) failed (%d+)')
    assert.equal('0', failed, said .. server:log())
    assert.is_true(tonumber(answered) > RELOADS, said)
    -- two workers with a pool of two, and the connection that listens, each
    support.eventually(function()
      return own:backends() <= 6 and openresty.redis_clients() <= before + 2
    end, 30, 'the connections of the old workers go')
    local log = own:quit()
    assert.equal(RELOADS, select(2, log:gsub('signal 1 %(SIGHUP%) received', '')))
    for _, word in ipairs({ 'exited on signal', '%[error%]', '%[alert%]', '%[crit%]' }) do
      assert.is_nil(log:match('[^\n]*' .. word .. '[^\n]*'))
    end
    support.eventually(function()
      return own:backends() == 0 and openresty.redis_clients() <= before
    end, 30, 'no connection is left')
  end)
end)

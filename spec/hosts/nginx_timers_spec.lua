--- nginx without room for the timer that turns the loop of Stores: it takes it and drops it, or
--- refuses it. Calls are answered all the same, and the timer is there again when there is room.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local http = require('spec.support.http')
local nginx = require('spec.support.nginx')
local socket = require('cqueues.socket')
local support = require('spec.support')

describe('nginx without room for timers #slow', function()
  local db, server

  lazy_setup(function()
    db = support.db()
    support.psql(db, 'CREATE TABLE rows (id bigint PRIMARY KEY, value jsonb);'
      .. [[INSERT INTO rows SELECT i, '{"n": 0}' FROM generate_series(1, 20) i]])
  end)
  lazy_teardown(function() support.drop(db) end)
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  local LOCATIONS = {
    ['/plain'] = 'ngx.say("plain")',
    ['/one'] = 'ngx.say(S():query("SELECT 1 AS one")[1].one)',
    -- a timer of the program that runs until it is told to end
    ['/busy'] = [[
      over = false
      ngx.timer.at(0, function() while not over do ngx.sleep(0.01) end end)
      ngx.sleep(0.05)
      ngx.say('busy')]],
    -- one that waits to run
    ['/pending'] = 'ngx.timer.at(100, function() end) ngx.say("pending")',
    ['/free'] = 'over = true ngx.sleep(0.05) ngx.say("free")',
    ['/many'] = [[
      local list, sum = {}, 0
      for i = 1, 60 do
        list[i] = ngx.thread.spawn(function()
          S():updateObject('rows', tostring(i % 5 + 1), function(doc) doc.n = doc.n + 1 end)
          return S():query('SELECT $1::int AS n, pg_sleep(0.01)', { i })[1].n
        end)
      end
      for i = 1, 60 do sum = sum + select(2, assert(ngx.thread.wait(list[i]))) end
      ngx.say(sum)]],
    ['/slow'] = 'S():query("SELECT pg_sleep(60)") ngx.say("slow")',
    ['/late'] = [[
      local ok, err = pcall(S().query, S(), 'SELECT pg_sleep(30)', nil, { timeout = 0.3 })
      ngx.say(ok or err.code)]],
    ['/dropped'] = [[
      S():transaction(function(tx) tx:patch('rows', '9', { inc = { n = 1 } }) ngx.exit(403) end)]],
    ['/write'] = "ngx.say(S():patch('rows', '9', { set = { m = 1 } }).n)",
    -- one that turns the loop hands over to the other, and turns it again before that one runs
    ['/hands'] = [[
      local function busy(seconds)
        ngx.update_time()
        local ends = ngx.now() + seconds
        while ngx.now() < ends do ngx.update_time() end
      end
      local first = ngx.thread.spawn(function()
        for _ = 1, 3 do
          S():query('SELECT 1')
          busy(0.15)
        end
      end)
      local other = ngx.thread.spawn(function()
        return S():query('SELECT pg_sleep(0.1), 2 AS two')[1].two
      end)
      ngx.thread.wait(first)
      ngx.say(select(2, ngx.thread.wait(other)))]],
    ['/spawned'] = 'ngx.say(spawned and spawned:join() or "none")',
  }
  -- outside of requests a task is a timer, too
  local HTTP = [[
    lua_check_client_abort on;
    log_by_lua_block {
      if ngx.var.arg_spawn then spawned = stores.spawn(function() return 'it ran' end) end
    }]]

  local function check()
    assert.equal('1', server:get('/one'))
    assert.equal('timeout', server:get('/late'))
    assert.equal('1830', server:get('/many'))
    assert.equal('1', server:get('/one'))
  end

  it('serves calls while it drops them', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_max_running_timers 1;' .. HTTP })
    server:get('/busy')
    check()
    assert.equal(403, (server:request('GET', '/dropped')))
    assert.equal('0', server:get('/write'))
    assert.matches('lua_max_running_timers are not enough', server:log())
    server:get('/free')
    check()
  end)

  it('serves calls while it refuses them', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_max_pending_timers 1;' .. HTTP })
    server:get('/pending')
    check()
    check()
  end)

  it('answers those that were asked to turn the loop while another one does', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_max_running_timers 1;' .. HTTP })
    server:get('/busy')
    for _ = 1, 3 do assert.equal('2', server:get('/hands')) end
  end)

  it('serves calls in the place of one whose client went away', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_max_running_timers 1;' .. HTTP })
    server:get('/busy')
    local function asleep()
      return tonumber((support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE state ="
        .. " 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()")))
    end
    for _ = 1, 3 do http.leave(server.socket, '/slow', function() return asleep() > 0 end) end
    check()
    support.eventually(function()
      server:get('/one') -- the loop turns while somebody waits
      return asleep() == 0
    end, 20, 'what it asked for is canceled')
  end)

  it('runs a spawned task whose timer it dropped when somebody joins it', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_max_running_timers 1;' .. HTTP })
    server:get('/busy')
    server:get('/one?spawn=1')
    assert.equal('it ran', server:get('/spawned'))
  end)

  it('serves calls without a connection to spare for them', function()
    server = nginx.over(db, LOCATIONS, { http = HTTP, connections = 16 })
    local function is_served() return server:request('GET', '/plain') == 200 end
    assert.equal('1', server:get('/one'))
    local idle = {}
    -- As many clients as leave room for one request, and no more. That is asked on the socket that
    -- they came by, where it is taken after all of them.
    for most = 16, 1, -1 do
      for i = 1, most do
        idle[i] = socket.connect({ path = server.socket })
        idle[i]:onerror(function(_, _, why) return why end)
        idle[i]:setmode('b', 'bn')
        idle[i]:write('GET /one HTTP/1.1\r\nHost: spec\r\n')
      end
      if is_served() then break end
      for i = 1, most do idle[i]:close() end
      idle = {}
      support.eventually(is_served)
    end
    assert.is_true(#idle > 0)
    assert.equal('1', server:get('/one'))
    assert.equal('timeout', server:get('/late'))
    assert.matches('worker_connections are not enough', server:log())
    for _, one in ipairs(idle) do one:close() end
    support.eventually(is_served)
    check()
  end)
end)

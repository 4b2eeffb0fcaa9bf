--- Light threads of nginx that are ended in the middle of something: what they were doing ends
--- soon, however much memory the worker has, and nothing of it is laid to whoever gets the
--- coroutine next.
-- Not in the gc pass: programs of their own, which that collector does not reach.

local dropped = require('spec.support.dropped')
local http = require('spec.support.http')
local nginx = require('spec.support.nginx')
local support = require('spec.support')

local SOON, BALLAST = dropped.SOON, dropped.BALLAST
local db

lazy_setup(function() db = dropped.database() end)
lazy_teardown(function() support.drop(db) end)

local function now()
  return require('stores.wait').host.hub():now()
end

local function idle_transactions()
  return tonumber(support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
    .. "current_database() AND state LIKE 'idle in transaction%'"):match('%d+'))
end

describe('in nginx #slow', function()
  local server
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  local LOCATIONS = {
    ['/one'] = 'ngx.say(S():query("SELECT 1 AS one")[1].one)',
    ['/fill'] = BALLAST .. 'ngx.say(math.floor(collectgarbage("count")))',
    ['/write'] = [[
      local ok, err = pcall(S().patch, S(), 'rows', ngx.var.arg_id, { set = { m = 1 } })
      ngx.say(ok and 'written' or tostring(err))]],
    ['/exit'] = [[
      S():transaction(function(tx)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
        ngx.exit(403)
      end)]],
    ['/redirect'] = [[
      S():transaction(function(tx)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
        ngx.redirect('/one')
      end)]],
    ['/kill'] = [[
      local thread = ngx.thread.spawn(function()
        S():transaction(function(tx)
          tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
          ngx.sleep(100)
        end)
      end)
      ngx.sleep(0.2)
      ngx.thread.kill(thread)
      if ngx.var.arg_keep then kept = thread end -- the collector has nothing to tell
      ngx.say('killed')]],
    ['/own'] = [[
      local co = coroutine.wrap(function()
        S():transaction(function(tx)
          tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
          coroutine.yield()
        end)
      end)
      co()
      ngx.exit(403)]],
    ['/nap'] = [[
      S():transaction(function(tx)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
        ngx.sleep(100)
      end)]],
    ['/long'] = [[
      S():transaction(function(tx)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
        tx:query('SELECT pg_sleep(100)')
      end, { timeout = 100 })]],
    ['/thinks'] = [[
      local ok, err = pcall(S().transaction, S(), function(tx)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
        ngx.sleep(2.5)
        tx:patch('rows', ngx.var.arg_id, { inc = { n = 1 } })
      end)
      ngx.say(ok and 'thought' or tostring(err))]],
    ['/late'] = [[
      local id, free = ngx.var.arg_id, nil
      local ok, err = pcall(S().transaction, S(), function(tx)
        tx:patch('rows', id, { inc = { n = 1 } })
        ngx.sleep(1.5)
        free = S():stats().pool_checked_out == 0
      end, { timeout = 0.5 })
      ngx.say(free and 'free' or 'held', ' ', ok and 'committed' or err.code, ' ',
        ok and '' or err.outcome)]],
    ['/lead'] = "S():updateObject('rows', ngx.var.arg_id, function() ngx.exit(403) end)",
    ['/add'] = [[
      local ok, err = pcall(S().updateObject, S(), 'rows', ngx.var.arg_id,
        function(doc) doc.n = doc.n + 1 end)
      ngx.say(ok and 'added' or tostring(err))]],
    ['/heard'] = [[
      if ngx.var.arg_on then
        heard = {}
        stores.on('call', function(event) heard[event.verb] = (heard[event.verb] or 0) + 1 end)
      end
      ngx.say(heard.query or 0, ' ', heard.patch or 0)]],
  }

  local function n_of(id)
    return tonumber(support.psql(db, "SELECT value->>'n' FROM rows WHERE id = " .. id):match('%d+'))
  end

  local function is_locked(id)
    return not pcall(support.psql, db, ('SELECT FROM rows WHERE id = %s FOR UPDATE NOWAIT')
      :format(id))
  end

  local next_id = 10

  for _, cache in ipairs({ '', 'lua_thread_cache_max_entries 0;' }) do
    local how = cache == '' and '' or ', where nginx keeps no threads'

    it('what was ended in a transaction holds nothing of anybody' .. how, function()
      server = nginx.over(db, LOCATIONS, { http = 'lua_check_client_abort on; ' .. cache })
      server:get('/fill')
      for _, target in ipairs({ '/exit', '/redirect', '/kill', '/own', '/nap', '/long' }) do
        next_id = next_id + 1
        local id = tostring(next_id)
        if target == '/nap' or target == '/long' then
          http.leave(server.socket, target .. '?id=' .. id, function() return is_locked(id) end)
        else
          server:request('GET', target .. '?id=' .. id)
        end
        local began = now()
        assert.equal('written', server:get('/write?id=' .. id), target)
        local seconds = now() - began
        assert.is_true(seconds < SOON,
          ('%s: the row was locked for %.1f s'):format(target, seconds))
        assert.equal(0, n_of(id), target)
      end
      support.eventually(function() return idle_transactions() == 0 end, SOON,
        'all are rolled back')
      assert.equal('1', server:get('/one'))
    end)

    it('the pool is whole again after as many as it has' .. how, function()
      server = nginx.over(db, LOCATIONS, { db = ', poolsize = 2',
        http = 'lua_check_client_abort on; ' .. cache })
      server:get('/fill')
      for i = 1, 6 do server:request('GET', '/exit?id=' .. 80 + i) end
      for i = 1, 3 do http.leave(server.socket, '/long?id=' .. 90 + i, 0.3) end
      local began = now()
      support.eventually(function()
        local status, text = server:request('GET', '/one')
        return status == 200 and text == '1\n'
      end, 20, 'a query is served')
      for _ = 1, 10 do assert.equal('1', server:get('/one')) end
      assert.is_true(now() - began < 2 * SOON)
    end)

    it('a transaction that thinks is left alone' .. how, function()
      server = nginx.over(db, LOCATIONS, { http = cache })
      next_id = next_id + 1
      server:get('/fill')
      assert.equal('thought', server:get('/thinks?id=' .. next_id))
      assert.equal(2, n_of(next_id))
    end)

    it('a transaction past its deadline holds nothing, though its thread sleeps' .. how, function()
      server = nginx.over(db, LOCATIONS, { http = cache })
      next_id = next_id + 1
      server:get('/fill')
      assert.equal('free timeout none', server:get('/late?id=' .. next_id))
      assert.equal(0, n_of(next_id))
      assert.equal(0, idle_transactions())
    end)

    it('the row of a leader that was ended goes to those who wait' .. how, function()
      server = nginx.over(db, LOCATIONS, { http = cache })
      server:get('/fill')
      next_id = next_id + 1
      for _ = 1, 3 do
        server:request('GET', '/lead?id=' .. next_id)
        local began = now()
        assert.equal('added', server:get('/add?id=' .. next_id))
        assert.is_true(now() - began < SOON)
      end
      assert.equal(3, n_of(next_id))
    end)
  end

  it('hooks hear of every call, though threads were ended in the middle of some', function()
    server = nginx.over(db, LOCATIONS, { http = 'lua_check_client_abort on;' })
    server:get('/heard?on=1')
    for i = 1, 4 do server:request('GET', '/exit?id=' .. 70 + i) end
    for i = 1, 2 do http.leave(server.socket, '/long?id=' .. 75 + i, 0.3) end
    for i = 1, 12 do
      server:get('/one')
      server:get('/write?id=' .. 60 + i % 4)
    end
    assert.equal('12 12', server:get('/heard'))
  end)

  it('a hook keeps no thread that was ended in a transaction', function()
    server = nginx.over(db, LOCATIONS)
    server:get('/heard?on=1')
    for i = 1, 3 do
      server:get('/kill?keep=1&id=' .. 50 + i)
      local began = now()
      assert.equal('written', server:get('/write?id=' .. 50 + i))
      assert.is_true(now() - began < SOON)
    end
  end)
end)

--- Listeners in nginx belong to the worker: not to the request that asked for them.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local nginx = require('spec.support.nginx')
local support = require('spec.support')

describe('a listener in nginx #slow', function()
  local db, server

  lazy_setup(function() db = support.db() end)
  lazy_teardown(function() support.drop(db) end)
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  local LOCATIONS = {
    ['/listen'] = [[
      heard = heard or {}
      listener = S():listen('news', function(payload, gap)
        heard[#heard + 1] = (gap or payload) .. '/' .. ngx.get_phase()
        if payload == 'fail' then error('mine', 0) end
        if payload == 'slow' then ngx.sleep(0.2) end
      end)
      ngx.say(S():stats().listeners)]],
    -- one whose request is ended by force, and with it all that belongs to it
    ['/exits'] = [[
      S():listen('news', function(payload) heard = { payload } end)
      ngx.exit(403)]],
    ['/notify'] = "S():notify('news', ngx.var.arg_text) ngx.say('told')",
    ['/heard'] = "ngx.say(table.concat(heard or {}, ' '))",
    ['/deaf'] = 'ngx.say(S():stats().listeners_deaf)',
    ['/stop'] = 'listener:stop() ngx.say(S():stats().listeners)',
    ['/busy'] = [[
      over = false
      ngx.timer.at(0, function() while not over do ngx.sleep(0.01) end end)
      ngx.sleep(0.05)
      ngx.say('busy')]],
    ['/free'] = 'over = true ngx.say("free")',
    ['/long'] = 'S():query("SELECT pg_sleep(1.5)") ngx.say("long")',
  }

  local function start(opts) server = nginx.over(db, LOCATIONS, opts) end

  local function hears(text)
    support.eventually(function() return server:get('/heard') == text end, 20, text)
  end

  it('hears when the request has ended, whatever its function raises', function()
    start()
    assert.equal('1', server:get('/listen'))
    for _, text in ipairs({ 'one', 'fail', 'slow', 'two' }) do
      server:get('/notify?text=' .. text)
    end
    hears('one/timer fail/timer slow/timer two/timer')
    assert.matches("the function of a listener to 'news' failed: mine", server:log(), 1, true)
    assert.equal('0', server:get('/stop'))
  end)

  it('outlives a request that is ended by force', function()
    start()
    assert.equal(403, (server:request('GET', '/exits')))
    server:get('/notify?text=still')
    hears('still')
  end)

  it('hears of a gap, and goes on', function()
    start()
    server:get('/listen')
    support.psql(db, ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'"
      .. " AND query LIKE 'LISTEN%%'"):format(db.database))
    hears('gap/timer')
    assert.equal('0', server:get('/deaf'))
    server:get('/notify?text=after')
    hears('gap/timer after/timer')
  end)

  it('may be begun where the worker begins', function()
    start({ http = [[init_worker_by_lua_block {
      S():listen('news', function(payload) heard = { payload } end)
    }]] })
    server:get('/notify?text=early')
    hears('early')
  end)

  it('is begun by the service of the loop where nginx drops its timer', function()
    -- one for the service, one that is taken
    start({ http = 'lua_max_running_timers 2;' })
    server:get('/busy')
    assert.equal('1', server:get('/listen'))
    server:get('/notify?text=late')
    server:get('/long') -- the service stays
    hears('late/timer')
    server:get('/free')
  end)

  it('ends with its worker, which ends gracefully', function()
    start()
    server:get('/listen')
    local log = server:quit()
    server = nil
    assert.matches('exited with code 0', log)
    assert.is_nil(log:find('%[error%]'))
    assert.is_nil(log:find('%[alert%]'))
  end)
end)

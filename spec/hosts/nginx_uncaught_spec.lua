--- In nginx what nobody catches is told by its text in the log, and never by "unknown reason"; who
--- catches an error gets the table that it is.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local nginx = require('spec.support.nginx')
local shell = require('spec.support.shell')
local support = require('spec.support')

describe('an error that nobody catches, in nginx', function()
  local db, other, server

  lazy_setup(function()
    db, other = support.db(), support.db()
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  end)
  lazy_teardown(function()
    support.drop(db)
    support.drop(other)
  end)
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  local function start(locations, opts)
    server = nginx.over(db, locations, opts)
  end

  -- The log from here on, when it has the text.
  local function logs(text)
    local log
    local ok = pcall(support.eventually, function()
      log = server:log()
      return log:find(text, 1, true) ~= nil
    end)
    assert.is_true(ok, text .. '\n' .. log)
    return log
  end

  local function fails(target)
    local status = server:request('GET', target)
    assert.equal(500, status)
  end

  it('of a handler has its text there, whoever raised it', function()
    local raisers = {
      ['/verb'] = { "S():find('nowhere', '1')", 'table_not_found: there is no table "nowhere"' },
      ['/argument'] = { "S():find('docs', 5)", 'invalid_id: ' },
      ['/query'] = { "S():query('SELECT nothing')", 'query_failed: column "nothing" does not' },
      ['/transaction'] = { "S():transaction(function(tx) tx:query('SELECT a') end)",
        'query_failed: column "a" does not' },
      ['/nested'] = {
        "S():transaction(function(tx) tx:transaction(function() tx:query('SELECT b') end) end)",
        'query_failed: column "b" does not' },
      ['/object'] = { "S():updateObject('docs', '1', function() end, { must = true })",
        'not_found: ' },
      ['/each'] = { "for _ in S():each('gone') do end",
        'table_not_found: there is no table "gone"' },
      ['/map'] = { "stores.map({ 1 }, function() S():query('SELECT c') end)",
        'query_failed: column "c" does not' },
      ['/sort'] = { "table.sort({ 2, 1 }, function() S():find('docs', '1') end)",
        'unsupported: inside of' },
      ['/hint'] = { "S():query('SELECT $1::int', { {} })", "; hint: a Lua table is sent as JSON" },
    }
    local locations = {}
    for path, one in pairs(raisers) do locations[path] = one[1] end
    start(locations)
    for path, one in pairs(raisers) do
      fails(path)
      logs('lua entry thread aborted: runtime error: ' .. (path == '/hint' and '' or one[2]))
      logs(one[2])
    end
    assert.is_nil(server:log():find('unknown reason', 1, true))
  end)

  it('of shards has it, too', function()
    start({ ['/t'] = ([[
      local function at(name) return { host = '%s', port = %s, user = '%s', database = name } end
      local shards = stores.Shards.new({ { id = 0, db = at('%s') }, { id = 1, db = at('%s') } })
      shards:mod('2'):find('docs', '1')]]):format(db.host, db.port, db.user, db.database,
        other.database) })
    fails('/t')
    logs('lua entry thread aborted: runtime error: wrong_shard: ')
    assert.is_nil(server:log():find('unknown reason', 1, true))
  end)

  it('of a timer, of init_worker_by_lua and of a phase that cannot wait has it', function()
    start({ ['/timer'] = [[
      ngx.timer.at(0, function() S():find('of_timer', '1') end)
      ngx.say('made')]] }, { http = [[
      init_worker_by_lua_block { S():find('of_worker', '1') }
      server {
        listen unix:@FOLDER@/other.sock;
        location = /access { access_by_lua_block { S():find('of_access', '1') } }
        location = /log { content_by_lua_block { ngx.say('body') }
          log_by_lua_block { S():find('of_log', '1') } }
        location = /filter { content_by_lua_block { ngx.say('body') }
          header_filter_by_lua_block { S():find('of_filter', '1') } }
      }]] })
    local http = require('spec.support.http')
    assert.equal('made', server:get('/timer'))
    for _, path in ipairs({ '/access', '/log', '/filter' }) do
      pcall(http.request, server.folder .. '/other.sock', 'GET', path)
    end
    logs('init_worker_by_lua error: table_not_found: there is no table "of_worker"')
    logs('lua entry thread aborted: runtime error: table_not_found: there is no table "of_timer"')
    logs('lua entry thread aborted: runtime error: table_not_found: there is no table "of_access"')
    logs('header_filter_by_lua*: unsupported: ')
    local log = logs('log_by_lua*: unsupported: ')
    assert.is_nil(log:find('unknown reason', 1, true))
  end)

  it('is raised by what knows of that, wherever verbs raise', function()
    local lines = shell.output(([[cd '%s/lua/stores' && grep -nE '(^|[^a-z_.])error\(.*, 0\)' \
      store.lua wait.lua tasks.lua listener.lua observe.lua shards.lua verbs/*.lua updates/*.lua \
      shards/*.lua tables/*.lua sql/*.lua]]):format(os.getenv('STORES_ROOT') or '.'))
    assert.equal('', lines)
  end)

  it('stops nginx before it starts, with its text', function()
    local ok, why = pcall(nginx.start, "init_by_lua_block { require('stores').Store.new({}) }"
      .. 'server { listen @SOCKET@; }')
    assert.is_false(ok)
    assert.matches('invalid_option: db.database is missing', why, nil, true)
  end)

  it('of a light thread is logged, and is the table for who waits for it', function()
    start({ ['/t'] = [[
      local thread = ngx.thread.spawn(function()
        ngx.sleep(0)
        S():find('of_thread', '1')
      end)
      local ok, err = ngx.thread.wait(thread)
      ngx.say(tostring(ok), ' ', type(err), ' ', err.code, ' ', err.table)]] })
    assert.equal('false table table_not_found "of_thread"', server:get('/t'))
    logs('stores: a light thread ends with table_not_found: there is no table "of_thread"')
  end)

  it('is a table for who catches it, in every way', function()
    start({ ['/t'] = [[
      local store = S()
      local function fails() store:find('nowhere', '1') end
      local function code(ok, err) return tostring(ok) .. ' ' .. type(err) .. ' ' .. err.code end
      ngx.say(code(pcall(fails)))
      ngx.say(code(xpcall(fails, function(err) return err end)))
      ngx.say(code(store.try:find('nowhere', '1')))
      ngx.say(code(coroutine.resume(coroutine.create(fails))))
      ngx.say(code(pcall(stores.wrap(fails))))
      ngx.say(code(pcall(store.transaction, store, fails)))
      ngx.say(code(pcall(stores.spawn(fails).join, stores.spawn(fails))))
      ngx.say(code(pcall(function() table.sort({ 2, 1 }, function() store:find(5, '1') end) end)))
      local list = {}
      for i = 1, 200 do list[i] = pcall(fails) end
      ngx.say(#list)]] })
    local expected = ('false table table_not_found\n'):rep(7) .. 'false table unsupported\n200'
    assert.equal(expected, server:get('/t'))
    assert.is_nil(server:log():find('lua entry thread aborted', 1, true))
  end)
end)

--- The JSON API of the examples over HTTP, and what Stores does in nginx beside the contract of the
--- hosts: phases, clients that go away, reloads, VMs that are thrown away.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local http = require('spec.support.http')
local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local prometheus = require('spec.support.prometheus')
local stores = require('stores')
local support = require('spec.support')

local RELOADS = 100

local root = os.getenv('STORES_ROOT') or '.'
local json = stores.json

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

describe('the API of the examples #slow', function()
  local folder, server, path

  local function request(method, target, body, headers)
    if type(body) == 'table' then body = json.encode(body) end
    local status, text, got = http.request(path, method, target, body, headers)
    local ok, value = pcall(json.decode, text)
    return status, ok and value or text, got
  end

  lazy_setup(function()
    folder = output('mktemp -d ${STORES_TEST_ROOM:-/tmp}/stores-spec.XXXXXX'):gsub('%s+$', '')
    path = folder .. '/http.sock'
    server = process.start({ 'sh', root .. '/examples/openresty/serve.sh', folder,
      'unix:' .. path }, folder .. '/stderr')
    if not server:line() then error(output(('cat %s/stderr'):format(folder)), 0) end
    support.eventually(function() return http.request(path, 'GET', '/docs/1') end, 20, 'an answer')
  end)

  lazy_teardown(function()
    server:signal('TERM')
    server:wait()
    require('stores.local').down(folder)
    os.execute(("rm -rf '%s'"):format(folder))
  end)

  it('stores, gives, changes and deletes a document', function()
    local status, document, headers = request('POST', '/docs', { name = 'Nadir', berths = 4 })
    assert.equal(201, status)
    assert.equal('/docs/' .. document.id, headers.location)
    local at = headers.location
    assert.same({ id = document.id, name = 'Nadir', berths = 4 }, select(2, request('GET', at)))

    status, document = request('PATCH', at, '{"berths": 6, "name": null, "list": []}')
    assert.equal(200, status)
    assert.equal(6, document.berths)
    assert.is_nil(document.name)
    assert.matches('"list": ?%[%]', select(2, http.request(path, 'GET', at)))

    status = request('PUT', at, { name = 'Rocinante' })
    assert.equal(200, status)
    assert.same({ id = document.id, name = 'Rocinante' }, select(2, request('GET', at)))

    assert.equal(204, (request('DELETE', at)))
    assert.equal(404, (request('GET', at)))
    assert.equal(404, (request('DELETE', at)))
    assert.equal(404, (request('PATCH', at, {})))
  end)

  it('has metrics of all workers, and a page of them for people', function()
    request('PUT', '/docs/16', { a = 1 })
    request('GET', '/docs/16')
    local status, text, headers = http.request(path, 'GET', '/metrics')
    assert.equal(200, status)
    assert.equal('text/plain; version=0.0.4', headers['content-type'])
    local families = prometheus.read(text)
    assert.is_true(families.stores_calls_total.series['store="api"'] > 0)
    status, text, headers = http.request(path, 'GET', '/status')
    assert.equal(200, status)
    assert.matches('^text/html', headers['content-type'])
    assert.matches('<tr><td>find</td>', text, 1, true)
    assert.matches('<td>Whether Redis answers every process.</td><td class="number">1</td>', text,
      1, true)
    -- what is opened is closed, and nothing of a format is left
    for _, tag in ipairs({ 'table', 'tr', 'td', 'h2', 'p', 'html' }) do
      local open = select(2, text:gsub('<' .. tag .. '[ >]', ''))
      assert.equal(open, select(2, text:gsub('</' .. tag .. '>', '')), tag)
    end
    assert.is_nil(text:find('%%[sd]'))
  end)

  it('makes a document at a path where there is none', function()
    local status, document = request('PUT', '/docs/17', { a = 1 })
    assert.equal(201, status)
    assert.equal('17', document.id)
    assert.equal(1, select(2, request('GET', '/docs/17')).a)
  end)

  it('finds documents by what they contain', function()
    for i = 1, 5 do request('POST', '/docs', { kind = 'query', n = i % 2 }) end
    local target = '/docs?contains=%7B%22kind%22%3A%22query%22%2C%22n%22%3A1%7D'
    local status, list = request('GET', target)
    assert.equal(200, status)
    assert.equal(3, #list)
    local _, first = request('GET', target .. '&limit=2')
    assert.equal(2, #first)
    local _, rest = request('GET', target .. '&limit=2&after=' .. first[2].id)
    assert.equal(1, #rest)
    assert.equal('[]\n', select(2, http.request(path, 'GET',
      '/docs?contains=%7B%22kind%22%3A%22none%22%7D')))
  end)

  it('refuses what it cannot read with 400', function()
    for _, bad in ipairs({
      { 'POST', '/docs', '{' }, { 'POST', '/docs', '' }, { 'POST', '/docs', '[1]' },
      { 'POST', '/docs', '3' }, { 'GET', '/docs/me' }, { 'GET', '/docs/99999999999999999999' },
      { 'PUT', '/docs/3', '{"id": "4"}' }, { 'GET', '/docs?contains=x' },
      { 'GET', '/docs?limit=0' }, { 'GET', '/docs?limit=1.5' },
      { 'POST', '/docs', '{"text": "\\u0000"}' },
    }) do
      local status, answer = request(bad[1], bad[2], bad[3])
      assert.equal(400, status, table.concat(bad, ' '))
      assert.is_string(answer.message)
    end
  end)

  it('says 404, 405, 409 and 413', function()
    assert.equal(404, (request('GET', '/docs/-3')))
    assert.equal(404, (request('GET', '/docs/1/2')))
    assert.equal(405, (request('POST', '/docs/1', {})))
    assert.equal(201, (request('POST', '/docs', { id = '23' })))
    local status, answer = request('POST', '/docs', { id = '23' })
    assert.equal(409, status)
    assert.equal('duplicate', answer.error)
    status, answer = request('POST', '/docs', { text = ('x'):rep(1100000) })
    assert.equal(413, status)
    assert.equal('too_large', answer.error)
    assert.equal(201, (request('POST', '/docs', { text = ('x'):rep(1000000) })))
  end)

  it('says 503 with Retry-After while PostgreSQL takes nobody in, and recovers', function()
    local admin = { host = folder, port = 5432, user = 'postgres', database = 'template1' }
    local where = output(("luajit '%s/tools/servers.lua' up '%s'"):format(root, folder))
    admin.host = where:match("PGHOST='(.-)'")
    admin.port = where:match('PGPORT=(%d+)')
    admin.user = where:match("PGUSER='(.-)'")
    local database = where:match("PGDATABASE='(.-)'")
    support.psql(admin, ('ALTER DATABASE %s ALLOW_CONNECTIONS false; SELECT count('
      .. "pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '%s'"):format(database,
      database))
    local status, answer, headers = request('POST', '/docs', { a = 1 })
    support.psql(admin, ('ALTER DATABASE %s ALLOW_CONNECTIONS true'):format(database))
    assert.equal(503, status, json.encode(answer))
    assert.equal('1', headers['retry-after'])
    support.eventually(function() return request('POST', '/docs', { a = 1 }) == 201 end, 20,
      'it recovers')
  end)
end)

describe('in nginx #slow', function()
  local db, server

  lazy_setup(function() db = support.db() end)
  lazy_teardown(function() support.drop(db) end)

  local function backends()
    return tonumber(support.psql(db, 'SELECT count(*) FROM pg_stat_activity WHERE datname = '
      .. 'current_database() AND pid <> pg_backend_pid()'):match('%d+'))
  end

  local function redis_clients()
    return tonumber(output(("redis-cli -s '%s' CLIENT LIST | grep -c ."):format(
      support.redis().path)))
  end

  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  --- Starts nginx; open() in its Lua makes a store.
  local function start(text, opts)
    opts = opts or {}
    local init = ([[
      init_by_lua_block {
        stores = require('stores')
        function open(more)
          local db = { host = '%s', port = %s, user = '%s', database = '%s' }
          for key, value in pairs(more or {}) do db[key] = value end
          return stores.Store.new(db, { path = '%s' })
        end
        local made
        function S(more) made = made or open(more) return made end
        %s
      }]]):format(db.host, db.port, db.user, db.database, support.redis().path, opts.init or '')
    server = nginx.start((opts.main or '') .. init .. 'server { listen @SOCKET@; ' .. text .. '}',
      opts.workers, opts.outside)
    return server
  end

  --- A location that runs Lua.
  local function at(name, lua)
    return ('location = /%s { content_by_lua_block { %s } }'):format(name, lua)
  end

  local function get(target)
    local status, text = server:request('GET', target)
    assert.equal(200, status, text .. '\n' .. server:log())
    return (text:gsub('%s+$', ''))
  end

  it('refuses a store that is made before the workers are forked', function()
    start(at('t', 'ngx.say(tostring(refused))'), {
      init = 'local ok, err = pcall(open) refused = ok or err.code .. ": " .. err.message' })
    assert.matches('^forked: init_by_lua', get('/t'))
  end)

  it('shares poolsize_total among the workers', function()
    start(at('t', [[
      local config = require('stores.config.tables')
      local function size(total)
        return config.resolve({ host = '/tmp', database = 'x', poolsize_total = total }).poolsize
      end
      ngx.say(size(20), ' ', size(2), ' ', tostring(pcall(size, 0)))]]), { workers = 3 })
    assert.matches('^6 1 false', get('/t'))
  end)

  it('names the phase that cannot wait, and sends nothing', function()
    start(at('t', 'ngx.say("body")') .. [[
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
    start(at('t', [[
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
    start(at('t', [[
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
          while store.hub:now() < ends do stores.sleep(0) end
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
    start('lua_check_client_abort on;' .. at('hold', [[
      local store = S()
      store:query('CREATE TABLE IF NOT EXISTS held (id bigint PRIMARY KEY, value jsonb)')
      store:upsert('held', { id = '1', n = 0 })
      store:transaction(function(tx)
        tx:updateProperty('held', '1', 'n', 1)
        tx:query('SELECT pg_sleep(30)')
      end)]]) .. at('sleep', [[
      local store = S()
      store:transaction(function(tx)
        tx:updateProperty('held', '1', 'n', 2)
        ngx.sleep(30)
      end)]]) .. at('stats', [[
      local stats = S():stats()
      local hub = require('stores.wait').host.hub()
      -- one is pending while the service of the host runs
      ngx.say(stats.transactions, ' ', stats.ops, ' ', math.max(hub:pending() - 1, 0), ' ',
        stats.pool_checked_out)
    ]]))
    for _, name in ipairs({ 'hold', 'sleep' }) do
      http.leave(server.socket, '/' .. name, 0.5)
      local last
      for _ = 1, 200 do
        last = get('/stats')
        if last == '0 0 0 0' then break end
        os.execute('sleep 0.05')
      end
      assert.equal('0 0 0 0', last, name)
    end
    assert.matches('"n": ?0', support.psql(db, "SELECT value FROM held WHERE id = 1"))
  end)

  it('answers those whom the call of a client that went away was serving', function()
    start('lua_check_client_abort on;' .. at('lead', [[
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
      store:updateObject('led', '1', add)]]) .. at('told', [[
      ngx.say(tostring(told and told[1]), ', ', tostring(told and told[2]))
    ]]), { init = 'ngx.semaphore = require("ngx.semaphore")' })
    http.leave(server.socket, '/lead', 1)
    local last
    for _ = 1, 200 do
      last = get('/told')
      if not last:find('nil', 1, true) then break end
      os.execute('sleep 0.05')
    end
    assert.equal('abandoned unknown, abandoned unknown', last)
  end)

  it('ends the worker gracefully though it listens and was asked lately', function()
    start(at('t', 'ngx.say(S():query("SELECT 1 AS one")[1].one)'), {
      main = [[init_worker_by_lua_block {
        stores.spawn(function() S():listen('news', function() end) end)
      }]] })
    assert.equal('1', get('/t'))
    local log = server:quit()
    server = nil
    assert.matches('exited with code 0', log)
    assert.is_nil(log:match('[^\n]*%[error%][^\n]*'))
    assert.is_nil(log:find('%[alert%]'))
  end)

  it('answers every request while it is reloaded under load, and keeps nothing', function()
    local before = redis_clients()
    start(at('t', [[
      local store = S({ poolsize_total = 4 })
      store:upsert('reloads', { id = tostring(math.random(20)), n = 1 })
      ngx.say(store:exists('reloads', '1'))]]) .. at('slow', [[
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
      support.eventually(function() return fresh() == 2 end, 10, 'new workers')
    end
    support.eventually(function() return #server:workers() == 2 end, 10, 'the old workers end')
    -- a round trip through the new ones, while nothing of the old ones is there
    assert.equal('true', get('/t'))
    io.open(server.folder .. '/over', 'w'):close()
    local said = load:wait()
    local answered, failed = said:match('answered (%d+) failed (%d+)')
    assert.equal('0', failed, said .. server:log())
    assert.is_true(tonumber(answered) > RELOADS, said)
    -- two workers with a pool of two, and the connection that listens, each
    support.eventually(function() return backends() <= 6 and redis_clients() <= before + 2 end, 10,
      'the connections of the old workers go')
    local log = server:quit()
    server = nil
    assert.equal(RELOADS, select(2, log:gsub('signal 1 %(SIGHUP%) received', '')))
    for _, word in ipairs({ 'exited on signal', '%[error%]', '%[alert%]', '%[crit%]' }) do
      assert.is_nil(log:match('[^\n]*' .. word .. '[^\n]*'))
    end
    support.eventually(function() return backends() == 0 and redis_clients() <= before end, 10,
      'no connection is left')
  end)

  it('collects every VM, with all that it had, where lua_code_cache is off', function()
    local before = redis_clients()
    local count = function(command) return tonumber(output(command)) end
    -- each VM leaves a byte in one file when it is made, and one in another when it is closed
    start('lua_code_cache off; lua_check_client_abort on;' .. at('open', [[
      mark() local store = open()
      ngx.say(store:query('SELECT 1 AS one')[1].one)]]) .. at('cached', [[
      mark() local store = open()
      ngx.say(store:exists('vms', '1') and 0 or 1)]]) .. at('closed', [[
      mark() local store = open()
      store:query('SELECT 1')
      store:close()
      ngx.say(1)]]) .. at('raises', [[
      mark() local store = open()
      pcall(store.transaction, store, function(tx)
        tx:insert('vms', { n = 1 })
        error('no')
      end)
      ngx.say(1)]]) .. at('spawns', [[
      mark() local store = open()
      ngx.timer.at(0, function() store:query('SELECT 1') end)
      ngx.say(1)]]) .. at('listens', [[
      mark() local store = open()
      local listener = store:listen('news', function() end)
      store:query('SELECT 1')
      listener:stop()
      ngx.say(1)]]) .. at('leaves', [[
      mark() local store = open()
      store:transaction(function(tx)
        tx:insert('vms', { n = 1 })
        tx:query('SELECT pg_sleep(30)')
      end)]]), { init = [[
      local function leave_byte(name)
        local file = io.open(ngx.config.prefix() .. name, 'a')
        file:write('x')
        file:close()
      end
      function mark()
        leave_byte('made')
        local guard = newproxy(true)
        getmetatable(guard).__gc = function() leave_byte('gone') end
        package.loaded.guard = guard
      end]] })
    support.psql(db, 'CREATE TABLE vms (id bigint PRIMARY KEY, value jsonb)')
    local worker = server:workers()[1]
    local function made(name)
      return count(("cat '%s/%s' 2>&- | wc -c"):format(server.folder, name))
    end
    local function round(times)
      for _ = 1, times do
        for _, name in ipairs({ 'open', 'cached', 'closed', 'raises', 'spawns', 'listens' }) do
          assert.equal('1', get('/' .. name))
        end
      end
      http.leave(server.socket, '/leaves', 0.1)
      support.eventually(function() return made('gone') == made('made') end, 20, 'the VMs go')
    end
    local function used()
      return count(('ls /proc/%s/task | wc -l'):format(worker)),
        count(('ls /proc/%s/fd | wc -l'):format(worker)),
        count(("awk '/VmRSS/ { print $2 }' /proc/%s/status"):format(worker))
    end
    round(2)
    local _, descriptors, memory = used()
    round(12)
    local threads, descriptors_after, memory_after = used()
    assert.equal(86, made('gone'))
    assert.equal(1, threads)
    assert.equal(descriptors, descriptors_after)
    -- 73 VMs of half a megabyte and more
    assert.is_true(memory_after - memory < 8192, memory .. ' kB, then ' .. memory_after)
    support.eventually(function() return backends() == 0 and redis_clients() <= before end, 10,
      'no connection is left')
    assert.equal('', output('ls -d ${TMPDIR:-/tmp}/stores-*/bell 2>/dev/null'))
    local log = server:quit()
    server = nil
    assert.is_nil(log:find('exited on signal'))
  end)
end)

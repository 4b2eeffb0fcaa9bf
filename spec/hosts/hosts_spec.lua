--- The contract of the hosts, in each of them, and what each adds to it.

local contract = require('spec.hosts.contract')
local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local db

lazy_setup(function() db = support.db() end)
lazy_teardown(function() support.drop(db) end)

local function parse(text)
  local results = {}
  for line in text:gmatch('[^\n]+') do
    local verdict, rest = line:match('^(n?o?t? ?ok) (.*)$')
    if verdict then
      local name, note = rest:match('^(.-) %-%- (.*)$')
      results[name or rest] = { ok = verdict == 'ok', note = note }
    end
  end
  return results
end

--- A program in Lua, in a process of its own: gives what it printed, and what it said on stderr.
local function run_lua(words)
  local errors = os.tmpname()
  local child = process.start(words, errors)
  local text = child:wait()
  local file = assert(io.open(errors))
  local said = file:read('*a')
  file:close()
  os.remove(errors)
  return text, said
end

local function describe_contract(host, start)
  describe(host, function()
    local results, output

    lazy_setup(function()
      output = start()
      results = parse(output)
    end)

    for _, one in ipairs(contract) do
      it(one.name, function()
        local result = results[one.name]
        if not result then
          local whole = output
          output = '(shown above)'
          error('it was not run: ' .. whole, 0)
        end
        assert.is_true(result.ok, result.note)
        if result.note then print(('%s: %s'):format(host, result.note)) end
      end)
    end
  end)
end

for _, host in ipairs({ 'standalone', 'luv', 'cqueues' }) do
  describe_contract(host, function()
    local text, errors = run_lua({ 'env', 'LUA_PATH=' .. root .. '/?.lua;' .. package.path,
      'luajit', root .. '/spec/support/hosts_run.lua', host, db.host, tostring(db.port), db.user,
      db.database, support.redis().path })
    return text .. errors
  end)
end

describe_contract('openresty', function()
  local server = nginx.start(([[
    server {
      listen @SOCKET@;
      location = /contract {
        content_by_lua_block {
          local run = require('spec.support.hosts_run')
          local function ticker(seconds, fn)
            local stopped = false
            ngx.thread.spawn(function()
              while not stopped do
                fn()
                ngx.sleep(seconds)
              end
            end)
            return function() stopped = true end
          end
          local function echo() -- to another server of this nginx
            local link = ngx.socket.tcp()
            assert(link:connect('unix:@FOLDER@/ready.sock'))
            assert(link:send('GET / HTTP/1.1\r\nHost: spec\r\n\r\n'))
            assert(link:receive('*l') == 'HTTP/1.1 204 No Content')
            link:close()
          end
          run('openresty', { host = '%s', port = %s, user = '%s', database = '%s', redis = '%s' },
            ngx.say, { ticker = ticker, echo = echo })
        }
      }
    }]]):format(db.host, db.port, db.user, db.database, support.redis().path))
  local _, body = server:request('GET', '/contract')
  return body .. server:quit()
end)

describe('in cqueues', function()
  --- Runs Lua in a process with two controllers at hand; gives what it prints.
  local function run(program)
    local text, errors = run_lua({ 'luajit', '-e', ([[
      local cqueues = require('cqueues')
      local stores = require('stores')
      stores.use('cqueues')
      local hub = require('stores.wait').host.hub()
      local store = stores.Store.new(
        { host = '%s', port = %s, user = '%s', database = '%s' },
        { path = '%s', opts = { timeout = 2 } })
      local one, two = cqueues.new(), cqueues.new()
      %s]]):format(db.host, db.port, db.user, db.database, support.redis().path, program) })
    return text .. errors
  end

  it('serves two controllers in turn', function()
    assert.equal('one two 1 2\n', run([[
      local order = {}
      two:wrap(function() order[2] = store:query('SELECT 2 AS n, pg_sleep(0.1)')[1].n end)
      one:wrap(function() order[1] = store:query('SELECT 1 AS n, pg_sleep(0.1)')[1].n end)
      two:step(0)
      assert(one:loop(10))
      local first = order[1] and 'one'
      assert(two:loop(10))
      print(first, order[2] and 'two', order[1], order[2])]]):gsub('\t', ' '))
  end)

  it('leaves nothing of a controller that is dropped while its coroutines wait', function()
    assert.equal('1 0 0\n', run([[
      two:wrap(function() store:query('SELECT pg_sleep(20)') end)
      two:step(0)
      two:step(0)
      local before = hub:pending()
      two = nil
      collectgarbage()
      collectgarbage()
      local after = hub:pending()
      store:query('SELECT 1')
      print(before, after, store:stats().ops)
      store:close()]]):gsub('\t', ' '))
  end)

  it('wakes those who wait for another coroutine, though nothing is under way any more', function()
    -- without a cache nothing is sent after the first has its answer
    assert.equal('4 4\n', run(([[
      store:close()
      store = stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' }, nil,
        { cache = false })
      store:query('CREATE TABLE queue (id bigint PRIMARY KEY, value jsonb)')
      store:insert('queue', { id = '1', n = 0 })
      local ended = 0
      for _ = 1, 4 do
        one:wrap(function()
          store:updateObject('queue', '1', function(document) document.n = document.n + 1 end)
          ended = ended + 1
        end)
      end
      one:loop(30)
      print(ended, store:find('queue', '1').n)
      os.exit(0)]]):format(db.host, db.port, db.user, db.database)):gsub('\t', ' '))
  end)

  it('takes calls outside of controllers while calls inside wait', function()
    assert.equal('2 1\n', run([[
      local got
      two:wrap(function() got = store:query('SELECT 1 AS n')[1].n end)
      two:step(0)
      print(store:query('SELECT 2 AS n, pg_sleep(0.2)')[1].n,
        two:loop(10) and got)
      store:close()]]):gsub('\t', ' '))
  end)
end)

describe('in luv', function()
  local function run(program)
    local text, errors = run_lua({ 'sh', '-c', 'luajit -e "$1" || echo status $?', 'sh', ([[
      local uv = require('luv')
      local stores = require('stores')
      stores.use('luv')
      local store = stores.Store.new(
        { host = '%s', port = %s, user = '%s', database = '%s' },
        { path = '%s', opts = { timeout = 2 } })
      %s]]):format(db.host, db.port, db.user, db.database, support.redis().path, program) })
    return text .. errors
  end

  it('calls outside of coroutines, where luv is not in a callback', function()
    assert.equal('1\nunsupported\nunsupported\n2\n', run([[
      print(store:query('SELECT 1 AS n')[1].n)
      local timer = uv.new_timer()
      timer:start(1, 0, function()
        print(select(2, pcall(store.query, store, 'SELECT 1')).code)
        print(select(2, pcall(stores.run, function() end)).code)
        stores.spawn(function()
          print(store:query('SELECT 2 AS n')[1].n)
          store:close()
        end)
        timer:close()
      end)
      uv.run()]]))
  end)

  it('refuses a call in a callback before anything is done, and the end of a store too', function()
    assert.equal('unsupported\nunsupported\nnil\n', run([[
      store:query('CREATE TABLE refused (id bigint PRIMARY KEY, value jsonb)')
      local timer = uv.new_timer()
      timer:start(1, 0, function()
        print(select(2, pcall(store.insert, store, 'refused', { id = '1' })).code)
        print(select(2, pcall(store.close, store)).code)
        timer:close()
      end)
      uv.run()
      print(store:find('refused', '1', { cache = false }))
      store:query('DROP TABLE refused')
      store:close()]]))
  end)

  it('ends where a store was left open, and reports what nobody joined', function()
    assert.equal('1\nstores: lost\n', run([[
      stores.spawn(function()
        print(store:query('SELECT 1 AS n')[1].n)
        error('lost', 0)
      end)
      uv.run()]]))
  end)

  it('keeps the loop alive as long as coroutines wait, and no longer', function()
    assert.equal('slept\nend\n', run([[
      stores.spawn(function()
        stores.sleep(0.05)
        print('slept')
      end)
      uv.run()
      print('end')]]))
  end)

  it('lets the program end, or collect a store, inside a callback, with calls under way', function()
    -- the state is closed there: what Stores has on the loop is closed by turning it once more
    for _, waits in ipairs({
      '', "store:query('SELECT pg_sleep(20)')", "store:listen('news', print) stores.sleep(20)",
      "store:transaction(function(tx) tx:query('SELECT pg_sleep(20)') end)",
    }) do
      assert.equal('collected\nends\nstatus 3\n', run(([[
        local ticks = uv.new_timer()
        ticks:start(0, 1, function() end)
        local timer = uv.new_timer()
        stores.spawn(function()
          store:query('SELECT 1')
          timer:start(20, 0, function()
            local other = stores.Store.new({ host = '%s', database = 'x' }, nil, { cache = false })
            other = nil
            collectgarbage()
            collectgarbage()
            print('collected', other)
            print('ends')
            os.exit(3, true)
          end)
          %s
        end)
        uv.run()]]):format(db.host, waits)):gsub('\tnil', ''))
    end
  end)

  it('leaves a coroutine that yields by itself to who resumes it', function()
    assert.equal('resumed 1\n', run([[
      stores.spawn(function()
        local co, timer = coroutine.running(), uv.new_timer()
        timer:start(20, 0, function()
          timer:close()
          coroutine.resume(co, 'resumed')
        end)
        local said = coroutine.yield()
        print(said .. ' ' .. store:query('SELECT 1 AS n')[1].n)
      end)
      uv.run()]]))
  end)
end)

describe('stores.use', function()
  it('refuses a host that is not there, and another one after the first store', function()
    local stores = require('stores')
    stores.Store.new(db, nil, { cache = false }):close()
    local ok, err = pcall(stores.use, 'node')
    assert.is_false(ok)
    assert.equal('invalid_argument', err.code)
    stores.run(function() end) -- makes the loop, as the first store does
    ok, err = pcall(stores.use, 'luv')
    assert.is_false(ok)
    assert.equal('unsupported', err.code)
    stores.use('standalone')
  end)
end)

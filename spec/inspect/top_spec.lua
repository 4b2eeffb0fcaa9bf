--- stores top: the figures of running processes, from a folder, a url and a unix socket.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local ports = require('spec.support.ports')
local json = require('stores.json')
local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local scrape = require('stores.inspect.scrape')
local shell = require('spec.support.shell')
local support = require('spec.support')
local top = require('stores.inspect.top')

local store, db, folder, config, runner

-- A process that calls all the time, and leaves its figures in the folder.
local PROGRAM = [[
local stores = require('stores')
local db, redis, opts = dofile(%q)
local store = stores.Store.new(db, redis, opts)
for n = 1, math.huge do
  store:find('docs', tostring(n %% 3 + 1))
  store:count('docs')
  if n == 100 then print('runs') end
end]]

setup(function()
  store, db = support.store({ 'docs' })
  for id = 1, 3 do store:insert('docs', { id = tostring(id) }) end
  folder, config = shell.folder(), os.tmpname()
  shell.write(config, command.config(db, nil, { metrics = { folder = folder } }))
  runner = process.lua(PROGRAM:format(config))
  assert.equal('runs', runner:line())
end)

teardown(function()
  runner:kill()
  os.remove(config)
  shell.run('rm -rf ' .. shell.quoted(folder))
  support.close(store, db)
end)

-- On a busy machine the other process may have had no turn between two looks.
local function look(...)
  local report
  for _ = 1, 10 do
    report = json.decode(command.must({ 'top', '--count', '1', '--every', '0.5', '--json', ... }))
    if report.calls > 0 then break end
  end
  return report
end

local function is_alive(report)
  assert.equal(1, report.workers)
  assert.is_true(report.calls > 0)
  local by_verb = {}
  for _, one in ipairs(report.verbs) do by_verb[one.verb] = one end
  assert.is_true(by_verb.find.calls > 0 and by_verb.find.mean > 0)
  assert.is_true(by_verb.find.half <= by_verb.find.most)
  assert.is_true(report.pool.size > 0)
end

describe('stores top', function()
  it('shows the figures of a folder, look by look, until it has enough', function()
    is_alive(look(folder))
    local out = command.must({ 'top', folder, '--count', '2', '--every', '0.3' })
    local _, count = out:gsub('stores top  [^\n]+  %d%d:%d%d:%d%d\n1 process  [%d,]+ calls/s  '
      .. 'hits [%d.-]+ ?%%?  pending %d+  transactions %d+\n', '')
    assert.equal(2, count, out)
    assert.matches('\nverb +calls/s +mean ms +50 %% ms +99 %% ms\n', out)
    assert.matches('\nfind +[%d,]+ +[%d.]+ +[%d.]+ +[%d.]+\n', out)
    assert.matches('\npool  %d+ of 10 in use', out)
    assert.is_nil(out:find('\27', 1, true))
  end)

  it('finds the folder in a configuration', function()
    is_alive(look('--config', config))
  end)

  it('draws its page in place on a terminal', function()
    local out = command.must({ 'top', folder, '--count', '2', '--every', '0.2' },
      { terminal = '/dev/null' })
    assert.matches('\27%[H', out)
    assert.matches('\27%[K', out)
  end)

  it('asks a page by http, and by a unix socket', function()
    local port = ports.free()
    local server = nginx.start(([[
      init_by_lua_block { stores = require('stores') }
      server {
        listen @SOCKET@;
        listen 127.0.0.1:%d;
        location = /metrics { content_by_lua_block {
          ngx.print(stores.metrics({ folder = '%s' })) } }
        location = /figures { content_by_lua_block {
          ngx.print(stores.metrics({ folder = '%s' })) } }
      }]]):format(port, folder, folder))
    local ok, err = pcall(function()
      is_alive(look(('http://127.0.0.1:%d/metrics'):format(port)))
      is_alive(look(('http://localhost:%d'):format(port)))
      is_alive(look('unix:' .. server.socket))
      is_alive(look('unix:' .. server.socket .. ':/figures'))
      local result = command.run({ 'top', ('http://127.0.0.1:%d/none'):format(port) })
      assert.equal(1, result.code)
      assert.matches('127.0.0.1 answered 404 for /none', result.err)
    end)
    server:stop()
    if not ok then error(err, 0) end
  end)

  it('says where no figures are', function()
    local result = command.run({ 'top' })
    assert.equal(2, result.code)
    for source, words in pairs({ ['/nowhere'] = 'there is no folder /nowhere',
      ['https://x'] = 'figures come from a folder', ['unix:/nowhere'] = '/nowhere: No such file',
      ['http://127.0.0.1:1/'] = 'Connection refused' }) do
      result = command.run({ 'top', source })
      assert.equal(1, result.code)
      assert.truthy(result.err:find(words, 1, true), result.err)
    end
    result = command.run({ 'top', folder, '--every', 'x' })
    assert.equal(2, result.code)
  end)

  it('stops at Ctrl-C', function()
    local program = command.start({ 'top', folder, '--every', '0.2', '--json' }, nil,
      '/dev/null')
    assert.truthy(program:line())
    program:signal('INT')
    program:wait()
  end)
end)

describe('a page of figures', function()
  it('is read line by line, labels with what is escaped in them', function()
    local found = scrape.read('# HELP a x\na 1\nb{x="1",le="+Inf"} 2\n'
      .. 'b{x="q\\"\\\\\\n",le="2"} 3.5\nc +Inf\nbroken{\n\n')
    assert.same({ { labels = {}, value = 1 } }, found.a)
    assert.same({ x = 'q"\\\n', le = '2' }, found.b[2].labels)
    assert.equal(3.5, found.b[2].value)
    assert.equal(math.huge, found.c[1].value)
    assert.is_nil(found.broken)
  end)

  it('gives rates of what happened between two looks, also after a restart', function()
    local function figures(count, hits)
      return scrape.read(('stores_calls_total %d\nstores_hits_total %d\nstores_misses_total 5\n'
        .. 'stores_workers 2\nstores_redis_up 1\n'):format(count, hits))
    end
    local report = top.between(figures(100, 10), figures(300, 30), 2)
    assert.equal(100, report.calls)
    assert.equal(1, report.hits)
    assert.is_true(report.redis_up)
    assert.equal(25, top.between(figures(100, 10), figures(50, 10), 2).calls)
    assert.is_nil(top.between(figures(1, 1), figures(1, 1), 1).hits)
  end)
end)

--- Loops of hosts that are nested, stopped, or turned only now and then.
-- Not in the gc pass: programs of their own, which that collector does not reach.

local process = require('spec.support.process')
local support = require('spec.support')

local db

lazy_setup(function()
  db = support.db()
  support.psql(db, 'CREATE TABLE nets (id bigint PRIMARY KEY, value jsonb);'
    .. [[INSERT INTO nets SELECT i, '{"n": 1}' FROM generate_series(1, 20) i]])
end)
lazy_teardown(function() support.drop(db) end)

local function run(host, program)
  local errors = os.tmpname()
  local child = process.lua(([[
    local stores = require('stores')
    stores.use('%s')
    local store = stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' }, nil,
      { cache = false, timeout = 20 })
    %s
    store:close()]]):format(host, db.host, db.port, db.user, db.database, program), errors)
  local text = child:wait()
  local file = assert(io.open(errors))
  text = text .. file:read('*a')
  file:close()
  os.remove(errors)
  return text
end

describe('controllers of cqueues in each other', function()
  local NESTED = [[
    local cqueues = require('cqueues')
    local got
    local function inner()
      -- as deep as epoll lets a program go by itself
      got = store:find('nets', '1').n + store:query('SELECT 1 AS n, pg_sleep(0.05)')[1].n
    end
    local function nest(depth)
      local loop = cqueues.new()
      loop:wrap(function() if depth > 1 then nest(depth - 1) else inner() end end)
      if not cqueues.running() then return assert(loop:loop()) end
      while not loop:empty() do
        assert(loop:step(0))
        if not loop:empty() then cqueues.poll(loop, loop:timeout()) end
      end
    end
    nest(DEPTH)
    print(got)]]

  for depth = 1, 5 do
    it(('find rows %d deep'):format(depth), function()
      assert.equal('2\n', run('cqueues', (NESTED:gsub('DEPTH', tostring(depth)))))
    end)
  end

  it('do not cost a processor while a call waits', function()
    local seconds = tonumber(run('cqueues', [[
      local cqueues = require('cqueues')
      local loop = cqueues.new()
      store:query('SELECT 1')
      local before = os.clock()
      loop:wrap(function() store:query('SELECT pg_sleep(2)') end)
      assert(loop:loop())
      print(os.clock() - before)]]))
    assert.is_true(seconds < 0.5, tostring(seconds))
  end)

  it('are served after a fork, each process its own', function()
    assert.equal('1\n1\n', run('cqueues', [[
      local cqueues = require('cqueues')
      local ffi = require('ffi')
      ffi.cdef('int fork(void); int waitpid(int, int *, int); void _exit(int);')
      local loop = cqueues.new()
      loop:wrap(function() store:find('nets', '1') end)
      assert(loop:loop())
      local pid = ffi.C.fork()
      if pid == 0 then
        local ok, err = pcall(store.find, store, 'nets', '1')
        print(not ok and err.code == 'forked' and 1 or 'no')
        io.stdout:flush()
        ffi.C._exit(0)
      end
      ffi.C.waitpid(pid, nil, 0)
      loop = cqueues.new()
      loop:wrap(function() print(store:find('nets', '1').n) end)
      assert(loop:loop())]]))
  end)

  it('end no call of a child of a fork, where what waited in its parent is forgotten', function()
    assert.equal('true\n', run('cqueues', [[
      local cqueues = require('cqueues')
      local ffi = require('ffi')
      ffi.cdef('int fork(void); int waitpid(int, int *, int); void _exit(int);')
      local loop = cqueues.new()
      loop:wrap(function() stores.sleep(100) end)
      loop:step(0)
      local pid = ffi.C.fork()
      if pid == 0 then
        loop = nil
        local hub = store.new({ host = '/nowhere', database = 'none' }, nil, { cache = false }).hub
        local own = hub:sleep(50)
        for _ = 1, 3 do collectgarbage() end
        print((pcall(hub.done, hub, own)))
        io.stdout:flush()
        ffi.C._exit(0)
      end
      ffi.C.waitpid(pid, nil, 0)]]))
  end)

  it('that are forgotten with what was spawned in them do not keep stores.run', function()
    assert.equal('true\t1\ttrue\t1\n', run('cqueues', [[
      local cqueues = require('cqueues')
      local loop = cqueues.new()
      loop:wrap(function() stores.spawn(function() cqueues.sleep(100) end) end)
      for _ = 1, 2 do loop:step(0) end
      local function find() return store:find('nets', '1').n end
      local ok, n = pcall(stores.run, find) -- nobody steps that one now
      loop = nil
      for _ = 1, 3 do collectgarbage() end
      print(ok, n, pcall(stores.run, find))]]))
  end)
end)

describe('a loop of luv', function()
  local LUV = "local uv = require('luv')\n"

  it('may be stopped before calls that block', function()
    assert.equal('1\n1\n', run('luv', LUV .. [[
      uv.stop()
      print(store:find('nets', '1').n)
      uv.stop()
      print(stores.run(function() return store:find('nets', '2').n end))]]))
  end)

  it('may be stopped by a timer all the time while a call blocks', function()
    assert.equal('3\n', run('luv', LUV .. [[
      local timer = uv.new_timer()
      timer:start(1, 1, function() uv.stop() end)
      print(store:query('SELECT 3 AS n, pg_sleep(0.2)')[1].n)
      timer:close()]]))
  end)

  it('may be stopped while a coroutine waits, and go on later', function()
    assert.equal('nil\n7\n', run('luv', LUV .. [[
      local got
      stores.spawn(function() got = store:query('SELECT 7 AS n, pg_sleep(2)')[1].n end)
      local timer = uv.new_timer()
      timer:start(50, 0, function() uv.stop() timer:close() end)
      uv.run()
      print(got)
      uv.run()
      print(got)]]))
  end)

  it('may be stopped by the coroutines themselves', function()
    assert.equal('5\n', run('luv', LUV .. [[
      local got = 0
      stores.spawn(function()
        for i = 1, 5 do
          got = got + store:find('nets', tostring(i)).n
          uv.stop()
        end
      end)
      for _ = 1, 200 do if got < 5 then uv.run() end end
      print(got)]]))
  end)

  it('may be turned without waiting, now and then', function()
    assert.equal('21\n', run('luv', LUV .. [[
      local got
      stores.spawn(function() got = store:find('nets', '1').n + store:count('nets') end)
      for _ = 1, 2000 do
        if got then break end
        uv.run('nowait')
        uv.sleep(5)
      end
      print(got)]]))
  end)

  it('does not spin while a coroutine waits', function()
    local seconds = tonumber(run('luv', LUV .. [[
      local done
      stores.spawn(function() store:query('SELECT pg_sleep(2)') done = true end)
      local before = os.clock()
      while not done do uv.run('once') end
      print(os.clock() - before)]]))
    assert.is_true(seconds < 0.5, tostring(seconds))
  end)
end)

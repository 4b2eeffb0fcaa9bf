--- Coroutines that are dropped in the middle of something: a wrap that nobody resumes, a controller
--- of cqueues that is forgotten. What they were doing ends soon, however much memory the program
--- has. Light threads of nginx: dropped_nginx_spec.
-- Not in the gc pass: programs of their own, which that collector does not reach.

local dropped = require('spec.support.dropped')
local process = require('spec.support.process')
local support = require('spec.support')

local SOON, BALLAST = dropped.SOON, dropped.BALLAST
local db

lazy_setup(function() db = dropped.database() end)
lazy_teardown(function() support.drop(db) end)

local function run(host, program, errors)
  local child = process.lua(([[
    stores = require('stores')
    stores.use('%s')
    local store = stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' }, nil,
      { cache = false })
    %s
    local function took(fn)
      local began = store.hub:now()
      fn()
      return store.hub:now() - began < %d
    end
    %s
  ]]):format(host, db.host, db.port, db.user, db.database, BALLAST, SOON, program), errors)
  return child:wait()
end

describe('a transaction that is dropped with its coroutine', function()
  it('in a plain script frees its row for a call that waits for it', function()
    assert.equal('true\t0\n', run('standalone', [[
      local step = stores.wrap(function()
        store:transaction(function(tx)
          tx:patch('rows', '1', { inc = { n = 1 } })
          coroutine.yield()
        end)
      end)
      step()
      step = nil
      print(took(function() store:patch('rows', '1', { set = { m = 1 } }) end),
        store:find('rows', '1').n)
      store:close()]]))
  end)

  it('frees its row after LuaJIT has compiled the loop that resumed it', function()
    for _, host in ipairs({ 'standalone', 'luv' }) do
      assert.equal('true\n', run(host, [[
        do
          local step = stores.wrap(function()
            store:transaction(function(tx)
              tx:patch('rows', '4', { inc = { n = 1 } })
              while true do coroutine.yield() end
            end)
          end)
          for _ = 1, 1000 do step() end
        end
        print(took(function() store:patch('rows', '4', { set = { m = 1 } }) end))
        store:close()]]))
    end
  end)

  it('frees its row although finalizers of the program raise', function()
    assert.equal('true\n', run('standalone', [[
      local step = stores.wrap(function()
        store:transaction(function(tx)
          tx:patch('rows', '7', { inc = { n = 1 } })
          coroutine.yield()
        end)
      end)
      step()
      step = nil
      for _ = 1, 50 do
        getmetatable(newproxy(true)).__gc = function() error('the finalizer is broken') end
      end
      print(took(function()
        -- whoever asks for memory meets them
        repeat until pcall(store.patch, store, 'rows', '7', { set = { m = 1 } })
        repeat until pcall(collectgarbage)
      end))
      store:close()]], '/dev/null'))
  end)

  it('in stores.run frees its connection for a coroutine that waits for one', function()
    assert.equal('true\ttrue\n', run('standalone', [[
      store:close()
      store = stores.Store.new(]] .. ("{ host = '%s', port = %s, user = '%s', database = '%s' }")
        :format(db.host, db.port, db.user, db.database):gsub('}$', ', poolsize = 1 }') .. [[, nil,
        { cache = false, timeout = 20 })
      stores.run(function()
        local step = stores.wrap(function()
          store:transaction(function(tx) tx:count('rows') coroutine.yield() end)
        end)
        step()
        step = nil
        local ok
        print(took(function() ok = pcall(store.count, store, 'rows') end), ok)
      end)
      store:close()]]))
  end)

  it('in luv frees its row', function()
    assert.equal('true\n', run('luv', [[
      local uv = require('luv')
      stores.spawn(function()
        store:transaction(function(tx)
          tx:patch('rows', '2', { inc = { n = 1 } })
          coroutine.yield() -- nobody resumes it
        end)
      end)
      uv.run('nowait')
      stores.spawn(function()
        stores.sleep(0.1)
        print(took(function() store:patch('rows', '2', { set = { m = 1 } }) end))
        store:close()
      end)
      uv.run()]]))
  end)

  it('in cqueues frees its row, when its controller is forgotten', function()
    assert.equal('true\t0\ttrue\n', run('cqueues', [[
      local cqueues = require('cqueues')
      local one, two = cqueues.new(), cqueues.new()
      local inside
      one:wrap(function()
        store:transaction(function(tx)
          tx:patch('rows', '3', { inc = { n = 1 } })
          inside = true
          cqueues.sleep(100)
        end)
      end)
      while not inside do one:step(1) end
      one = nil
      local quick
      two:wrap(function()
        quick = took(function() store:patch('rows', '3', { set = { m = 1 } }) end)
      end)
      assert(two:loop())
      print(quick, store:find('rows', '3').n,
        took(function() store:updateObject('rows', '3', function(doc) doc.n = 1 end) end))
      store:close()]]))
  end)

  it('leaves those alone that only wait, for whatever it is', function()
    assert.equal('2\t4\n', run('standalone', [[
      local wrapped = stores.wrap(function()
        return store:transaction(function(tx)
          tx:patch('rows', '4', { inc = { n = 1 } })
          coroutine.yield()
          tx:patch('rows', '4', { inc = { n = 1 } })
          return true
        end)
      end)
      wrapped()
      stores.run(function()
        stores.all({
          function() stores.sleep(2.5) end,
          function()
            store:transaction(function(tx)
              tx:patch('rows', '5', { inc = { n = 2 } })
              stores.sleep(2) -- through some looks for what was dropped
              tx:patch('rows', '5', { inc = { n = 2 } })
            end)
          end,
        })
      end)
      wrapped()
      print(store:find('rows', '4').n, store:find('rows', '5').n)
      store:close()]]))
  end)
end)

describe('updateObject of a coroutine that is dropped', function()
  it('lets those go on who wait for the row', function()
    assert.equal('true\t3\n', run('standalone', [[
      stores.run(function()
        local step = stores.wrap(function()
          store:updateObject('rows', '6', function() coroutine.yield() end)
        end)
        step()
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = stores.spawn(function()
            store:updateObject('rows', '6', function(doc) doc.n = doc.n + 1 end)
          end)
        end
        stores.sleep(0.05)
        step = nil
        print(took(function() for i = 1, 3 do tasks[i]:join() end end), store:find('rows', '6').n)
      end)
      store:close()]]))
  end)
end)

describe('a store that nobody has any more', function()
  -- what they call knows the store by its name alone
  local BODIES = { "one:find('rows', '8')", "one:session(function(own) own:query('SELECT 1') end)",
    "one:query('SELECT 1; SELECT 2', nil, { transaction = false })",
    "stores.all({ function() one:find('rows', '8') end })",
    "stores.map({ one }, function(each) each:find('rows', '8') end)",
    "stores.run(function() stores.all({ function() one:find('rows', '8') end }) end)",
    "one.try:find('rows', '8')", "one:query('SELECT 1')",
    "one:updateObject('rows', '8', function(doc) doc.n = 1 end)",
    "one:transaction(function(tx) tx:find('rows', '8') end)",
    "pcall(one.transaction, one, function(tx) tx:find('rows', '8') error('back') end)",
    "one:transaction(function(tx) tx:transaction(function() tx:find('rows', '8') end) end)" }

  it('is closed by the collector, also where LuaJIT has compiled what called it', function()
    local program = ([[
      ballast = nil
      jit.opt.start('hotloop=2', 'hotexit=2')
      for _, body in ipairs(BODIES) do
        local there = setmetatable({}, { __mode = 'k' })
        for _ = 1, 4 do
          one = stores.Store.new({ host = 'HOST', port = PORT, user = 'USER',
            database = 'DATABASE' }, nil, { cache = false })
          there[one] = true
          assert(loadstring('for _ = 1, 20 do ' .. body .. ' end'))()
        end
        one = nil
        for _ = 1, 3 do collectgarbage() end
        for _ in pairs(there) do print('still there', body) end
      end
      store:close()]]):gsub('%u+', { HOST = db.host, PORT = db.port, USER = db.user,
        DATABASE = db.database, BODIES = '{ [=[' .. table.concat(BODIES, ']=], [=[') .. ']=] }' })
    assert.equal('', run('standalone', program))
  end)

  it('is collected after its end, whatever its log function leads to', function()
    assert.equal('0\n', run('standalone', [[
      local there = setmetatable({}, { __mode = 'k' })
      for _ = 1, 3 do
        local one
        one = stores.Store.new({ host = '/nowhere', database = 'none' }, nil,
          { cache = false, log = function(line) print(one, line) end })
        there[one] = true
        one:close()
      end
      for _ = 1, 3 do collectgarbage() end
      local count = 0
      for _ in pairs(there) do count = count + 1 end
      print(count)
      store:close()]]))
  end)
end)

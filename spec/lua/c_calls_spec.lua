--- Calls inside of functions written in C (string.gsub, table.sort, require ..), which cannot be
--- left by a coroutine that waits: a plain script blocks there; elsewhere the call is refused
--- before anything is sent.

local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

setup(function() store, db = support.store({ 'things' }) end)
teardown(function() support.close(store, db) end)

local function inside(fn)
  local results
  local text = ('x'):gsub('x', function() results = { fn() } end)
  assert(text == 'x')
  return unpack(results)
end

local PLACES = {
  ['string.gsub'] = function(fn) inside(fn) end,
  ['table.sort'] = function(fn)
    local done
    table.sort({ 3, 1, 2 }, function(a, b)
      if not done then done = true fn() end
      return a < b
    end)
  end,
  ['require'] = function(fn)
    package.loaded['spec.made_up'] = nil
    package.preload['spec.made_up'] = function() fn() return true end
    require('spec.made_up')
  end,
  ['load'] = function(fn) load(function() fn() end) end,
  ['a metamethod in table.sort'] = function(fn)
    local done
    local meta = { __lt = function(a, b)
      if not done then done = true fn() end
      return a[1] < b[1]
    end }
    local list = {}
    for i = 1, 3 do list[i] = setmetatable({ 4 - i }, meta) end
    table.sort(list)
  end,
  ['a wrap that is resumed in string.gsub'] = function(fn)
    local wrapped = stores.wrap(fn)
    inside(function() wrapped() end)
  end,
}

describe('in a coroutine of a plain script', function()
  local count = 0
  for place, within in pairs(PLACES) do
    it('a call blocks in ' .. place, function()
      count = count + 1
      local id = tostring(count)
      stores.run(function()
        local other
        local task = stores.spawn(function() other = store:count('things', { none = 1 }) end)
        within(function()
          store:insert('things', { id = id, n = 1 })
          store:updateObject('things', id, function(doc) doc.n = doc.n + 1 end)
          store:transaction(function(tx) tx:patch('things', id, { inc = { n = 1 } }) end)
          stores.sleep(0.001)
        end)
        task:join()
        assert.equal(0, other)
      end)
      assert.equal(3, store:find('things', id).n)
    end)
  end

  it('waiting for other coroutines is refused there', function()
    stores.run(function()
      local ran = 0
      local task = stores.spawn(function() stores.sleep(0.01) return 7 end)
      inside(function()
        refused('unsupported', 'string.gsub', task.join, task)
        refused('unsupported', 'string.gsub', stores.map, { 1 }, function() ran = ran + 1 end)
        refused('unsupported', 'string.gsub', stores.all, { function() ran = ran + 1 end })
      end)
      assert.equal(7, task:join())
      assert.equal(0, ran)
    end)
  end)

  it('a call in a coroutine of somebody else is refused there as everywhere', function()
    coroutine.wrap(function()
      inside(function() refused('foreign_coroutine', nil, store.find, store, 'things', '1') end)
    end)()
  end)

  it('updateObject of a row that another coroutine changes does not wait for that one', function()
    store:insert('things', { id = '100', n = 0 })
    stores.run(function()
      local began, over
      local slow = stores.spawn(function()
        store:updateObject('things', '100', function(doc)
          began = true
          support.eventually(function() return over end)
          doc.n = doc.n + 1
        end, { timeout = 20 })
      end)
      support.eventually(function() return began end)
      inside(function()
        -- the row is locked by a coroutine that does not go on meanwhile
        local err = refused('timeout', nil, store.updateObject, store, 'things', '100',
          function(doc) doc.n = doc.n + 1 end, { timeout = 0.2 })
        assert.equal('none', err.outcome)
      end)
      over = true
      slow:join()
      assert.equal(1, store:find('things', '100').n)
    end)
  end)

  it('what the call found is freed', function()
    store:upsert('things', { id = '101', text = ('x'):rep(10000) })
    stores.run(function()
      for _ = 1, 300 do inside(function() store:find('things', '101') end) end
    end)
    support.eventually(function() return store:stats().ops + store.hub:pending() == 0 end)
  end)
end)

describe('where a host has a loop of its own', function()
  local BODY = [[
    local before = store:stats().calls
    local codes = {}
    local function inside(fn, ...)
      local ok, err
      local args = { ... }
      ('x'):gsub('x', function() ok, err = pcall(fn, unpack(args)) end)
      codes[#codes + 1] = ok and 'ok' or type(err) == 'table' and err.code
        or 'raw ' .. tostring(err)
    end
    local wrapped = stores.wrap(function() return store:insert('things', { id = ID }) end)
    inside(store.insert, store, 'things', { id = ID })
    inside(store.updateObject, store, 'things', ID, function() return {} end, { create = true })
    inside(store.transaction, store, function(tx) tx:insert('things', { id = ID }) end)
    inside(store.query, store, 'INSERT INTO things VALUES (' .. ID .. ")")
    inside(stores.sleep, 0)
    inside(stores.map, { 1 }, function() end)
    store:transaction(function(tx) inside(tx.insert, tx, 'things', { id = ID }) end)
    if HOST ~= 'openresty' then inside(wrapped) end -- nginx's own coroutines raise by themselves
    local calls = store:stats().calls - before
    local found = store:find('things', ID)
    say(table.concat(codes, ' '), tostring(found), store:stats().ops, store:stats().transactions,
      calls <= 1)
  ]]
  local ALL = ('unsupported '):rep(7)

  for host, id in pairs({ luv = '2001', cqueues = '2002' }) do
    it('the call is refused in ' .. host, function()
      local child = process.lua(([[
        local stores = require('stores')
        stores.use('%s')
        local ID, HOST = '%s', '%s'
        local say = print
        local function main()
          local store = stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' },
            nil, { cache = false })
          store:query('SELECT 1')
          %s
          store:close()
        end
        if HOST == 'luv' then
          stores.spawn(main)
          require('luv').run()
        else
          local loop = require('cqueues').new()
          loop:wrap(main)
          assert(loop:loop())
        end]]):format(host, id, host, db.host, db.port, db.user, db.database, BODY))
      assert.equal(ALL .. 'unsupported\tnil\t0\t0\ttrue\n', child:wait())
    end)
  end

  it('the call is refused in nginx', function()
    local server = nginx.over(db, { ['/t'] = [[
      local ID, HOST, store = '2003', 'openresty', S()
      store:query('SELECT 1')
      local function say(...)
        ngx.say(table.concat({ ... }, '\t', 1, 4), '\t', tostring(select(5, ...)))
      end
      ]] .. BODY })
    local text = server:get('/t')
    server:quit()
    assert.equal((ALL:gsub('%s+$', '')) .. '\tnil\t0\t0\ttrue', text)
  end)
end)

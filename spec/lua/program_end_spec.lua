--- Programs that end while calls are under way, by themselves, by os.exit or by an error.

local support = require('spec.support')

local store, db

setup(function()
  store, db = support.store({ 'things' })
  for i = 1, 20 do store:insert('things', { id = tostring(i), n = i }) end
end)
teardown(function() support.close(store, db) end)

-- Runs a Lua program of its own process over the same database; gives what it printed.
local function program(body)
  local file = os.tmpname()
  local out = assert(io.open(file, 'w'))
  out:write(([[
    local stores = require('stores')
    local store = stores.Store.new({ host = %q, port = 5432, database = %q, user = %q,
      application_name = 'program' }, { path = %q, opts = { timeout = 2 } })
  ]]):format(db.host, db.database, db.user, support.redis().path), body)
  out:close()
  local pipe = assert(io.popen(('timeout 60 luajit %s 2>&1; echo status $?'):format(file)))
  local text = pipe:read('*a')
  pipe:close()
  os.remove(file)
  return text
end

describe('a program that ends while calls are under way', function()
  local function gone()
    return store:query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = "
      .. "'program' AND datname = current_database()", nil, { readonly = true })[1].n == 0
  end

  it('ends cleanly by itself', function()
    assert.equal('status 0\n', program([[
      stores.spawn(function() store:find('things', '1') end) -- nobody runs it
      store:find('things', '1')
    ]]))
    support.eventually(gone)
  end)

  it('ends cleanly by os.exit inside a coroutine, with the state closed or not', function()
    for _, close in ipairs({ 'true', 'false' }) do
      assert.equal('status 3\n', program([[
        stores.run(function()
          for i = 1, 50 do
            stores.spawn(function() store:query('SELECT pg_sleep(30)') end)
            stores.spawn(function() store:find('things', tostring(i)) end)
            stores.spawn(function()
              store:updateObject('things', '3', function(document)
                document.n = 99
                stores.sleep(30)
              end)
            end)
          end
          stores.sleep(0.05)
          os.exit(3, ]] .. close .. [[)
        end)
      ]]))
      -- a statement that runs on is ended by the server when it cannot answer
      support.psql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
        .. "application_name = 'program' AND query LIKE '%pg_sleep%'")
      support.eventually(gone)
      assert.equal(3, store:find('things', '3').n)
    end
  end)

  it('calls no function of the program that has a name of ours', function()
    assert.equal('status 0\n', program([[
      function dropped() print('dropped') end
      store:updateObject('things', '4', function() end)
      store:close()
    ]]))
  end)

  it('shows an error of its tasks', function()
    local text = program([[
      stores.run(function() stores.spawn(function() error('nobody joined me') end) end)
    ]])
    assert.truthy(text:find('nobody joined me', 1, true), text)
    assert.truthy(text:find('status 1', 1, true), text)
  end)
end)

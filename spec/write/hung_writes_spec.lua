-- Writes by id whose backend hangs, or that wait for the lock of a row: others go on.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

-- What is no matter of the spec, on a machine that others keep busy.
local LONG = 60

describe('Writes that are not answered', function()
  local db, store, stopped

  setup(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs SELECT i, jsonb_build_object('n', i) FROM generate_series(1, 40) i]])
  end)

  teardown(function() support.drop(db) end)

  before_each(function() stopped = {} end)

  after_each(function()
    for _, pid in ipairs(stopped) do os.execute('kill -CONT ' .. pid .. ' 2>/dev/null') end
    if store then support.close(store) end
    store = nil
  end)

  local function store_of(poolsize, redis)
    local config = { poolsize = poolsize, acquire_timeout = LONG, statement_timeout = 9 * LONG,
      application_name = 'hung' }
    for key, value in pairs(db) do config[key] = value end
    store = stores.Store.new(config, redis and support.redis() or nil)
    store:update('docs', { id = '1', n = 1 })
    return store
  end

  -- Holds the locks of rows while fn runs; in stores.run.
  local function while_locked(ids, fn)
    local holder = stores.Store.new(db, nil, { cache = false, timeout = 10 * LONG })
    local locked, over = false, false
    local task = stores.spawn(function()
      holder:transaction(function(tx)
        tx:query('SELECT 1 FROM docs WHERE id = ANY(ARRAY[' .. ids .. ']) FOR UPDATE')
        locked = true
        support.eventually(function() return over end, 9 * LONG)
      end)
    end)
    support.eventually(function() return locked end, LONG)
    local ok, err = pcall(fn)
    over = true
    task:join()
    holder:close()
    if not ok then error(err, 0) end
  end

  for _, redis in ipairs({ false, true }) do
    local how = redis and ', with a cache' or ''

    -- together, so that some share a segment; or one by one, so that each takes a connection
    for _, gap in ipairs({ 0.005, 0.05 }) do
      it('for their rows are locked leave others alone, ' .. gap .. ' s apart' .. how, function()
        store_of(8, redis)
        stores.run(function()
          local done, tasks = 0, {}
          while_locked('1, 2, 3, 4, 5, 6, 7, 8, 9, 10', function()
            for i = 1, 24 do
              tasks[i] = stores.spawn(function()
                store:updateProperty('docs', tostring(i % 10 + 1), 'seen', i,
                  { timeout = 9 * LONG })
                done = done + 1
              end)
              stores.sleep(gap)
            end
            for i = 20, 40 do
              local id, opts = tostring(i), { timeout = LONG }
              assert.is_true(store:update('docs', { id = id, n = 100 }, opts))
              assert.equal(100, store:find('docs', id, opts).n)
            end
            assert.equal(0, done)
          end)
          for _, task in ipairs(tasks) do task:join() end
          assert.equal(24, done)
        end)
      end)
    end

    -- a segment of several is broken up at once, and its writes run alone, of which each waited for
    -- as long as it took, in all the connections that such writes may take
    it('since they were broken up let others go' .. how, function()
      store_of(8, redis)
      stores.run(function()
        local done, tasks = 0, {}
        local function write(i, ms)
          tasks[#tasks + 1] = stores.spawn(function()
            store:updateProperty('docs', tostring(i), 'seen', i, { timeout = ms })
            done = done + 1
          end)
        end
        while_locked('1, 2, 3, 4, 5', function()
          for i = 1, 4 do write(i, 9 * LONG) end
          local waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hung'"
            .. " AND wait_event_type = 'Lock' AND query_start < now() - interval '300 ms'"
          support.eventually(function() return tonumber(support.psql(db, waiting)) == 4 end, LONG)
          write(5, 9 * LONG)
          assert.is_true(store:update('docs', { id = '20', n = 100 }, { timeout = LONG }))
          assert.equal(0, done)
        end)
        for _, task in ipairs(tasks) do task:join() end
        assert.equal(5, done)
      end)
    end)

    it('for their backends hang are given up, and those after them go on' .. how, function()
      store_of(5, redis)
      stores.run(function()
        local errors = {}
        while_locked('1, 2, 3', function()
          for i = 1, 3 do
            stores.spawn(function()
              local _, err = store.try:update('docs', { id = tostring(i), n = -1 }, { timeout = 5 })
              errors[i] = err
            end)
            stores.sleep(0.02)
          end
          local pids
          support.eventually(function()
            pids = support.psql(db, "SELECT pid FROM pg_stat_activity WHERE application_name ="
              .. " 'hung' AND wait_event_type = 'Lock'")
            return select(2, pids:gsub('%d+', '')) == 3
          end, LONG)
          for pid in pids:gmatch('%d+') do
            stopped[#stopped + 1] = pid
            assert.equal(0, os.execute('kill -STOP ' .. pid))
          end
          for i = 5, 20 do
            assert.is_true(store:update('docs', { id = tostring(i), n = 200 }, { timeout = LONG }))
          end
          support.eventually(function() return errors[1] and errors[2] and errors[3] end, LONG)
          for i = 1, 3 do assert.equal('timeout', errors[i].code) end
          support.eventually(function() return store:stats().pool_writing == 0 end, LONG)
        end)
        for _, pid in ipairs(stopped) do os.execute('kill -CONT ' .. pid) end
        for i = 1, 3 do
          assert.is_true(store:update('docs', { id = tostring(i), n = 300 }, { timeout = LONG }))
        end
      end)
    end)
  end
end)

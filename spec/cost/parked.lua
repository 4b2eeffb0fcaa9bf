--- The program that spec/engine/memory_spec.lua measures: coroutines that wait, and what the engine
--- has allocated for each of them meanwhile; then tables that are known, and what it has for each.
--- Prints lines of `verb<TAB>bytes of malloc<TAB>bytes of Lua`.
---
---     LD_PRELOAD=counter.so luajit spec/cost/parked.lua HOST USER DATABASE REDIS_SOCKET COUNT
local ffi = require('ffi')
local stores = require('stores')

ffi.cdef('double cost_live(void);')
local counter = ffi.C

local host, user, database, redis = unpack(arg)
local count = tonumber(arg[5])
local db = { host = host, port = 5432, user = user, database = database,
  acquire_timeout = 60, max_waiters = 2 * count }
local store = stores.Store.new(db, { path = redis, opts = { timeout = 10 } }, { timeout = 60 })
local holder = stores.Store.new(db, nil, { cache = false })

local function change(doc)
  doc.n = doc.n + 1
end

local CALLS = {
  { 'find', function(id) store:find('docs', id) end },
  { 'find uncached', function(id) store:find('docs', id, { cache = false }) end },
  { 'update', function(id) store:update('docs', { id = id, n = 1 }) end },
  { 'updateObject', function(id) store:updateObject('docs', id, change) end },
  { 'transaction', function(id)
    store:transaction(function(tx) tx:find('docs', id) end)
  end },
  { 'query', function(id) store:query('SELECT value FROM docs WHERE id = $1', { id }) end },
}

local function used()
  collectgarbage()
  collectgarbage()
  return counter.cost_live(), collectgarbage('count') * 1024
end

holder:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
holder:query([[INSERT INTO docs SELECT n, jsonb_build_object('id', n::text, 'n', 0)
  FROM generate_series(1, $1) n]], { tostring(count) })

--- So many calls wait for a table that somebody else has locked.
local function park(call)
  local done, bytes, lua = 0, nil, nil
  stores.run(function()
    holder:transaction(function(tx)
      tx:query('LOCK TABLE docs IN ACCESS EXCLUSIVE MODE')
      local before, lua_before = used()
      for number = 1, count do
        stores.spawn(function()
          call(('%d'):format(number))
          done = done + 1
        end)
      end
      repeat stores.sleep(0.05) until store:stats().ops >= count
      stores.sleep(0.2) -- what can go on without the table does
      local after, lua_after = used()
      assert(done == 0, 'some calls did not wait')
      bytes, lua = after - before, lua_after - lua_before
    end)
  end)
  assert(done == count)
  return bytes / count, lua / count
end

for _, call in ipairs(CALLS) do
  stores.run(function() -- connections, statements, the table's name
    for number = 1, 20 do stores.spawn(function() call[2](('%d'):format(number)) end) end
  end)
  print(('%s\t%.0f\t%.0f'):format(call[1], park(call[2])))
end
--- Tables of these numbers are read once, one after the other.
local function meet(first, last)
  local before, lua_before = used()
  for number = first, last do store:find('met_' .. number, '1') end
  local after, lua_after = used()
  local met = last - first + 1
  return (after - before) / met, (lua_after - lua_before) / met
end

holder:query([[DO $$ BEGIN FOR n IN 1..800 LOOP
  EXECUTE format('CREATE TABLE met_%s (id bigint PRIMARY KEY, value jsonb)', n); END LOOP; END $$]])
meet(1, 400) -- connections keep a statement of each, up to a bound
print(('table\t%.0f\t%.0f'):format(meet(401, 800)))
store:close()
holder:close()

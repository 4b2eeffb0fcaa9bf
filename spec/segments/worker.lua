--- A process of spec/write/segments_spec.lua: many coroutines that write rows by id, at random, the
--- same ones as the other processes. It prints what it did: a line of counts by name at its end.
---
---     luajit spec/segments/worker.lua HOST USER DATABASE REDIS_SOCKET NUMBER ROWS SECONDS
local stores = require('stores')

local host, user, database, redis, name = unpack(arg)
local rows, seconds = tonumber(arg[6]), tonumber(arg[7])
local COROUTINES = 96

math.randomseed(tonumber(name))
local store = stores.Store.new({ host = host, port = 5432, user = user, database = database },
  { path = redis, opts = { timeout = 2 } })

local done = { inc = 0, update = 0, updateProperty = 0, insert = 0, delete = 0 }
local key = 'p' .. name
local over, written = false, 0

local function some_id()
  return ('%d'):format(math.random(rows))
end

-- Each gives the name of what it did. The member `p1` of a counter is what process 1 added to it.
local WRITES = {
  function()
    local doc = assert(store:patch('counters', some_id(), { inc = { [key] = 1 } }))
    assert(doc[key] > 0)
    return 'inc'
  end,
  function()
    local id = some_id()
    assert(store:update('docs', { id = id, by = key, n = done.update + 1 }))
    return 'update'
  end,
  function()
    assert(store:updateProperty('docs', some_id(), 'touched', key))
    return 'updateProperty'
  end,
  function()
    store:insert('made', { by = key })
    return 'insert'
  end,
  function()
    local own = store:insert('made', { by = key })
    done.insert = done.insert + 1
    assert(store:delete('made', own.id))
    return 'delete'
  end,
}

stores.run(function()
  for _ = 1, COROUTINES do
    stores.spawn(function()
      while not over do
        local what = WRITES[math.random(#WRITES)]()
        done[what] = done[what] + 1
        written = written + 1
      end
    end)
  end
  stores.sleep(seconds)
  while written < 400 do stores.sleep(0.05) end -- the machine is busy
  over = true
end)
local stats = store:stats()
store:close()
print(('inc %d update %d updateProperty %d insert %d delete %d commits %d retries %d'):format(
  done.inc, done.update, done.updateProperty, done.insert, done.delete, stats.commits,
  stats.segment_retries))

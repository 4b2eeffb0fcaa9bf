--- One workload as people write it by hand, in a process of its own: lua-sql-postgres, lua-redis
--- and cjson, the cache beside the database. Both clients block, so a process has one call at a
--- time. Prints calls (or documents) a second.
---
---     luajit bench/peer.lua NAME SECONDS ROWS [SEED]
---
--- The servers are those of the environment, and the tables those that bench/run.lua makes.
local cjson = require('cjson')
local luasql = require('luasql.postgres')
local redis_client = require('redis')
local socket = require('socket')

local name = arg[1]
local seconds, rows = tonumber(arg[2]), tonumber(arg[3])
local seed = tonumber(arg[4] or 1)

local TTL = 3600

local random = math.random
math.randomseed(seed)

-- host, port, user and database are libpq's own, from the environment
local db = assert(luasql.postgres():connect(''))
local redis = redis_client.connect('unix://' .. os.getenv('REDIS_SOCKET'))

local function execute(sql, ...)
  local result, why = db:execute(sql:format(...))
  if not result then error(why, 0) end
  return result
end

--- The rows of a SELECT: id and text of each.
local function select(sql, ...)
  local cursor, list = execute(sql, ...), {}
  local id, value = cursor:fetch()
  while id do
    list[#list + 1] = { id, value }
    id, value = cursor:fetch()
  end
  cursor:close()
  return list
end

local function id()
  return ('%d'):format(random(rows))
end

local function document(number, own)
  return { id = own, name = 'user ' .. number, email = number .. '@x.org',
    score = random(10000) / 8, tags = { 'a', 'b' }, ok = true }
end

local function text_of(doc)
  return db:escape(cjson.encode(doc))
end

local function key_of(own)
  return 'peer:' .. own
end

local last_id = seed * 1e12 -- for rows that are inserted; each process has its own

local workloads = {}

function workloads.find()
  local found = select('SELECT id, value FROM bench_read WHERE id = %s', id())
  assert(cjson.decode(found[1][2]).id)
  return 1
end

function workloads.find_cached()
  local own = id()
  local text = redis:get(key_of(own))
  if not text then
    text = select('SELECT id, value FROM bench_read WHERE id = %s', own)[1][2]
    redis:setex(key_of(own), TTL, text)
  end
  assert(cjson.decode(text).id == own)
  return 1
end

function workloads.find_all_by_ids_cached()
  local ids, keys = {}, {}
  for i = 1, 100 do
    ids[i] = id()
    keys[i] = key_of(ids[i])
  end
  local texts, missing, documents = redis:mget(keys), {}, {}
  for i = 1, 100 do
    if texts[i] then documents[#documents + 1] = cjson.decode(texts[i])
    else missing[#missing + 1] = ids[i] end
  end
  if missing[1] then
    for _, row in ipairs(select('SELECT id, value FROM bench_read WHERE id IN (%s)',
      table.concat(missing, ','))) do
      redis:setex(key_of(row[1]), TTL, row[2])
      documents[#documents + 1] = cjson.decode(row[2])
    end
  end
  return #documents
end

function workloads.insert()
  last_id = last_id + 1
  execute("INSERT INTO bench_insert (id, value) VALUES (%.0f, '%s')", last_id,
    text_of(document(id(), ('%.0f'):format(last_id))))
  return 1
end

function workloads.update()
  local own = id()
  assert(execute("UPDATE bench_write SET value = '%s' WHERE id = %s", text_of(document(own, own)),
    own) == 1)
  return 1
end

function workloads.update_cached()
  local own = id()
  assert(execute("UPDATE bench_write SET value = '%s' WHERE id = %s", text_of(document(own, own)),
    own) == 1)
  redis:del(key_of(own))
  return 1
end

function workloads.update_object_cached()
  local own = id()
  execute('BEGIN')
  local doc = cjson.decode(
    select('SELECT id, value FROM bench_write WHERE id = %s FOR UPDATE', own)[1][2])
  doc.score = doc.score + 1
  execute("UPDATE bench_write SET value = '%s' WHERE id = %s", text_of(doc), own)
  execute('COMMIT')
  redis:del(key_of(own))
  return 1
end

--- Puts every row into the cache, and ends.
function workloads.fill()
  for first = 1, rows, 1000 do
    local found = select('SELECT id, value FROM bench_read WHERE id BETWEEN %d AND %d', first,
      first + 999)
    redis:pipeline(function(pipe)
      for _, row in ipairs(found) do pipe:setex(key_of(row[1]), TTL, row[2]) end
    end)
  end
  os.exit(0)
end

local call = assert(workloads[name], 'there is no workload ' .. name)
local clock = socket.gettime

local function measure(limit)
  local began, count = clock(), 0
  while clock() - began < limit do
    for _ = 1, 8 do count = count + call() end
  end
  return count / (clock() - began)
end

measure(math.max(seconds / 5, 0.1))
print(('%.1f'):format(measure(seconds)))

--- One workload of Stores in a process of its own; prints calls (or documents) a second.
---
---     luajit bench/workload.lua NAME IN_FLIGHT SECONDS ROWS [SEED]
---
--- The servers are those of the environment (PGHOST, PGPORT, PGUSER, PGDATABASE, REDIS_SOCKET, or
--- REDIS_PORT of 127.0.0.1, and REDIS_CA for TLS), and the tables those that bench/run.lua makes.
--- NAME_held is over tables that processes hold in their memory: this one, which reads them, or
--- STORES_BENCH_HOLDERS others (bench/holder.lua), for which it writes.
--- IN_FLIGHT 0 is one call at a time, without coroutines. With STORES_BENCH_STATS set, this
--- process's CPU time and store:stats() go to stderr, divided by the calls.
local stores = require('stores')

local name, in_flight = arg[1], tonumber(arg[2])
local seconds, rows = tonumber(arg[3]), tonumber(arg[4])

local random = math.random
math.randomseed(tonumber(arg[5] or 1))

--- A new string for each call, as an id is that came with a request: an array of all of them would
--- have the collector and the table of strings busy with what no program keeps.
local function id()
  return ('%d'):format(random(rows))
end

--- About 100 bytes, and the same members as the rows that the tables begin with.
local function document(number, own)
  return { id = own, name = 'user ' .. number, email = number .. '@x.org',
    score = random(10000) / 8, tags = { 'a', 'b' }, ok = true }
end

local workloads = {}

function workloads.find(store)
  assert(store:find('bench_read', id()))
  return 1
end

function workloads.find_all_by_ids(store)
  local list = {}
  for i = 1, 100 do list[i] = id() end
  return #store:findAllByIds('bench_read', list)
end

function workloads.insert(store)
  store:insert('bench_insert', document(id()))
  return 1
end

function workloads.update(store)
  local own = id()
  assert(store:update('bench_write', document(own, own)))
  return 1
end

local function change(record)
  record.score = record.score + 1
end

function workloads.update_object(store)
  assert(store:updateObject('bench_write', id(), change))
  return 1
end

--- All for one row.
function workloads.update_object_of_one_row(store)
  assert(store:updateObject('bench_write', '1', change))
  return 1
end

--- Puts every row into the cache, and ends.
function workloads.fill(store)
  local list = {}
  for number = 1, rows do
    list[#list + 1] = ('%d'):format(number)
    if #list == 500 or number == rows then
      store:findAllByIds('bench_read', list)
      list = {}
    end
  end
  store:close()
  os.exit(0)
end

-- list_N: the Nth form of bench/forms.lua.
local function list_of(number)
  local form = require('bench.forms')[number]
  if form.opts.after then form.opts.after = os.getenv('STORES_BENCH_AFTER') end
  return function(store)
    store:findByJSON('bench_lists', form.doc, form.opts)
    return 1
  end
end

local READ_HELD, WRITE_HELD, SHARED = 'bench_read_held', 'bench_write_held', { shared = true }
-- What is held is small, and read often; its ids are there before, as those that a program reads
-- in a request are: to make a text of a number takes longer than to read a row that is shared.
local hot = {}
for number = 1, math.min(rows, 10000) do hot[number] = ('%d'):format(number) end

function workloads.find_held(store)
  assert(store:find(READ_HELD, hot[random(#hot)]))
  return 1
end

function workloads.find_shared_held(store)
  assert(store:find(READ_HELD, hot[random(#hot)], SHARED))
  return 1
end

function workloads.update_held(store)
  local own = id()
  assert(store:update(WRITE_HELD, document(own, own)))
  return 1
end

local verb, cached = name:match('^(.-)_(cached)$')
local of_held, reads_held = name:find('_held$') ~= nil, name:find('^find.*_held$') ~= nil
local call = name:find('^list_%d') and list_of(tonumber(name:match('%d+')))
  or assert(workloads[verb or name], 'there is no workload ' .. name)
local port, ca = os.getenv('REDIS_PORT'), os.getenv('REDIS_CA')
-- The ceilings wait as long as it takes, too.
local opts = { timeout = 2, tls = ca and { ca = ca } }
local redis = port and { host = '127.0.0.1', port = port, opts = opts }
  or { path = os.getenv('REDIS_SOCKET'), opts = opts }
local store = stores.Store.new({
  host = os.getenv('PGHOST'), port = os.getenv('PGPORT'), user = os.getenv('PGUSER'),
  database = os.getenv('PGDATABASE'), poolsize = tonumber(os.getenv('STORES_BENCH_POOL')),
}, redis, { cache = cached == 'cached' or of_held, hold = reads_held and { READ_HELD } or nil })

local clock = require('stores.wait').host.now

--- Calls until `limit` seconds are over; gives units, and seconds taken.
local function alone(limit)
  local began, count = clock(), 0
  while clock() - began < limit do
    for _ = 1, 16 do count = count + call(store) end
  end
  return count, clock() - began
end

local function together(limit)
  local began, count, over = clock(), 0, false
  stores.run(function()
    for _ = 1, in_flight do
      stores.spawn(function()
        while not over do
          local done = call(store) -- others count meanwhile
          count = count + done
        end
      end)
    end
    stores.sleep(limit)
    over = true
  end)
  return count, clock() - began
end

--- Every row is read from memory before it begins.
local function hold_all()
  while store:stats().held_rows < #hot do
    store:findAllByIds(READ_HELD, hot)
    stores.sleep(0.01)
  end
end

-- Processes that hold the table, for as long as this one lives.
local function start_holders(count)
  local pipes = {}
  for i = 1, count do
    pipes[i] = io.popen(('exec luajit bench/holder.lua %s %d'):format(WRITE_HELD, rows))
  end
  for _, pipe in ipairs(pipes) do assert(pipe:read('*l') == 'holds', 'a holder has ended') end
  return pipes
end

if reads_held then hold_all() end
local holders = start_holders(tonumber(os.getenv('STORES_BENCH_HOLDERS') or 0))

local measure = in_flight == 0 and alone or together
measure(math.max(seconds / 5, 0.1)) -- connections, prepared statements, the compiler
collectgarbage()
local cpu = os.clock()
local count, took = measure(seconds)
cpu = os.clock() - cpu
print(('%.1f'):format(count / took))
if os.getenv('STORES_BENCH_STATS') then
  io.stderr:write(('cpu %.3f us a call, %d calls\n'):format(cpu / count * 1e6, count))
  for figure, value in pairs(store:stats()) do
    if type(value) == 'number' and value ~= 0 then
      io.stderr:write(('%s %.4f a call\n'):format(figure, value / count))
    end
  end
end
store:close()
if holders[1] then os.exit(0) end -- they end once this process has, and are not waited for

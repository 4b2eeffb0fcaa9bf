--- The program that spec/engine/cost_spec.lua counts: fixed scenarios, each warmed up and then run
--- between cost_begin and cost_end of the counter that was loaded before it. Prints lines of
--- `scenario<TAB>figure<TAB>value`; the values are those of one call where it is alone, else of one
--- call of each coroutine.
---
---     LD_PRELOAD=counter.so luajit -joff spec/cost/child.lua count|instructions HOST USER DATABASE
---         REDIS_SOCKET [SCENARIOS, a line each, or a part of a name]
---
--- `instructions` is for callgrind, and prints the share of a dump's total that is one call.
---
--- The interpreter alone runs it, for what the compiler compiles depends on chance, and allocations
--- that it sinks do not show.
local core = require('stores.core')
local ffi = require('ffi')
local stores = require('stores')

ffi.cdef([[
  void cost_begin(int with_instructions);
  void cost_end(const char *name);
  void cost_quiet(int microseconds);
  double cost_syscalls(void);
  double cost_allocations(void);
  double cost_copied(void);
]])
local counter = ffi.C

local mode, host, user, database, redis, only = unpack(arg)
local instructions = mode == 'instructions'

local db = { host = host, port = 5432, user = user, database = database }
local store = stores.Store.new(db, { path = redis, opts = { timeout = 10 } })
local plain = stores.Store.new(db, { path = redis, opts = { timeout = 10 } }, { cache = false })

-- A slice ends by the clock, and what a turn gathers with it: here every turn does all there is.
local methods = debug.getmetatable(require('stores.wait').host.hub()).__index
local begin_slice = methods.begin_slice
methods.begin_slice = function(hub) begin_slice(hub, 1e9) end

local ROWS, FLIGHT = 256, 256

local function id(number)
  return ('%d'):format(number)
end

local function document(number)
  return { id = id(number), name = 'user ' .. number, email = number .. '@x.org',
    score = number / 8, tags = { 'a', 'b' }, ok = true }
end

local next_id = 1000
local function fresh()
  next_id = next_id + 1
  return document(next_id)
end

local function change(doc)
  doc.score = doc.score + 1
end

local hundred = {}
for i = 1, 100 do hundred[i] = id(i) end

-- Documents for the codec alone. In whatever order Lua has their members, it is not jsonb's, so
-- that no chance spares the encoder to move them.
local members, lines = {}, {}
local words = { 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten' }
for n, word in ipairs(words) do
  members[n] = ('"field %s": {"name": "user %d", "score": %d.25, "tags": ["a", "b%d"], '
    .. '"ok": true, "of": null}'):format(word, n * 7919, n * 31, n)
  lines[n] = ('"é%s": "line one\\nline \\"two\\" — ünïcödé, and Привет, each of them"'):format(word)
end
local mixed = '{' .. table.concat(members, ', ') .. '}'
local escapes = '{' .. table.concat(lines, ', ') .. '}'
local record, escaped = core.json_decode(mixed), core.json_decode(escapes)

-- of which what is copied is the greater part of the cost
local large = { id = '1000', text = ('x'):rep(100000) }

local UNIQUE = { unique = true }

local function find(one)
  return function(number) assert(one:find('docs', id(number))) end
end

local function insert(one)
  return function() one:insert('docs', fresh()) end
end

local function update(one)
  return function(number) assert(one:update('docs', document(number))) end
end

local function update_object(number)
  assert(store:updateObject('docs', id(number), change))
end

local holder -- a store, made last, for it has a connection more

-- All rows that are asked for are in its memory.
local function hold()
  holder = holder or stores.Store.new(db, { path = redis, opts = { timeout = 10 } },
    { hold = { 'docs' } })
  repeat
    local hits = holder:stats().held_hits
    for number = 1, 16 do holder:find('docs', id(number)) end
    stores.sleep(0.01)
  until holder:stats().held_hits == hits + 16
end

local SHARED = { shared = true }

-- Name, the call (it gets the number of a row), in flight (0: without coroutines), calls of each
-- coroutine (2 where that is left out); `instructions`: these are counted, too; `before`: is called
-- before all.
local SCENARIOS = {
  { 'decode 1 KB', function() core.json_decode(mixed) end, 0, instructions = true },
  { 'encode 1 KB', function() core.json_encode(record) end, 0, instructions = true },
  { 'decode escapes', function() core.json_decode(escapes) end, 0, instructions = true },
  { 'encode escapes', function() core.json_encode(escaped) end, 0, instructions = true },
  { 'find cached, alone', find(store), 0, instructions = true },
  { 'find cached, 256 in flight', find(store), FLIGHT, instructions = true },
  { 'find uncached, alone', find(plain), 0, instructions = true },
  { 'find uncached, 256 in flight', find(plain), FLIGHT, instructions = true },
  { 'findAllByIds of 100 cached, alone', function()
    assert(#store:findAllByIds('docs', hundred) == 100)
  end, 0, instructions = true },
  { 'insert uncached, alone', insert(plain), 0, instructions = true },
  { 'insert uncached, 256 in flight', insert(plain), FLIGHT },
  { 'update uncached, alone', update(plain), 0, instructions = true },
  { 'update uncached, 256 in flight', update(plain), FLIGHT, instructions = true },
  { 'update cached, alone', update(store), 0, instructions = true },
  { 'update cached, 256 in flight', update(store), FLIGHT, instructions = true },
  { 'updateObject cached, alone', update_object, 0, instructions = true },
  { 'updateObject cached, 256 in flight', update_object, FLIGHT, 1 },
  { 'find cached of 100 KB, raw, alone', function()
    assert(#store:find('docs', '1000', { raw = true }) > 100000)
  end, 0 },
  { 'update cached of 100 KB, alone', function() assert(store:update('docs', large)) end, 0 },
  { 'query, alone', function()
    assert(#store:query('SELECT id, value FROM docs WHERE id = $1', { '1' }) == 1)
  end, 0, instructions = true },
  { 'query, readonly, alone', function()
    local opts = { readonly = true }
    assert(#store:query('SELECT id, value FROM docs WHERE id = $1', { '1' }, opts) == 1)
  end, 0, instructions = true },
  { 'findBy cached, alone', function(number)
    assert(store:findBy('docs', 'email', number .. '@x.org', UNIQUE))
  end, 0, instructions = true },
  { 'findByJSON, alone', function()
    store:findByJSON('docs', { name = 'user 7' }, { limit = 1 })
  end, 0, instructions = true },
  { 'patch cached, alone', function(number)
    assert(store:patch('docs', id(number), { set = { ok = true } }))
  end, 0, instructions = true },
  { 'transaction, alone', function(number)
    store:transaction(function(tx)
      local found = tx:find('docs', id(number))
      tx:update('docs', found)
    end)
  end, 0, instructions = true },
  { 'find held, alone', function(number) assert(holder:find('docs', id(number))) end, 0,
    instructions = true, before = hold },
  { 'find held, shared, alone', function(number)
    assert(holder:find('docs', id(number), SHARED))
  end, 0, instructions = true, before = hold },
}

local ALONE = 16

local function round(call, flight, each)
  if flight == 0 then
    for number = 1, ALONE do call(number) end
    return ALONE
  end
  stores.run(function()
    for number = 1, flight do
      stores.spawn(function()
        for _ = 1, each do call(number) end
      end)
    end
  end)
  return flight * each
end

local function redis_commands()
  local pipe = assert(io.popen(("LD_PRELOAD= redis-cli -s '%s' INFO stats"):format(redis)))
  local text = pipe:read('*a')
  pipe:close()
  return tonumber(text:match('total_commands_processed:(%d+)'))
end

local FIGURES = { 'pg_round_trips', 'pg_statements', 'redis_round_trips' }

local function figures()
  local sums = {}
  for _, one in ipairs({ store, plain }) do
    local stats = one:stats()
    for _, figure in ipairs(FIGURES) do
      sums[figure] = (sums[figure] or 0) + (stats[figure] or 0)
    end
  end
  return sums
end

--- What one round costs; it follows another one directly.
local function measure(name, call, flight, each)
  local before, kilobytes = figures(), collectgarbage('count')
  counter.cost_begin(instructions and 1 or 0)
  round(call, flight, each)
  counter.cost_end(instructions and name or nil)
  local costs = { garbage = (collectgarbage('count') - kilobytes) * 1024,
    syscalls = counter.cost_syscalls(), allocations = counter.cost_allocations(),
    copied = counter.cost_copied() }
  local after = figures()
  for _, figure in ipairs(FIGURES) do costs[figure] = after[figure] - before[figure] end
  return costs
end

--- The least of some rounds, without the collector: what comes by the clock and not by a call is
--- not in all of them.
local function least(name, call, flight, each, rounds)
  -- alone, one answer is all there is
  counter.cost_quiet(flight == 0 and 200 or 1000)
  for _ = 1, 2 do round(call, flight, each) end
  collectgarbage()
  collectgarbage('stop')
  local best, commands = {}, not instructions and redis_commands()
  round(call, flight, each)
  for _ = 1, rounds do
    for figure, value in pairs(measure(name, call, flight, each)) do
      best[figure] = math.min(best[figure] or math.huge, value)
    end
  end
  stores.sleep(0.01) -- what is under way arrives
  if commands then best.redis_commands = (redis_commands() - commands - 1) / (rounds + 1) end
  collectgarbage('restart')
  return best
end

--- Of a call that is alone, or of all that are in flight.
local function show(name, costs, share)
  for figure, value in pairs(instructions and {} or costs) do
    print(('%s\t%s\t%.9g'):format(name, figure, value * share))
  end
  if instructions then print(('%s\tshare\t%.9g'):format(name, share)) end
end

store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
store:insert('docs', large)
local all, documents = {}, {}
for number = 1, ROWS do all[number], documents[number] = id(number), document(number) end
stores.run(function()
  stores.map(documents, function(one) store:insert('docs', one) end, { concurrency = ROWS })
end)
repeat -- until all of them are in the cache
  local before = store:stats().pg_round_trips
  stores.sleep(0.01)
  store:findAllByIds('docs', all)
  store:find('docs', large.id)
until store:stats().pg_round_trips == before

for _, scenario in ipairs(SCENARIOS) do
  local name, call, flight, each = unpack(scenario, 1, 4)
  local wanted = not only or name:find(only, 1, true)
    or ('\n' .. only .. '\n'):find('\n' .. name .. '\n', 1, true)
  if wanted and (not instructions or scenario.instructions) then
    each = each or 2
    if scenario.before then scenario.before() end
    local costs = least(name, call, flight, each, instructions and 2 or 3)
    show(name, costs, flight == 0 and 1 / ALONE or 1 / each)
  end
end
store:close()
plain:close()
if holder then holder:close() end

--- What a store promises in every host. Each case runs in a coroutine of the host, where calls
--- wait; hosts_spec.lua runs all of them in standalone, luv, cqueues and nginx.
---
--- A case gets
---   t.stores, t.store      a store over a table docs (id bigint PRIMARY KEY, value jsonb)
---   t.open()               one more such store
---   t.host                 the name of the host
---   t.ticker(seconds, fn)  calls fn by a timer of the host's own; returns a function that stops it
---   t.echo()               asks over a socket of the host's own, and waits for the answer; nil:
---                          it has none
---   t.turns(seconds, fn)   calls fn when the loop has its turn; nil: t.ticker does
---   t.note(text)           is printed with the case's result

local ffi = require('ffi')

ffi.cdef([[
  struct spec_timespec { long seconds; long nanoseconds; };
  int clock_gettime(int clock, struct spec_timespec *time);
]])

local contract = {}

local PASS = os.getenv('STORES_TEST_PASS')
-- Coroutines at once. With a collector that runs all the time a coroutine costs milliseconds, and
-- what it finds it finds in each of them.
local MANY = os.getenv('STORES_TEST_COLLECTS') and 200 or 1000

local function case(name, fn)
  contract[#contract + 1] = { name = name, run = fn }
end

local function same(expected, got, what)
  if expected ~= got then
    error(('%s: expected %s, got %s'):format(what or 'value', tostring(expected), tostring(got)), 2)
  end
end

local function raises(code, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error('it raised nothing instead of ' .. code, 2) end
  same(code, type(err) == 'table' and err.code or tostring(err), 'the error')
  return err
end

local function now(t) return t.store.hub:now() end

local THREAD_CPUTIME = 3
local time = ffi.new('struct spec_timespec')

-- Milliseconds that this thread has run: other users of the machine hardly change them.
local function worked()
  ffi.C.clock_gettime(THREAD_CPUTIME, time)
  return tonumber(time.seconds) * 1e3 + tonumber(time.nanoseconds) / 1e6
end

case('waits for a call while others go on', function(t)
  local order, held, asked = {}, false, false
  t.stores.all({
    function()
      while not held do t.stores.sleep(0.001) end
      asked = true
      t.store:query('SELECT pg_advisory_xact_lock(63)')
      order[#order + 1] = 'slow'
    end,
    function()
      t.store:transaction(function(tx)
        tx:query('SELECT pg_advisory_xact_lock(63)')
        held = true
        while not asked do t.stores.sleep(0.001) end
        for _ = 1, 20 do t.store:find('docs', '1') end
        order[#order + 1] = 'quick'
      end)
    end,
  })
  same('quick slow', table.concat(order, ' '))
end)

case('wakes each with its own result', function(t)
  local list = {}
  for i = 1, 50 do list[i] = i end
  local ids = t.stores.map(list, function(i) return t.store:insert('docs', { n = i }).id end)
  local found = t.stores.map(ids, function(id) return t.store:find('docs', id).n end)
  for i = 1, 50 do same(i, found[i], 'document ' .. i) end
end)

case('gives what a spawned function returns, to each who joins it', function(t)
  local task = t.stores.spawn(function(a, b)
    t.stores.sleep(0.01)
    return a + b, nil, 'end'
  end, 1, 2)
  local function join() return select('#', task:join()), (task:join()) end
  local first = t.stores.spawn(join)
  local count, sum = join()
  same(3, count)
  same(3, sum)
  same(3, (first:join()))
end)

case('sleeps as long as it is told', function(t)
  local began, woken = now(t), 0
  t.stores.map({ 0.06, 0.02, 0.04, 0 }, function(seconds)
    t.stores.sleep(seconds)
    woken = woken + 1
    local slept = now(t) - began
    if slept < seconds - 0.002 or slept > seconds + 10 then error('slept ' .. slept) end
  end)
  same(4, woken)
end)

case('ends a call at its deadline, and leaves nothing of it', function(t)
  local began = now(t)
  local err = raises('timeout', t.store.query, t.store, 'SELECT pg_sleep(20)', nil,
    { timeout = 0.1 })
  same(true, err.outcome ~= 'committed')
  local took = now(t) - began
  if took < 0.09 or took > 5 then error('it took ' .. took) end
  same(1, t.store:query('SELECT 1 AS one')[1].one)
end)

case('cancels on the server what its caller gave up', function(t)
  raises('timeout', t.store.query, t.store, 'SELECT pg_sleep(20.25)', nil, { timeout = 0.1 })
  for _ = 1, 500 do
    local count = t.store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' "
      .. "AND datname = current_database() AND query LIKE '%sleep(20.' || '25)%'")[1].n
    if count == 0 then return end
    t.stores.sleep(0.01)
  end
  error('it still runs')
end)

case('raises the very error that a task raised', function(t)
  local mine = { 'an error of mine' }
  local task = t.stores.spawn(function()
    t.store:find('docs', '1')
    error(mine)
  end)
  local ok, err = pcall(task.join, task)
  same(false, ok)
  same(mine, err)
end)

case('goes on after pcall around calls that wait', function(t)
  raises('table_not_found', t.store.find, t.store, 'nowhere', '1')
  local ok, value = pcall(function()
    local inner_ok = pcall(function()
      t.store:find('docs', '1')
      error('out')
    end)
    return inner_ok, t.store:find('docs', '1')
  end)
  same(true, ok)
  same(false, value)
end)

case('serves 1,000 coroutines at once', function(t)
  local ids = {}
  for i = 1, MANY do ids[i] = tostring(i) end
  t.store:query("INSERT INTO docs SELECT i, jsonb_build_object('n', i) "
    .. 'FROM generate_series(1, $1::int) i', { MANY }, { invalidates = { 'docs' } })
  for _ = 1, 3 do
    local sum = 0
    t.stores.map(ids, function(id)
      local document = t.store:find('docs', id)
      t.stores.sleep(0)
      sum = sum + document.n
    end)
    same(MANY * (MANY + 1) / 2, sum)
  end
end)

case('keeps transactions of many coroutines apart', function(t)
  local id = t.store:insert('docs', { n = 0 }).id
  t.stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function()
    t.store:updateObject('docs', id, function(document)
      document.n = document.n + 1
    end)
  end)
  raises('internal', function()
    t.store:transaction(function(tx)
      tx:updateProperty('docs', id, 'n', 100)
      t.stores.sleep(0.01)
      t.stores.errors.raise('internal', 'no')
    end)
  end)
  same(8, t.store:find('docs', id).n)
end)

case('serves many calls for one row over and over', function(t)
  local id = t.store:insert('docs', { n = 0 }).id
  t.stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function()
    for _ = 1, 5 do
      t.store:updateObject('docs', id, function(document) document.n = document.n + 1 end)
    end
  end)
  same(40, t.store:find('docs', id, { cache = false }).n)
end)

case('passes waits through stores.wrap', function(t)
  local each = t.stores.wrap(function(count)
    for i = 1, count do coroutine.yield(i, t.store:exists('docs', '-5')) end
    t.stores.sleep(0.01)
    return 'end'
  end)
  local first, exists = each(2)
  same(1, first)
  same(false, exists)
  same(2, (each()))
  same('end', each())
  raises('table_not_found', t.stores.wrap(function() t.store:find('nowhere', '1') end))
end)

case('refuses a coroutine that it could not resume', function(t)
  local call = coroutine.wrap(function() return t.store:exists('docs', '-5') end)
  if t.host == 'openresty' then
    same(false, call()) -- nginx's own coroutines pass waits through
  else
    raises('foreign_coroutine', call)
  end
end)

case('ends the calls of a store that is closed while they wait', function(t)
  local other = t.open()
  local waiting = {}
  for i = 1, 3 do
    waiting[i] = t.stores.spawn(function()
      return raises('closed', other.query, other, 'SELECT pg_sleep(20)')
    end)
  end
  t.stores.sleep(0.1)
  local began = now(t)
  other:close()
  for i = 1, 3 do waiting[i]:join() end
  if now(t) - began > 5 then error('closing took ' .. now(t) - began) end
  raises('closed', other.find, other, 'docs', '1')
end)

case('has room for two engines', function(t)
  local other = t.open()
  local id = t.store:insert('docs', { n = 1 }).id
  t.stores.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function(i)
    local one, two = t.store, other
    if i % 2 == 0 then one, two = other, t.store end
    one:updateProperty('docs', id, 'n', i)
    two:find('docs', id)
  end)
  same(t.store:find('docs', id).n, other:find('docs', id).n)
  other:close()
  same(true, t.store:exists('docs', id))
end)

case('leaves the timers of the host on time', function(t)
  local ids = {}
  for i = 1, 200 do ids[i] = tostring(i) end
  local times, calls, seen, most_calls = {}, 0, 0, 0
  local stop = t.ticker(0.001, function()
    times[#times + 1] = now(t)
    most_calls = math.max(most_calls, calls - seen)
    seen = calls
  end)
  local ends = now(t) + 0.5
  t.stores.map(ids, function(id)
    while now(t) < ends or #times < 20 and now(t) < ends + 20 do
      t.store:find('docs', id)
      calls = calls + 1
    end
  end)
  stop()
  local gaps = {}
  for i = 2, #times do gaps[#gaps + 1] = (times[i] - times[i - 1]) * 1000 end
  table.sort(gaps)
  if #gaps < 19 then error(('the timer ran %d times'):format(#gaps)) end
  t.note(('%d calls, at the most %d between two turns of a timer of 1 ms, which ran every %.1f ms')
    :format(calls, most_calls, gaps[math.ceil(#gaps / 2)]))
  -- a machine that is busy with other things is late by itself, and serves nobody meanwhile
  if most_calls > 10 * #ids then error('the timer had to wait for calls') end
end)

case('leaves the sockets of the host on time', function(t)
  if not t.echo then return end
  local ids, times, between, calls = {}, {}, {}, 0
  for i = 1, 200 do ids[i] = tostring(i) end
  local ends = now(t) + 0.3
  local function goes_on()
    return now(t) < ends or #times < 20 and now(t) < ends + 20
  end
  local echoes = t.stores.spawn(function()
    while goes_on() do
      local began, seen = now(t), calls
      t.echo()
      times[#times + 1] = (now(t) - began) * 1000
      between[#between + 1] = calls - seen
    end
  end)
  t.stores.map(ids, function(id)
    while goes_on() do
      t.store:find('docs', id)
      calls = calls + 1
    end
  end)
  echoes:join()
  table.sort(times)
  table.sort(between)
  if #times < 20 then error(('the socket gave %d answers'):format(#times)) end
  t.note(('%d calls; %d answers over a socket, half within %.1f ms, with %d calls in between')
    :format(calls, #times, times[math.ceil(#times / 2)], between[math.ceil(#between / 2)]))
  -- who echoes is another process: now and then it does not run, and calls do
  if between[math.ceil(#between * 0.75)] > 10 * #ids then
    error('the socket had to wait for calls')
  end
end)

-- The longest time between two turns of the host, in milliseconds of work, while each id has a
-- coroutine that calls fn again and again; measured when all of them have done so once.
local function longest_stay(t, ids, fn)
  local most, last, ticks, calls = 0, nil, 0, 0
  local stop = (t.turns or t.ticker)(0.001, function()
    if calls < #ids then return end
    local at = worked()
    if last then most = math.max(most, at - last) end
    last, ticks = at, ticks + 1
  end)
  local ends = now(t) + 0.2
  t.stores.map(ids, function(id)
    repeat
      fn(id)
      calls = calls + 1
    until now(t) > ends
  end)
  stop()
  return ticks > 1 and most or math.huge, ticks, calls
end

local function gives_back(t, fn)
  local ids = {}
  for i = 1, MANY do ids[i] = tostring(i) end
  -- sanitizers, and a collector that runs all the time, take many times as long
  local judged = PASS == nil or PASS == 'plain'
  -- the memory of a process that grows, and a hypervisor's interruptions, count as work: once
  local best, calls, ticks
  for _ = 1, 5 do
    local most
    most, ticks, calls = longest_stay(t, ids, fn)
    best = math.min(best or most, most)
    if best <= 5 or not judged then break end
  end
  t.note(('%d calls; the host had %d turns, after %.1f ms of work at the most'):format(calls,
    ticks, best))
  if best > 5 and judged then error('it stayed too long') end
end

case('gives the loop back to the host within 5 ms while 1,000 coroutines find', function(t)
  gives_back(t, function(id) t.store:find('docs', id) end)
end)

case('gives the loop back within 5 ms, though 1,000 coroutines are ready at once', function(t)
  local list = {}
  for i = 1, 100 do list[i] = ('x'):rep(90) end
  local text = t.stores.json.encode(list)
  gives_back(t, function()
    t.stores.sleep(0.02 - now(t) % 0.02) -- all of them until the same moment
    t.stores.json.decode(text)
  end)
end)

case('has nothing left at the end', function(t)
  local stats
  for _ = 1, 200 do
    stats = t.store:stats()
    if stats.ops + stats.transactions + stats.pool_checked_out + stats.pool_waiters == 0 then
      return
    end
    t.stores.sleep(0.01)
  end
  error(('ops %d, transactions %d, checked out %d, waiters %d'):format(stats.ops,
    stats.transactions, stats.pool_checked_out, stats.pool_waiters))
end)

--- Runs every case, and prints a line for each: `ok NAME` or `not ok NAME`, a note after ` -- `.
---@param t table without note
---@param print fun(line: string)
function contract.run_all(t, print)
  for _, one in ipairs(contract) do
    local note
    t.note = function(text) note = text end
    local ok, err = xpcall(function() one.run(t) end, function(err)
      return type(err) == 'table' and tostring(err) or debug.traceback(tostring(err), 2)
    end)
    if not ok then note = tostring(err):gsub('\n', ' | ') end
    print((ok and 'ok ' or 'not ok ') .. one.name .. (note and ' -- ' .. note or ''))
  end
end

return contract

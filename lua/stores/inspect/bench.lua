--- A small workload on the user's own servers, in a table of its own: how long the calls take,
--- beside what a bare round trip to each of the servers does.

local errors = require('stores.errors')
local met = require('stores.verbs.met')
local names = require('stores.tables.names')
local redis = require('stores.inspect.redis')
local system = require('stores.local.system')
local tasks = require('stores.tasks')

local bench = {}

local ROWS, AT_ONCE = 1000, 64
local PATIENCE, STEP = 5, 0.02 -- seconds

---@class stores.BenchFigure
---@field name string
---@field at_once integer calls that are under way at the same time
---@field per_second number
---@field mean number seconds of one call, as its caller sees it
---@field half number seconds below which half of the calls are
---@field most number seconds below which 99 of 100 are
---@field ratio number? how many bare round trips a call takes

---@class stores.BenchReport
---@field table string which is dropped by now
---@field rows integer
---@field is_cached boolean
---@field figures stores.BenchFigure[]

-- Calls fn(n) again and again, from so many coroutines, for so many seconds.
local function measure(work, name, at_once, fn)
  local hub, times, count = work.store.hub, {}, 0
  local began = hub:now()
  local ends = began + work.seconds
  local function run()
    repeat
      local before = hub:now()
      count = count + 1
      fn(count)
      times[#times + 1] = hub:now() - before
    until hub:now() >= ends or work.stopping()
  end
  tasks.run(function() for _ = 1, at_once do tasks.spawn(run) end end)
  local seconds, sum = hub:now() - began, 0
  table.sort(times)
  for _, time in ipairs(times) do sum = sum + time end
  local figure = { name = name, at_once = at_once, per_second = #times / seconds,
    mean = sum / #times, half = times[math.ceil(#times / 2)],
    most = times[math.ceil(#times * 0.99)] }
  table.insert(work.report.figures, figure)
  work.progress()
  return figure
end

-- A bare round trip: the least that a call to this server could take.
local function of_postgres(work)
  return work.store:session(function(session)
    local statement = 'SELECT 1'
    -- behind a pooler the next statement may be on another connection
    if work.store.pooler ~= 'transaction' then
      session:query('PREPARE bare AS SELECT 1')
      statement = 'EXECUTE bare'
    end
    return measure(work, 'SELECT 1 of PostgreSQL', 1, function() session:query(statement) end)
  end)
end

local function of_redis(work)
  return measure(work, 'PING of Redis', 1, function()
    redis.call(work.store, { node = 0 }, 'PING')
  end)
end

-- Ids are those of the store, which may be one of several shards.
local function fill(work)
  for n = 1, ROWS do work.rows[n] = { n = n, text = ('x'):rep(200) } end
  work.store:insertMany(work.name, work.rows)
  local deadline = work.store.hub:now() + 10
  -- from then on reads find their rows in the cache
  repeat
    local before = work.store:stats().hits
    tasks.run(function()
      for _, row in ipairs(work.rows) do
        tasks.spawn(function() work.store:find(work.name, row.id) end)
      end
    end)
    local hits = work.store:stats().hits - before
  until hits == ROWS or not work.report.is_cached or work.store.hub:now() > deadline
end

local function each_call(work, bare)
  local store, name = work.store, work.name
  local function id_of(n) return work.rows[n % ROWS + 1].id end
  local function find(n) store:find(name, id_of(n)) end
  local function ask(n) store:find(name, id_of(n), { cache = false }) end
  local function update(n) store:update(name, { id = id_of(n), n = n, text = ('y'):rep(200) }) end
  local function insert() store:insert(name, { text = ('z'):rep(200) }) end
  local function both(title, against, fn)
    for _, at_once in ipairs({ 1, AT_ONCE }) do
      if work.stopping() then return end
      local figure = measure(work, title, at_once, fn)
      if at_once == 1 then figure.ratio = figure.half / against.half end
    end
  end
  if work.report.is_cached then both('find, cached', bare.redis, find) end
  both('find, of PostgreSQL', bare.postgres, ask)
  both('update', bare.postgres, update)
  both('insert', bare.postgres, insert)
end

-- The table goes, and what Redis has of it, also where something failed. To drop it turned it: who
-- ends the turn would write an epoch again.
local function clear(work)
  local store = work.store
  store:query('DROP TABLE IF EXISTS ' .. work.name)
  if not work.oid or not work.report.is_cached then return end
  local deadline = store.hub:now() + PATIENCE
  while #store:stats().turning > 0 and store.hub:now() < deadline do tasks.sleep(STEP) end
  pcall(redis.call, store, { oid = work.oid }, 'UNLINK', redis.key(store, work.oid))
  store:sweep()
end

local function run(work)
  work.oid = tonumber(work.store:query("SELECT to_regclass($1)::oid::bigint AS oid",
    { work.name })[1].oid)
  fill(work)
  local bare = { postgres = of_postgres(work) }
  if work.report.is_cached then bare.redis = of_redis(work) end
  if not work.stopping() then each_call(work, bare) end
end

--- Measures.
---@param store stores.Store
---@param opts? {seconds: number?, schema: string?, stopping: (fun(): boolean)?,
--- progress: fun()?} seconds: of each figure
---@return stores.BenchReport
function bench.run(store, opts)
  opts = opts or {}
  local name = ('stores_bench_%d'):format(system.pid())
  if opts.schema then name = names.quoted(opts.schema) .. '.' .. name end
  local work = { store = store, name = name, rows = {}, seconds = opts.seconds or 1,
    stopping = opts.stopping or function() return false end,
    progress = opts.progress or function() end,
    report = { table = name, rows = ROWS, figures = {}, is_cached = met.ready(store) } }
  store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(name))
  local ok, err = pcall(run, work)
  local cleared, problem = pcall(clear, work)
  if not ok then
    if not cleared and errors.is(err) then
      err.hint = ('the table %s is still there: drop it'):format(name)
    end
    error(err, 0)
  end
  if not cleared then error(problem, 0) end
  return work.report
end

local function ms(seconds) return ('%.3g'):format(seconds * 1000) end

--- Rows of a report for a table of columns.
---@param report stores.BenchReport
---@return string[] headings
---@return any[][] rows
function bench.rows(report)
  local rows = {}
  for at, one in ipairs(report.figures) do
    rows[at] = { one.name, one.at_once, ('%.0f'):format(one.per_second), ms(one.half),
      ms(one.most), one.ratio and ('%.1f'):format(one.ratio) or '' }
  end
  return { 'call', 'at once', 'per second', '50 % ms', '99 % ms', 'bare round trips' }, rows
end

bench.FIGURES = 10 -- how many there are, where there is a cache

return bench

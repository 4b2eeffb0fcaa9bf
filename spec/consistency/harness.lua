--- The driver of the live consistency harness: starts workers over hot rows, has faults happen to
--- them and to the servers, and gives the whole history to the checker.

local cjson = require('cjson')

local checker = require('spec.consistency.checker')
local crew = require('spec.consistency.crew')
local final = require('spec.consistency.final')
local history = require('spec.consistency.history')
local places = require('spec.consistency.places')
local process = require('spec.consistency.process')

local harness = {}

---@class consistency.Options
---@field workers integer? 8
---@field coroutines integer? of each worker; 16
---@field rows integer? 32; a quarter of them are also written by statements that name no row
---@field calls integer? of all workers together; the run ends with them
---@field timeout number? the deadline of a call, in seconds
---@field on_cache_failure string? 'error'
---@field calm number? so many times fewer writes, for each of them turns its tables
---@field poolsize integer? 3
---@field pause number? seconds between the calls of a coroutine
---@field build string? another build folder
---@field proxied boolean? worker 1 goes through a proxy
---@field victim string? the one table of worker 1
---@field shape string? of spec/consistency/shapes.lua: each table has a mirror, which is read, too
---@field tenants integer? so many schemas beside public have the tables, by search_path
---@field databases integer? so many databases have the tables, on one Redis
---@field bulk boolean? half of the writes are of many rows, by the verbs for that
---@field held boolean? all tables are held
---@field leases number[]? `hold_lease` of the workers, one after the other: 1, 0.3, 0.6 ..
---@field seed integer?

---@class consistency.Run
---@field servers consistency.Servers
---@field options consistency.Options
---@field crew consistency.Crew
---@field workers consistency.Process[]
---@field proxy consistency.Process?
---@field pauses table<integer, number> for how long a worker was stopped
local Run = {}
Run.__index = Run

local CALLS_OF_A_FAULT = 400000 -- more than a few seconds can bring
local PATIENCE = 20 -- seconds, beside a busy neighbour
local OUTCOMES = { [history.OPEN] = 'open', [history.DONE] = 'done', [history.NONE] = 'none',
  [history.TORN] = 'torn' }
-- ---- Start --------------------------------------------------------------------------------------

local function start_proxy(run)
  local home = run.servers.home
  local folder = home .. '/proxy'
  run.proxy = run.crew.proxy
  if run.proxy then
    run:order({ ['do'] = 'calm' })
    return folder
  end
  os.execute(("rm -rf '%s' && mkdir '%s'"):format(folder, folder))
  run.proxy = process.start({ 'luajit', 'spec/consistency/proxy.lua', cjson.encode({
    pg = { listen = folder .. '/.s.PGSQL.5432',
      target = ('%s/.s.PGSQL.%d'):format(home, run.servers.port) },
    redis = { listen = folder .. '/redis.sock', target = home .. '/redis.sock' },
  }) })
  run.crew.proxy = run.proxy
  run:event('ready', 5)
  return folder
end

local function database_of(run, writer)
  return run.places[((writer - 1) % (run.options.databases or 1)) * #run.places
    / (run.options.databases or 1) + 1].database
end

-- A worker that is to die at a step writes one table alone, so that the step is one of its writes.
local function tables_of(run, writer)
  local wanted = run.options.victim
  local list = {}
  for _, place in ipairs(run.places) do
    local mine = place.database == database_of(run, writer)
    if mine and (writer ~= 1 or not wanted or place.name == wanted) then list[#list + 1] = place end
  end
  return assert(list[1] and list, 'there is no table ' .. tostring(wanted))
end

local function names_of(run)
  local names = {}
  for _, place in ipairs(run.places) do table.insert(names, place.name) end
  return names
end

local function start_worker(run, writer, db, redis, capacity)
  local options = run.options
  run.workers[writer] = run.crew:worker(writer, { writer = writer, writers = options.workers,
    shape = options.shape, tenants = options.tenants, bulk = options.bulk,
    build = options.build, db = db, redis = redis,
    opts = { timeout = options.timeout, on_cache_failure = options.on_cache_failure,
      hold = options.held and names_of(run) or nil,
      hold_lease = options.leases[(writer - 1) % #options.leases + 1] },
  })
  local path = ('%s/history%d'):format(run.servers.home, writer)
  run.maps[writer] = run.crew:send(writer, path, capacity, { seed = options.seed + writer,
    coroutines = options.coroutines, tables = tables_of(run, writer), pause = options.pause,
    calm = options.calm })
end

-- Those of the last run, where it was over the same tables; else all begins anew.
local function crew_of(run)
  local servers = run.servers
  if servers.crew and servers.crew:is_of(run.places) then return servers.crew end
  servers:dismiss()
  places.fill(run)
  servers.crew = crew.new(run.places)
  return servers.crew
end

--- Starts the workers, over the rows as the last run left them, or fresh ones.
---@param servers consistency.Servers
---@param options? consistency.Options
---@return consistency.Run
function harness.start(servers, options)
  local all = { workers = 8, coroutines = 16, poolsize = 3, rows = 32, timeout = 10,
    on_cache_failure = 'error', seed = os.time(), leases = { 1, 0.3, 0.6 },
    held = os.getenv('STORES_CONSISTENCY_HELD') == '1' }
  for name, value in pairs(options or {}) do all[name] = value end
  local run = setmetatable({ servers = servers, options = all, workers = {}, maps = {}, pauses = {},
    said = {}, violations = {}, places = places.all(all) }, Run)
  run.crew = crew_of(run)
  local capacity = math.ceil((all.calls or CALLS_OF_A_FAULT) / all.workers)
  local folder = all.proxied and start_proxy(run)
  for writer = 1, all.workers do
    local db = servers:config({ poolsize = all.poolsize, database = database_of(run, writer) })
    local redis = servers:redis_config()
    -- a link that a busy machine cuts would let writes go by the cache outside of the window, or
    -- have them refused where nothing is done to Redis
    if all.on_cache_failure == 'bypass' or all.calls then
      redis.opts = redis.opts or {}
      redis.opts.timeout = 2
    end
    if folder and writer == 1 then
      db.host, redis.path = folder, folder .. '/redis.sock'
      db.port = 5432
    end
    start_worker(run, writer, db, redis, capacity)
  end
  return run
end

-- ---- While it runs ------------------------------------------------------------------------------

--- How many calls have ended well, of the worker or of all.
---@param writer? integer
---@return integer
function Run:done(writer)
  local count = 0
  for number, map in pairs(self.maps) do
    if not writer or number == writer then
      for i = self.counted[number], map.used - 1 do
        if map.calls[i].outcome == history.DONE then count = count + 1 end
      end
    end
  end
  return count
end

-- One that was killed in the run before begins while the others are at work: what follows is to
-- meet it in the middle of its calls, and not in its first one.
function Run:all_begin()
  for number, map in pairs(self.maps) do
    process.wait(function() return map.used > 2 * self.options.coroutines end, PATIENCE,
      'calls of worker ' .. number)
  end
end

--- Lets the workers run until so many more calls have ended well: life goes on.
---@param count integer
---@param seconds? number within which
function Run:go_on(count, seconds)
  if not self.counted then self:all_begin() end
  self.counted = {}
  for number, map in pairs(self.maps) do self.counted[number] = map.used end
  process.wait(function()
    for number, worker in ipairs(self.workers) do
      assert(not worker.exited or self.killed == number, 'worker ' .. number .. ' ended by itself: '
        .. worker.errors .. table.concat(worker.lines, ' '))
    end
    return self:done() >= count
  end, seconds or 20, count .. ' calls that end well')
end

--- Waits for a word of the proxy.
---@param word string
---@param seconds number
function Run:event(word, seconds)
  process.wait(function()
    assert(not self.proxy.exited, 'the proxy ended: ' .. self.proxy.errors)
    for i, line in ipairs(self.proxy.lines) do
      if line == word then
        table.remove(self.proxy.lines, i)
        return true
      end
    end
  end, seconds, 'the proxy says ' .. word)
end

--- Tells the proxy what to do.
---@param command table
function Run:order(command)
  self.proxy:tell(cjson.encode(command))
end

--- Has worker 1 stopped or killed when it reaches a step of a write.
---@param step string
---@param signal 'sigkill'|'sigstop'
function Run:at_step(step, signal)
  if signal == 'sigkill' then self.killed = 1 end
  self:order({ ['do'] = 'arm', step = step, signal = signal, pid = self.workers[1].pid })
  self:event('reached ' .. step, 10)
end

--- Lets a stopped worker 1 run again.
---@param stopped number for how many seconds it was
function Run:continue(stopped)
  self.pauses[1] = (self.pauses[1] or 0) + stopped
  self:order({ ['do'] = 'release' })
  self.workers[1]:kill('sigcont')
end

-- ---- The end ------------------------------------------------------------------------------------

local function calls_of(run)
  local calls, count = {}, 0
  for _, map in pairs(run.maps) do
    for i = 0, map.used - 1 do
      local raw = map.calls[i]
      local outcome = OUTCOMES[raw.outcome]
      local version = raw.version
      if version == history.ABSENT then version = false end
      count = count + 1
      calls[count] = {
        row = raw.row, kind = raw.kind == history.READ and 'read' or 'write', outcome = outcome,
        began = raw.began, ended = raw.ended > 0 and raw.ended or nil, version = version,
        writer = raw.writer, verb = history.VERBS[raw.verb],
      }
    end
  end
  return calls, count
end

local function lives_of(run)
  local lives = {}
  for _, place in ipairs(run.places) do
    local come_and_go = place.kind == 'lives' or place.kind == 'nomads'
    for row = place.first, place.last do lives[row] = come_and_go end
  end
  return lives
end

local function take_words(run)
  for number, worker in ipairs(run.workers) do
    local line = table.remove(worker.lines, 1)
    local said = line and cjson.decode(line)
    run.said[number] = said
    for _, defect in ipairs(said and said.defects or {}) do
      run.violations[#run.violations + 1] = ('worker %d: %s'):format(number, defect)
    end
    if worker.exited and run.killed ~= number then
      local how = 'worker %d ended with %s, signal %s: %s'
      run.violations[#run.violations + 1] = how:format(number,
        tostring(worker.code), tostring(worker.signal), worker.errors)
    end
  end
end

---@class consistency.Figures
---@field calls integer
---@field seconds number
---@field stats table<string, number> sums over the workers that ended by themselves
---@field failures table<string, integer> by the code of the error
---@field failed_reads integer

--- Ends the run and judges it.
---@param options? {keep: boolean} keep: do not stop the workers, they end with their calls
---@return string[] violations
---@return consistency.Figures
function Run:finish(options)
  local began = process.now()
  if not (options and options.keep) then
    for _, map in pairs(self.maps) do map.stop = 1 end
  end
  -- how late calls are is what the checker judges: here those count that do not end
  local limit = options and options.keep or self.options.timeout + PATIENCE
  for number, worker in ipairs(self.workers) do
    local ok = pcall(process.wait, function() return worker.exited or worker.lines[1] end,
      math.max(0.1, limit - (process.now() - began)), 'the end of worker ' .. number)
    if not ok then
      self.violations[#self.violations + 1] = ('worker %d does not end'):format(number)
      self.killed = number
      worker:kill('sigkill')
      worker:join(5)
    end
  end
  take_words(self)
  local calls, count = calls_of(self)
  local rows = final.of(self)
  final.read_twice(self, rows)
  local found = checker.check(calls, { lives = lives_of(self), final = rows,
    base = self.crew.base, deadline = self.options.timeout + 1, pauses = self.pauses,
    window = self.window })
  self.crew.base = checker.base(calls, lives_of(self), rows, self.crew.base)
  for _, violation in ipairs(found) do self.violations[#self.violations + 1] = violation end
  if self.violations[1] then self.servers:dismiss() end -- what is wrong may stay wrong
  return self.violations, self:figures(calls, count)
end

--- Sums up what the workers said.
function Run:figures(calls, count)
  local stats, failures = {}, {}
  for _, said in pairs(self.said) do
    for name, value in pairs(said.stats) do
      if type(value) == 'number' then stats[name] = (stats[name] or 0) + value end
    end
    for code, number in pairs(said.failures or {}) do
      failures[code] = (failures[code] or 0) + number
    end
  end
  local first, last, failed_reads = math.huge, 0, 0
  for _, call in ipairs(calls) do
    first, last = math.min(first, call.began), math.max(last, call.ended or 0)
    if call.kind == 'read' and call.outcome == 'none' then failed_reads = failed_reads + 1 end
  end
  return { calls = count, seconds = last - first, stats = stats, failures = failures,
    failed_reads = failed_reads }
end

--- Ends what a failed spec left running.
function Run:abandon() self.servers:dismiss() end

--- The first violations, for a message.
---@param violations string[]
---@return string
function harness.show(violations)
  local shown = {}
  for i = 1, math.min(#violations, 12) do shown[i] = violations[i] end
  return ('%d violations\n%s'):format(#violations, table.concat(shown, '\n'))
end

return harness

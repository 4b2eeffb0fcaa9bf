-- Runs spec files and C units side by side, each in a process of its own; tools/test.sh calls it:
--   luajit tools/specs.lua [--jobs=N] [--most=N] [--seed=N] [--build=PASS] --logs=DIR --data=DIR
--     --pass=NAME... FILE...
-- --build: what this pass runs has not been built yet; that is done beside the others.
-- A job is a pair of private servers under DIR, which serves one file after the other, so that no
-- spec meets another one's rows. So many jobs there are at all times, and more, up to the most,
-- while cores have nothing to do, for many a file waits. What is taken next is what takes longest;
-- with a seed the order of files, and of the specs in each, is drawn from it. What a file printed
-- is in logs/PASS/FILE.log, and here too where something failed. The last line is
-- `specs: N passed, N failed, N pending`; all that is printed is in logs/specs.log, too.
--
-- All of that keeps two cores busy: what a file costs is what it takes of them, not how long it
-- waits. logs/processor has that of each, the dearest first, and here are the first ten.
--
-- Not every file is run in every pass. What decides is its subject: gc is for values of Lua on
-- which objects of C hang, asan for what C does with memory. So C units have no gc pass; a file
-- with a line `-- Plain pass alone: why` is about Lua alone, or about other processes, or repeats
-- calls whose C other files of these passes run; one with `-- Not in the gc pass: why` is about the
-- core; and a C unit with `Asan pass alone: why` has no plain pass where the asan pass is run, too.
-- A file that is in both, asan and gc, is run once where both are asked for: by asan, with the
-- collector running all the time.
--
-- Whatever a file started is a descendant of this process, also what made a daemon of itself: where
-- this one is interrupted all of them are ended.
local children = require('tools.specs.children')
local compiled = require('tools.specs.compiled')
local costs = require('tools.specs.costs')
local items = require('tools.specs.items')
local proc = require('tools.specs.proc')
local uv = require('luv')

---@class Job
---@field folder string of its servers
---@field host string of its PostgreSQL
---@field redis string the socket of its Redis
---@field servers integer[] the pids of both
---@field work number seconds of a core that they had taken when the file began
---@field stdin uv_pipe_t of who holds them; its end stops them

local opts = { passes = {}, files = {}, jobs = 1 }
for _, word in ipairs(arg) do
  local key, value = word:match('^%-%-(%l+)=(.+)$')
  if key == 'pass' then
    opts.passes[#opts.passes + 1] = value
  elseif key == 'jobs' or key == 'most' or key == 'seed' then
    opts[key] = tonumber(value) or error(key .. ' takes a number')
  elseif key then
    opts[key] = value
  else
    opts.files[#opts.files + 1] = word
  end
end
assert(opts.logs and opts.data and opts.passes[1], 'see the head of tools/specs.lua')
opts.most = math.max(opts.jobs, opts.most or 0)

local root = assert(os.getenv('STORES_ROOT'))
-- Debian's psql is a program of Perl that looks for the one of the server: specs start hundreds.
local pipe = assert(io.popen('pg_config --bindir 2>/dev/null'))
local path = table.concat({ pipe:read('*l') or '/usr/bin', os.getenv('PATH') }, ':')
pipe:close()
local lua_path = compiled.make(root .. '/lua', opts.data .. '/lua') .. os.getenv('LUA_PATH')
local counts = { success = 0, failure = 0, pending = 0 }
local log_of_all = assert(io.open(opts.logs .. '/specs.log', 'w'))

local function say(text)
  for _, file in ipairs({ io.stdout, log_of_all }) do
    file:write(text, '\n')
    file:flush()
  end
end

---@param job Job
---@param item Item
local function environment(job, item)
  local all, list = uv.os_environ(), {}
  all.STORES_TEST_PASS, all.STORES_TEST_DIR = item.pass, job.folder
  all.STORES_TEST_COLLECTS = item.collects and 'yes' or nil
  all.STORES_TEST_PGHOST, all.STORES_TEST_REDIS_SOCKET = job.host, job.redis
  all.STORES_TEST_POOLER, all.STORES_TEST_ROOM = nil, opts.data
  all.PATH, all.LUA_PATH = path, lua_path
  for name, value in pairs(all) do list[#list + 1] = name .. '=' .. value end
  return list
end

-- ---- Judging ------------------------------------------------------------------------------------

local SUMMARY = '(%d+) success[es]* / (%d+) failures? / (%d+) errors? / (%d+) pending'

-- The counts of a log, and what is told of it: all that stands behind its last summary.
local function result_of(text)
  local from, good, bad, errors, pending
  local at = 1
  while true do
    local first, last, a, b, c, d = text:find(SUMMARY, at)
    if not first then break end
    from, good, bad, errors, pending = last, a, b, c, d
    at = last + 1
  end
  if not from then return nil, text end
  return { success = tonumber(good), failure = bad + errors, pending = tonumber(pending) },
    text:sub((text:find('\n', from, true) or from) + 1)
end

-- The counts of an item that ended, and what is told of it; nil where it has no end of its own.
local function verdict(item, code, text)
  if not items.is_unit(item.file) then return result_of(text) end
  return { success = code == 0 and 1 or 0, failure = code == 0 and 0 or 1, pending = 0 }, text
end

-- Seconds of a core that the servers of a job took so far.
local function work_of(job)
  return proc.work(job.servers[1]) + proc.work(job.servers[2])
end

---@param job Job
---@param item Item
---@param code integer
local function judge(job, item, code)
  local text, took = costs.read(items.read(item.log))
  local result, told = verdict(item, code, text)
  took.servers = took.servers + work_of(job) - job.work
  item.took = took
  if not result then
    result = { success = 0, failure = 1, pending = 0 }
    told = ('busted did not finish (status %d):\n%s'):format(code, told:sub(-4000))
  elseif code ~= 0 and result.failure == 0 then
    result.failure = 1
    told = ('all specs passed, but the process ended with status %d:\n%s'):format(code, told)
  end
  for key, value in pairs(result) do counts[key] = counts[key] + value end
  local word = result.failure > 0 and 'FAILED' or 'ok'
  if result.failure == 0 and result.success == 0 and result.pending == 0 then return end
  say(('%-6s %6.1f s  %4d passed%s  %s'):format(word, item.seconds, result.success,
    result.failure > 0 and (', %d failed'):format(result.failure)
      or result.pending > 0 and (', %d pending'):format(result.pending) or '', item.name))
  if result.failure > 0 then say(told) end
end

-- ---- Jobs ---------------------------------------------------------------------------------------

local list, done = items.list(opts), {}
local waiting = {} -- items that are to be taken, in their order
for i, item in ipairs(list) do waiting[i] = item end
local unbuilt = opts.build -- the pass
local running = 0 -- items
local spare = {} -- jobs that have nothing to do now
local bored = false -- the cores, a moment ago

-- Where the next item to run is, if there is one now.
local function place_of_next()
  if running >= opts.jobs and not bored then return end
  for i, item in ipairs(waiting) do
    if item.pass ~= unbuilt then return i end
  end
end

local looks = uv.new_timer() -- at the cores

-- Where there is no more work, the jobs that wait for it end.
local function release_spare()
  if waiting[1] then return end
  looks:stop()
  for _, job in ipairs(spare) do job.stdin:close() end
  spare = {}
end

---@param job Job
local function work(job)
  local place = place_of_next()
  if not place then
    spare[#spare + 1] = job
    return
  end
  local item = table.remove(waiting, place)
  bored, running = false, running + 1
  local log = assert(uv.fs_open(item.log, 'w', tonumber('644', 8)))
  local began = uv.hrtime()
  job.work = work_of(job)
  children.spawn(items.command(item, opts.seed), {
    env = environment(job, item), cwd = root, stdio = { nil, log, log },
  }, function(code)
    item.seconds = (uv.hrtime() - began) / 1e9
    running = running - 1
    done[#done + 1] = item
    judge(job, item, code)
    work(job)
    release_spare()
  end)
  uv.fs_close(log)
end

-- Gives work to jobs that have none; once there is none left they end.
local function wake()
  for _ = 1, #spare do work(table.remove(spare, 1)) end
  release_spare()
end

-- Builds a pass; where that fails what it was to run has failed.
local function build(pass)
  local began = uv.hrtime()
  -- specs wait for servers and for each other: they go before it
  local words = { 'nice', '-n', '5', 'setpriv', '--pdeathsig', 'KILL', 'sh', 'tools/build.sh' }
  for _, word in ipairs(items.build_words(pass)) do words[#words + 1] = word end
  children.spawn(words, { cwd = root, stdio = { nil, 1, 2 } }, function(code)
    say(('%-6s %6.1f s  build of %s'):format(code == 0 and 'ok' or 'FAILED',
      (uv.hrtime() - began) / 1e9, pass))
    unbuilt = nil
    if code ~= 0 then
      counts.failure = counts.failure + 1
      for i = #waiting, 1, -1 do
        if waiting[i].pass == pass then table.remove(waiting, i) end
      end
    end
    wake()
  end)
end

-- A process of its own holds the servers of a job until its input ends: starting and stopping them
-- takes seconds, in which this one has others to look after.
local HOLDER = [[
  local handle = require('spec.support.servers').up(%q)
  io.write(handle.folder, '\n', handle.pg.host, '\n', handle.redis.path, '\n')
  io.flush()
  io.read()
  handle.close()
]]

-- The number with which a file begins.
local function pid_in(file)
  return tonumber(items.read(file):match('^%d+')) or error('no pid in ' .. file)
end

local jobs = 0

local function start_job()
  jobs = jobs + 1
  local number = jobs
  local job, said = { number = number, stdin = uv.new_pipe(false) }, ''
  local stdout = uv.new_pipe(false)
  children.spawn({ 'luajit', '-e', HOLDER:format(opts.data .. '/' .. number) },
    { cwd = root, stdio = { job.stdin, stdout, 2 } }, function(code)
      stdout:close()
      if not job.redis or code ~= 0 then
        children.end_all()
        say(('specs: the servers of job %d: status %d'):format(number, code))
        os.exit(1)
      end
    end)
  stdout:read_start(function(_, data)
    said = said .. (data or '')
    if job.redis then return end
    job.folder, job.host, job.redis = said:match('^(.-)\n(.-)\n(.-)\n')
    if not job.redis then return end
    job.servers = { pid_in(job.folder .. '/pgdata/postmaster.pid'),
      pid_in(job.folder .. '/redis.pid') }
    work(job)
    release_spare()
  end)
end

-- Looks whether the cores had something to do of late; one item more begins where they had not.
local LOOK, IDLE = 500, 0.15 -- milliseconds, and a share of all cores

local function look_after()
  local before, at = proc.idle(), uv.hrtime()
  looks:start(LOOK, LOOK, function()
    local idle, cores = proc.idle()
    local now = uv.hrtime()
    bored = (idle - before) / ((now - at) / 1e9) > IDLE * cores
    before, at = idle, now
    if not bored or not place_of_next() then return end
    if spare[1] then
      work(table.remove(spare, 1))
      release_spare()
    elseif jobs < opts.most then
      start_job()
    end
  end)
end

for _, name in ipairs({ 'sigint', 'sigterm', 'sighup' }) do
  local signal = uv.new_signal()
  signal:unref()
  signal:start(name, function()
    children.end_all()
    say('specs: interrupted')
    os.exit(130)
  end)
end

-- ---- All of them --------------------------------------------------------------------------------

if opts.seed then say('seed ' .. opts.seed) end
local function start_jobs()
  if unbuilt then build(unbuilt) end
  for _ = 1, math.min(opts.jobs, #list) do start_job() end
  if opts.most > opts.jobs then look_after() end
end

-- What the servers of all jobs begin with is made first.
if os.getenv('STORES_TEST_TEMPLATE') then
  start_jobs()
else
  local template = opts.data .. '/template'
  children.spawn({ 'luajit', '-e', ("require('spec.support.template').make(%q)"):format(template) },
    { cwd = root, stdio = { nil, 1, 2 } }, function(code)
      if code ~= 0 then
        say(('specs: the template of the servers: status %d'):format(code))
        os.exit(1)
      end
      uv.os_setenv('STORES_TEST_TEMPLATE', template)
      start_jobs()
    end)
end
uv.run()

items.write_times(opts.logs, list)
costs.write(opts.logs .. '/processor', done, children.work(), say)
say(('specs: %d passed, %d failed, %d pending'):format(counts.success, counts.failure,
  counts.pending))
os.exit(counts.failure == 0 and 0 or 1)

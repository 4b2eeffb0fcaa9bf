-- Runs spec files side by side, each in a process of its own; tools/test.sh calls it:
--   luajit tools/specs.lua [--jobs=N] [--seed=N] --logs=DIR --data=DIR --pass=NAME... FILE...
-- A job is a pair of private servers under DIR, which serves one file after the other, so that no
-- spec meets another one's rows. What is taken next is what took longest the last time; with a seed
-- the order of files, and of the specs in each, is drawn from it. What a file printed is in
-- logs/PASS/FILE.log, and here too where something failed. The last line is
-- `specs: N passed, N failed, N pending`.
local uv = require('luv')
local local_servers = require('stores.local')

local LIMIT = tonumber(os.getenv('STORES_TEST_LIMIT')) or 600 -- seconds that one file may take
local SLOWEST = 10

---@class Item one file in one pass
---@field pass string
---@field file string
---@field name string how it is told
---@field log string
---@field guess number seconds that it may take
---@field seconds number?

---@class Job
---@field number integer
---@field handle stores.local.Handle

local opts = { passes = {}, files = {}, jobs = 1 }
for _, word in ipairs(arg) do
  local key, value = word:match('^%-%-(%l+)=(.+)$')
  if key == 'pass' then
    opts.passes[#opts.passes + 1] = value
  elseif key == 'jobs' or key == 'seed' then
    opts[key] = tonumber(value) or error(key .. ' takes a number')
  elseif key then
    opts[key] = value
  else
    opts.files[#opts.files + 1] = word
  end
end
assert(opts.logs and opts.data and opts.passes[1], 'see the head of tools/specs.lua')

local root = assert(os.getenv('STORES_ROOT'))
local times_path = opts.logs .. '/times'
local counts = { success = 0, failure = 0, pending = 0 }

-- ---- Items --------------------------------------------------------------------------------------

local function read(path)
  local file = io.open(path)
  local text = file and file:read('*a') or ''
  if file then file:close() end
  return text
end

local function times_before()
  local times = {}
  for name, seconds in read(times_path):gmatch('([^\n]-)\t([%d.]+)\n') do
    times[name] = tonumber(seconds)
  end
  return times
end

-- What has never run counts by its length, and much where it says itself that it is slow.
local function guess_of(item, times)
  if times[item.name] then return times[item.name] end
  local text = read(item.file)
  local slow = text:find('#slow', 1, true)
  if slow and item.pass ~= 'plain' then return 0 end
  return #text / 5000 + (slow and 100 or 0)
end

---@return Item[]
local function items_of()
  local list, times = {}, times_before()
  for _, pass in ipairs(opts.passes) do
    os.execute(("mkdir -p '%s/%s'"):format(opts.logs, pass))
    for _, file in ipairs(opts.files) do
      local short = file:match('[^/]+$'):gsub('%.lua$', '')
      local item = { pass = pass, file = file, name = pass .. ' ' .. short,
        log = ('%s/%s/%s.log'):format(opts.logs, pass, short) }
      item.guess = guess_of(item, times)
      list[#list + 1] = item
    end
  end
  if opts.seed then
    math.randomseed(opts.seed)
    for i = #list, 2, -1 do
      local other = math.random(i)
      list[i], list[other] = list[other], list[i]
    end
  else
    table.sort(list, function(a, b)
      if a.guess ~= b.guess then return a.guess > b.guess end
      return a.name < b.name
    end)
  end
  return list
end

local function write_times(list)
  local times = times_before()
  for _, item in ipairs(list) do times[item.name] = item.seconds end
  local file = assert(io.open(times_path, 'w'))
  for name, seconds in pairs(times) do file:write(('%s\t%.1f\n'):format(name, seconds)) end
  file:close()
end

-- ---- Running one --------------------------------------------------------------------------------

local busted = io.popen('command -v busted'):read('*l')
local asan = io.popen('gcc -print-file-name=libasan.so'):read('*l')

-- LuaJIT's own memory is not malloc's, and a spec may leave a store to the collector: leaks are
-- looked for in the C units alone.
local function asan_words()
  return { 'env', 'LD_PRELOAD=' .. asan, 'ASAN_OPTIONS=detect_leaks=0',
    'UBSAN_OPTIONS=print_stacktrace=1', ('LUA_CPATH=%s/build/asan/?.so;;'):format(root) }
end

---@param item Item
---@return string[]
local function command(item)
  -- each dies with the one that started it, however that ends
  local words = { 'setpriv', '--pdeathsig', 'KILL', 'timeout', '--foreground', '-k', '10', LIMIT,
    'setpriv', '--pdeathsig', 'KILL' }
  for _, word in ipairs(item.pass == 'asan' and asan_words() or {}) do words[#words + 1] = word end
  for _, word in ipairs({ 'luajit', busted, '-o', 'plainTerminal' }) do words[#words + 1] = word end
  if item.pass ~= 'plain' then words[#words + 1] = '--exclude-tags=slow' end
  if item.pass == 'gc' then words[#words + 1] = '--helper=spec/gc_helper.lua' end
  if opts.seed then
    words[#words + 1] = '--shuffle-tests'
    words[#words + 1] = '--seed=' .. opts.seed
  end
  words[#words + 1] = item.file
  return words
end

---@param job Job
---@param item Item
local function environment(job, item)
  local list = {}
  for name, value in pairs(uv.os_environ()) do
    if not name:find('^STORES_TEST_') or name == 'STORES_TEST_LIMIT' then
      list[#list + 1] = name .. '=' .. value
    end
  end
  list[#list + 1] = 'STORES_TEST_PASS=' .. item.pass
  list[#list + 1] = 'STORES_TEST_DIR=' .. job.handle.folder
  list[#list + 1] = 'STORES_TEST_PGHOST=' .. job.handle.pg.host
  list[#list + 1] = 'STORES_TEST_REDIS_SOCKET=' .. job.handle.redis.path
  return list
end

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

---@param item Item
---@param code integer
local function judge(item, code)
  local result, told = result_of(read(item.log))
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
  print(('%-6s %6.1f s  %4d passed%s  %s'):format(word, item.seconds, result.success,
    result.failure > 0 and (', %d failed'):format(result.failure)
      or result.pending > 0 and (', %d pending'):format(result.pending) or '', item.name))
  if result.failure > 0 then print(told) end
  io.stdout:flush()
end

-- ---- All of them --------------------------------------------------------------------------------

local list, running = items_of(), {}
local next_item = 1

---@param job Job
local function work(job)
  local item = list[next_item]
  if not item then return end
  next_item = next_item + 1
  local log = assert(uv.fs_open(item.log, 'w', tonumber('644', 8)))
  local words = command(item)
  local began = uv.hrtime()
  local process
  process = assert(uv.spawn(words[1], {
    args = { unpack(words, 2) }, env = environment(job, item), cwd = root,
    stdio = { nil, log, log },
  }, function(code, signal)
    running[process] = nil
    process:close()
    item.seconds = (uv.hrtime() - began) / 1e9
    judge(item, signal ~= 0 and 128 + signal or code)
    work(job)
  end))
  uv.fs_close(log)
  running[process] = true
end

for _, name in ipairs({ 'sigint', 'sigterm', 'sighup' }) do
  local signal = uv.new_signal()
  signal:unref()
  signal:start(name, function()
    for process in pairs(running) do process:kill('sigkill') end
    print('specs: interrupted')
    os.exit(130)
  end)
end

if opts.seed then print('seed ' .. opts.seed) end
local jobs = {}
for number = 1, math.min(opts.jobs, #list) do
  jobs[number] = { number = number, handle = local_servers.up(opts.data .. '/' .. number) }
end
for _, job in ipairs(jobs) do work(job) end
uv.run()
for _, job in ipairs(jobs) do job.handle.close() end

write_times(list)
table.sort(list, function(a, b) return a.seconds > b.seconds end)
local slowest = {}
for i = 1, math.min(SLOWEST, #list) do
  slowest[i] = ('%s %.0f s'):format(list[i].name, list[i].seconds)
end
print('slowest: ' .. table.concat(slowest, ', '))
print(('specs: %d passed, %d failed, %d pending'):format(counts.success, counts.failure,
  counts.pending))
os.exit(counts.failure == 0 and 0 or 1)

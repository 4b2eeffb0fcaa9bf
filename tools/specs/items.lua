-- What there is to run: each file in each pass that has something to find in it, as a command; and
-- how long each took the last time.
local items = {}

local LIMIT = tonumber(os.getenv('STORES_TEST_LIMIT')) or 600 -- seconds that one file may take

local root = assert(os.getenv('STORES_ROOT'))

---@class Item one file in one pass
---@field pass string
---@field file string
---@field name string how it is told
---@field collects boolean the collector runs all the time
---@field log string
---@field guess number seconds that it may take
---@field seconds number?
---@field took Took? seconds of a core

---@class Took
---@field itself number
---@field programs number that it started and waited for
---@field servers number of the job, and those that it started

--- What a file holds; '' where there is none.
---@param path string
---@return string
function items.read(path)
  local file = io.open(path)
  local text = file and file:read('*a') or ''
  if file then file:close() end
  return text
end

-- What a new clone knows: seconds that each took somewhere, as
-- STORES_TEST_TIMES=write sh tools/test.sh has written them.
local KNOWN = root .. '/tools/specs/times'

local function times_before(logs)
  local times = {}
  for _, path in ipairs({ KNOWN, logs .. '/times' }) do
    for name, seconds in items.read(path):gmatch('([^\n]-)\t([%d.]+)\n') do
      times[name] = tonumber(seconds)
    end
  end
  return times
end

-- What has never run counts by its length, and much where it says itself that it is slow. C units
-- try what they do at each of many steps, and some take a minute: they are not to be left for last.
local function guess_of(item, times)
  if times[item.name] then return times[item.name] end
  local text = items.read(item.file)
  local slow = text:find('#slow', 1, true)
  if slow and item.pass ~= 'plain' then return 0 end
  return #text / (items.is_unit(item.file) and 500 or 5000) + (slow and 100 or 0)
end

---@param file string
---@return boolean
function items.is_unit(file)
  return file:sub(-2) == '.c'
end

-- Whether a pass has something to find in a file that others of these passes do not find.
local function wanted(file, pass, passes)
  local text = '\n' .. items.read(file)
  if items.is_unit(file) then
    return pass ~= 'gc' and not (pass == 'plain' and passes.asan
      and text:find('\n ?%*? ?Asan pass alone: '))
  end
  if pass == 'valgrind' or pass == 'gc' and passes.asan then return false end
  if pass == 'plain' then return true end
  return not (text:find('\n%-%- Plain pass alone: ')
    or pass == 'gc' and text:find('\n%-%- Not in the gc pass: '))
end

-- Whether the collector runs all the time. What is in the gc pass is in the asan pass, too: where
-- both are asked for it runs there, and who reads what it has freed is seen at once.
local function collects(file, pass, passes)
  return pass == 'gc' or pass == 'asan' and passes.gc and not items.is_unit(file)
    and not ('\n' .. items.read(file)):find('\n%-%- Not in the gc pass: ')
end

-- Two rooms may have a file of the same name.
local function name_of(file)
  local below = file:sub(1, #root + 6) == root .. '/spec/' and file:sub(#root + 7) or file
  return ((below == file and file:match('([^/]+)$') or below):gsub('%.%w+$', ''))
end

--- All that there is, in the order in which it is taken: what took longest the last time first, or
--- by chance.
---@param opts {passes: string[], files: string[], logs: string, seed: integer?}
---@return Item[]
function items.list(opts)
  local list, times, passes = {}, times_before(opts.logs), {}
  for _, pass in ipairs(opts.passes) do passes[pass] = true end
  for _, pass in ipairs(opts.passes) do
    os.execute(("mkdir -p '%s/%s'"):format(opts.logs, pass))
    for _, file in ipairs(opts.files) do
      if wanted(file, pass, passes) then
        local short = name_of(file)
        local item = { pass = pass, file = file, name = pass .. ' ' .. short,
          collects = collects(file, pass, passes),
          log = ('%s/%s/%s.log'):format(opts.logs, pass, (short:gsub('/', '.'))) }
        item.guess = guess_of(item, times)
        list[#list + 1] = item
      end
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

local function write(path, times, digits)
  local names = {}
  for name in pairs(times) do names[#names + 1] = name end
  table.sort(names)
  local file = assert(io.open(path, 'w'))
  for _, name in ipairs(names) do
    file:write(('%s\t%.' .. digits .. 'f\n'):format(name, times[name]))
  end
  file:close()
end

--- Notes how long each took, for the next time.
---@param logs string
---@param list Item[]
function items.write_times(logs, list)
  local times, own = times_before(logs), {}
  for _, item in ipairs(list) do times[item.name], own[item.name] = item.seconds, item.seconds end
  write(logs .. '/times', times, 1)
  if os.getenv('STORES_TEST_TIMES') == 'write' then write(KNOWN, own, 0) end
end

-- ---- Building ----------------------------------------------------------------------------------

--- What tools/build.sh is told for what a pass runs.
---@param pass string
---@return string[]
function items.build_words(pass)
  assert(pass == 'asan', pass)
  return { root .. '/build/asan', '-DSTORES_ASAN=ON', '-DSTORES_UBSAN=ON', '-DSTORES_TESTS=ON',
    '-DSTORES_WERROR=ON', '-DSTORES_LIBRARY=OFF' }
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

local function busted_words(item, seed)
  local words = item.pass == 'asan' and asan_words() or {}
  for _, word in ipairs({ 'luajit', busted, '-o', 'plainTerminal' }) do words[#words + 1] = word end
  if item.pass ~= 'plain' then words[#words + 1] = '--exclude-tags=slow' end
  if item.collects then words[#words + 1] = '--helper=spec/support/gc_helper.lua' end
  if seed then
    words[#words + 1] = '--shuffle-tests'
    words[#words + 1] = '--seed=' .. seed
  end
  words[#words + 1] = item.file
  return words
end

local function unit_words(item)
  local name = item.file:match('([^/]+)%.c$')
  if item.pass == 'asan' then
    return { 'env', 'ASAN_OPTIONS=detect_leaks=1', root .. '/build/asan/unit/' .. name }
  elseif item.pass == 'valgrind' then
    return { 'valgrind', '--quiet', '--leak-check=full',
      '--show-leak-kinds=definite,indirect,possible',
      '--errors-for-leak-kinds=definite,indirect,possible', '--error-exitcode=99',
      root .. '/build/unit/' .. name }
  end
  return { root .. '/build/unit/' .. name }
end

--- What runs it; the last line that it prints is of tools/specs/measured.lua.
---@param item Item
---@param seed integer?
---@return string[]
function items.command(item, seed)
  local words = { 'luajit', 'tools/specs/measured.lua', LIMIT }
  local program = items.is_unit(item.file) and unit_words(item) or busted_words(item, seed)
  for _, word in ipairs(program) do words[#words + 1] = word end
  return words
end

return items

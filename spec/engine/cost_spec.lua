--- What a call costs, counted instead of timed: round trips, Redis commands, system calls,
--- allocations, Lua's garbage and instructions, in the scenarios of spec/cost/child.lua. The
--- numbers that are wanted stand in spec/cost/numbers.lua. A change that adds to one fails here,
--- and so does one that takes away, until the table says so:
---
---     STORES_COST=write sh tools/test.sh spec/engine/cost_spec.lua
---
--- measures and writes it anew, and its copy in docs/performance.md; git diff shows what became
--- dearer. With STORES_COST_DUMPS=folder
--- the dumps of callgrind stay there.
---
--- Round trips and commands of a call alone must be as they stand. The others may differ by SLACK:
--- garbage and copies, for the places of strings in tables depend on chance; system calls by some
--- for all that are in flight, for so does which answers one wake-up finds, and where buffers end.
--- None of that hides one allocation, system call or copy more in a call alone.
---
--- Instructions depend on the processor, too, by which the C library and LuaJIT choose their code,
--- and on what a wake-up finds: their band is wide, and other processors than x86 say skipped, as
--- does a machine without valgrind. A round trip more, or a decoding, is beyond it all the same.
-- Plain pass alone: the passes cost more by themselves.

local counter = require('spec.support.counter')
local redis = require('spec.support.redis')
local support = require('spec.support')

local numbers = require('spec.cost.numbers')

-- A crowd asks for more than so much where calls have segments; what two segments more ask.
local FLIGHT_FEW, SEGMENT_OWN = 2, 8
local SEGMENT_MEMORY = 80 -- allocations of two segments more
local TABLE_DOUBLED = 1024 * 24 -- bytes of a table's hash that grew to so many nodes
local SLACK = { instructions = 0.10, garbage = 0.05, allocations = 0.01, copied = 0.05 }

--- How far a figure may be from what is wanted. Of calls in flight, which answer one wake-up finds
--- decides how many round trips and copies of a buffer's rest there are: what they cost each alone
--- stands beside them, exactly.
local function slack(name, figure, wanted)
  local in_flight = name:find('in flight', 1, true)
  if figure == 'syscalls' and wanted > 0 then
    -- each wake-up more, that found a part of the answers, is two or three; a call more each would
    -- be hundreds. A large document is sent in parts, whose number is not the same each time
    return in_flight and math.max(3, wanted * 0.5) or wanted % 1 > 0 and 1 or 0.2
  elseif figure == 'allocations' and name:find('100 KB', 1, true) then
    return 2 -- for what waits to be sent
  elseif in_flight and wanted > 0 and figure:find('round_trips', 1, true) then
    return math.max(2, wanted * 0.2)
  elseif in_flight and (figure == 'pg_statements' or figure == 'redis_commands') then
    -- how many segments a crowd became: each has some of its own; one more a call is hundreds
    return wanted > FLIGHT_FEW and SEGMENT_OWN or 0
  elseif figure == 'redis_commands' and name:find('held', 1, true) then
    return 0.2 -- a lease is renewed by the clock
  elseif in_flight and figure == 'copied' then
    return math.huge
  elseif in_flight and figure == 'allocations' then
    -- those of a segment more, or two; one more a call is hundreds
    return wanted > SEGMENT_MEMORY and SEGMENT_MEMORY or wanted * 0.05
  elseif figure == 'copied' then
    return wanted * SLACK.copied + 16 -- bytes
  elseif in_flight and figure == 'garbage' then
    -- a table of what waits doubles when enough of them wait at once
    return wanted * SLACK.garbage + TABLE_DOUBLED
  elseif figure == 'garbage' and name:find('^query') then
    return wanted * SLACK.garbage + 64 -- what rows affected stands in a weak table, which grows
  end
  return wanted * (SLACK[figure] or 0)
end

local ORDER = { 'pg_round_trips', 'pg_statements', 'redis_round_trips', 'redis_commands',
  'syscalls', 'allocations', 'copied', 'garbage', 'instructions' }

local counts_instructions = jit.arch == 'x64' and counter.has_valgrind()

-- ---- Measuring --------------------------------------------------------------------------------

local function rounded(value)
  return tonumber((value < 100 and '%.1f' or '%.0f'):format(value))
end

--- Adds what the child printed: the scenarios in their order, each with its figures.
local function take(list, output)
  for name, figure, value in output:gmatch('([^\n\t]+)\t([^\n\t]+)\t([^\n\t]+)\n') do
    if not list[name] then
      list[#list + 1] = name
      list[name] = {}
    end
    value = tonumber(value)
    list[name][figure] = math.min(list[name][figure] or math.huge, value)
  end
end

-- What the child printed for some arguments behind those that say where the servers are.
local function with_child(server, run, mode, names)
  local db = support.db()
  -- the disk's time is no matter here, and would make replies come when they like
  support.psql(db, ('ALTER DATABASE %s SET synchronous_commit = off'):format(db.database))
  local output, instructions = run('spec/cost/child.lua', { mode, db.host, db.user, db.database,
    server.socket, names and table.concat(names, '\n') })
  support.drop(db)
  return output, instructions
end

--- Measures; what is less than in the list takes its place.
---@param list table
---@param names? string[] of whose scenarios instructions are counted; all of them
local function measure(list, names)
  local own, server = counter.new(), redis.start()
  local ok, why = pcall(function()
    take(list, with_child(server, function(...) return own:run(...) end, 'count'))
    if not counts_instructions or names and not names[1] then return end
    local output, instructions = with_child(server,
      function(...) return own:instructions(...) end, 'instructions', names)
    for name, share in output:gmatch('([^\n\t]+)\tshare\t([^\n\t]+)\n') do
      local value = instructions[name] * tonumber(share)
      list[name].instructions = math.min(list[name].instructions or math.huge, value)
    end
  end)
  server:remove()
  own:remove()
  assert(ok, why)
end

-- ---- Comparing --------------------------------------------------------------------------------

local function differs(name, figure, now, before)
  return math.abs(rounded(now) - before) > slack(name, figure, before)
end

--- How a scenario differs from what is wanted, as text; nil: it does not.
local function difference(name, measured)
  local wanted, lines = numbers[name], {}
  if not wanted then return name .. ' has no numbers' end
  if not measured then return name .. ' was not measured' end
  for _, figure in ipairs(ORDER) do
    local now, before = measured[figure], wanted[figure]
    if now and before then
      if differs(name, figure, now, before) then
        lines[#lines + 1] = ('%s: %s is %g now, was %g'):format(name, figure, rounded(now),
          before)
      end
    elseif (now or before) and (figure ~= 'instructions' or counts_instructions) then
      lines[#lines + 1] = ('%s: %s is %s now, was %s'):format(name, figure, tostring(now),
        tostring(before))
    end
  end
  return lines[1] and table.concat(lines, '\n')
end

-- Measures once more where something is not as it was: a busy machine only ever adds. Instructions
-- take the most of the time, and are counted where it is about them.
local function measure_again(list)
  local names, differs_at_all = {}, false
  for name in pairs(numbers) do
    local text = difference(name, list[name])
    differs_at_all = differs_at_all or text ~= nil
    if text and text:find(': instructions ', 1, true) then names[#names + 1] = name end
  end
  if differs_at_all then measure(list, names) end
end

-- ---- Writing ----------------------------------------------------------------------------------

local PAGE = 'docs/performance.md'
local BEGIN, END = '<!-- written by spec/engine/cost_spec.lua -->\n', '<!-- end -->'

local function file_at(name, text)
  local path = (os.getenv('STORES_ROOT') or '.') .. '/' .. name
  local file = assert(io.open(path, text and 'w' or 'r'))
  local read = text and assert(file:write(text)) or file:read('*a')
  assert(file:close())
  return read
end

--- A page with the table of all numbers in its place.
local function with_table(page)
  local names, lines = {}, { BEGIN .. '| of a call, or of all in flight | '
    .. table.concat(ORDER, ' | '):gsub('_', ' ') .. ' |', '|---' .. ('|---'):rep(#ORDER) .. '|' }
  for name in pairs(numbers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local words = { name }
    for _, figure in ipairs(ORDER) do
      local value = numbers[name][figure]
      local text = value and tostring(value):reverse():gsub('(%d%d%d)', '%1,'):reverse() or ''
      words[#words + 1] = text:gsub('^,', ''):gsub(',(%d*%.)', '%1')
    end
    lines[#lines + 1] = '| ' .. table.concat(words, ' | ') .. ' |'
  end
  local from = page:find(BEGIN, 1, true)
  local to = page:find(END, from, true)
  return page:sub(1, from - 1) .. table.concat(lines, '\n') .. '\n' .. page:sub(to)
end

local function write(list)
  local lines = {
    '--- What the calls of spec/engine/cost_spec.lua cost: one call where it is alone, else all',
    '--- that are in flight. Garbage is bytes of Lua. Written by',
    '---     STORES_COST=write sh tools/test.sh spec/engine/cost_spec.lua',
    '',
    'return {',
  }
  for _, name in ipairs(list) do
    local words = {}
    for _, figure in ipairs(ORDER) do
      local value, before = list[name][figure], numbers[name] and numbers[name][figure]
      -- what is within its slack stays, so that a difference of the file says something
      if value and before and not differs(name, figure, value, before) then value = before end
      if value then words[#words + 1] = ('    %s = %s,'):format(figure, rounded(value)) end
    end
    lines[#lines + 1] = ("  ['%s'] = {\n%s\n  },"):format(name, table.concat(words, '\n'))
  end
  lines[#lines + 1] = '}\n'
  file_at('spec/cost/numbers.lua', table.concat(lines, '\n'))
  package.loaded['spec.cost.numbers'] = nil
  numbers = require('spec.cost.numbers')
  file_at(PAGE, with_table(file_at(PAGE)))
end

describe('what a call costs #slow', function()
  local list = {}

  setup(function()
    measure(list)
    measure_again(list)
    if os.getenv('STORES_COST') == 'write' then write(list) end
  end)

  for name in pairs(numbers) do
    it('is what it was: ' .. name, function()
      local found = difference(name, list[name])
      if found then
        error(found .. '\nIf it is meant: STORES_COST=write sh tools/test.sh cost_spec.lua', 0)
      end
    end)
  end

  it('is known in instructions', function()
    if not counts_instructions then pending('needs valgrind and an x86 processor') end
    assert.is_true(list['find cached, alone'].instructions > 0)
  end)

  it('stands in ' .. PAGE, function()
    assert.equal(with_table(file_at(PAGE)), file_at(PAGE))
  end)

  it('is known of each scenario', function()
    assert.is_true(#list > 0)
    for _, name in ipairs(list) do assert.is_table(numbers[name], name .. ' has no numbers') end
  end)
end)

--- What a run of the specs cost, in seconds of a core and in time.
local costs = {}

local FIRST = 10 -- so many are told of

--- What a file printed, without the line that says what it took (tools/specs/measured.lua), which
--- is not there where that was killed.
---@param text string
---@return string text
---@return Took took
function costs.read(text)
  local from, _, itself, programs, servers =
    text:find('processor: ([%d.]+) ([%d.]+) ([%d.]+)\n$')
  if not from then return text, { itself = 0, programs = 0, servers = 0 } end
  return text:sub(1, from - 1), { itself = tonumber(itself), programs = tonumber(programs),
    servers = tonumber(servers) }
end

---@param item Item
local function sum(item)
  return item.took.itself + item.took.programs + item.took.servers
end

local function first(list, words)
  local told = {}
  for i = 1, math.min(FIRST, #list) do told[i] = words(list[i]) end
  return table.concat(told, ', ')
end

-- A line of the table, and the sums of some items.
local LINE = '%8s %8s %8s %8s %8s  %s\n'

local function line(name, list)
  local itself, programs, servers, seconds = 0, 0, 0, 0
  for _, item in ipairs(list) do
    itself, programs = itself + item.took.itself, programs + item.took.programs
    servers, seconds = servers + item.took.servers, seconds + item.seconds
  end
  local texts = { itself + programs + servers, itself, programs, servers, seconds }
  for i, number in ipairs(texts) do texts[i] = ('%.1f'):format(number) end
  texts[#texts + 1] = name
  return LINE:format(unpack(texts))
end

--- Writes the table, of each file and of each pass, and says what was dearest and slowest.
---@param path string
---@param list Item[] all that ended
---@param total number seconds of a core of this run: the servers of the jobs start and end, too
---@param say fun(text: string)
function costs.write(path, list, total, say)
  local file = assert(io.open(path, 'w'))
  file:write(LINE:format('sum', 'itself', 'programs', 'servers', 'time', 'seconds'))
  table.sort(list, function(a, b) return sum(a) > sum(b) end)
  local passes, names, all = {}, {}, 0
  for _, item in ipairs(list) do
    file:write(line(item.name, { item }))
    if not passes[item.pass] then
      passes[item.pass] = {}
      names[#names + 1] = item.pass
    end
    table.insert(passes[item.pass], item)
    all = all + sum(item)
  end
  table.sort(names)
  for i, name in ipairs(names) do
    file:write(line('all of ' .. name, passes[name]))
    local work = 0
    for _, item in ipairs(passes[name]) do work = work + sum(item) end
    names[i] = ('%s %.0f s'):format(name, work)
  end
  file:close()
  say('dearest: ' .. first(list, function(item)
    return ('%s %.0f s of a core'):format(item.name, sum(item))
  end))
  table.sort(list, function(a, b) return a.seconds > b.seconds end)
  say('slowest: ' .. first(list, function(item)
    return ('%s %.0f s'):format(item.name, item.seconds)
  end))
  say(('work: %.0f s of a core: %s, other %.0f s'):format(total, table.concat(names, ', '),
    math.max(0, total - all)))
end

return costs

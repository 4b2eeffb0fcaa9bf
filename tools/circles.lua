-- Prints the rooms of core/, and the circles in which their files call each other, from what the
-- compiler made (a build with its objects):
--   luajit tools/circles.lua           the rooms, in order, and every circle
--   luajit tools/circles.lua --calls   each call of a circle, too
--   luajit tools/circles.lua --check   status 1 where a call runs upwards, or a circle is too large
local ROOT = os.getenv('STORES_ROOT') or '.'
local BUILD = os.getenv('STORES_BUILD') or ROOT .. '/build'

-- One object may be spread over two files, whose header says so. Larger circles of today, by their
-- room: the list only ever gets shorter.
local LARGEST = 2
local KNOWN = {}

local option = arg[1]
if option and option ~= '--calls' and option ~= '--check' then
  io.stderr:write('usage: luajit tools/circles.lua [--calls | --check]\n')
  os.exit(2)
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function lines_of(command)
  local pipe, lines = assert(io.popen(command)), {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

--- The rooms, lowest first, as the build has them.
local function rooms()
  local file = assert(io.open(ROOT .. '/CMakeLists.txt'))
  local names = assert(file:read('*a'):match('\nset%(rooms ([%l ]+)%)'), 'set(rooms ..) is gone')
  file:close()
  local list = {}
  for name in names:gmatch('%l+') do list[#list + 1] = name end
  return list
end

local order, files, home = rooms(), {}, {} -- home: of each symbol, the file that defines it
local level = {}

--- Reads what a room's objects define and ask for.
local function read_room(index, room)
  level[room] = index
  local objects = ('%s/CMakeFiles/stores_%s.dir/core/%s'):format(BUILD, room, room)
  local file
  for _, line in ipairs(lines_of(('nm -A %s/*.o 2>&1'):format(quoted(objects)))) do
    local name = line:match('([^/]+%.c)%.o:')
    if not name then error(objects .. ' holds no objects: sh tools/build.sh build') end
    if not file or file.name ~= name then
      file = { name = name, room = room, wants = {}, calls = {} }
      files[#files + 1] = file
    end
    local kind, symbol = line:match('%s(%a) (%S+)$')
    if kind == 'U' then
      file.wants[#file.wants + 1] = symbol
    elseif kind:find('[TDBRV]') then
      home[symbol] = file
    end
  end
end

--- Fills calls: of each file, which other files it calls, and what of them.
local function link()
  for _, file in ipairs(files) do
    for _, symbol in ipairs(file.wants) do
      local other = home[symbol]
      if other and other ~= file then
        file.calls[other] = file.calls[other] or {}
        table.insert(file.calls[other], symbol)
      end
    end
  end
end

--- The circles among files of one room: lists of files each of which reaches each other (Tarjan).
local function circles(room)
  local found, stack, on, index, low, count = {}, {}, {}, {}, {}, 0
  local function visit(file)
    count = count + 1
    index[file], low[file] = count, count
    stack[#stack + 1], on[file] = file, true
    for other in pairs(file.calls) do
      if other.room == room and not index[other] then
        visit(other)
        low[file] = math.min(low[file], low[other])
      elseif on[other] then
        low[file] = math.min(low[file], index[other])
      end
    end
    if low[file] ~= index[file] then return end
    local circle = {}
    repeat
      local member = table.remove(stack)
      on[member] = nil
      circle[#circle + 1] = member
    until member == file
    table.sort(circle, function(a, b) return a.name < b.name end)
    if #circle > 1 then found[#found + 1] = circle end
  end
  for _, file in ipairs(files) do
    if file.room == room and not index[file] then visit(file) end
  end
  return found
end

local function show_calls(circle)
  for _, file in ipairs(circle) do
    for _, other in ipairs(circle) do
      if file.calls[other] then
        print(('      %s -> %s: %s'):format(file.name, other.name,
          table.concat(file.calls[other], ' ')))
      end
    end
  end
end

local function show_room(room)
  local count = 0
  for _, file in ipairs(files) do count = count + (file.room == room and 1 or 0) end
  local text = ('cat %s/core/%s/*.[ch] | wc -l'):format(quoted(ROOT), room)
  print(('%d  %-7s %2d files, %5d lines'):format(level[room], room, count,
    tonumber(lines_of(text)[1])))
end

for index, room in ipairs(order) do read_room(index, room) end
link()

local failed = false
for _, room in ipairs(order) do
  show_room(room)
  for _, circle in ipairs(circles(room)) do
    local names = {}
    for i, file in ipairs(circle) do names[i] = file.name end
    local large = #circle > math.max(LARGEST, KNOWN[room] or 0)
    failed = failed or large
    print(('     a circle of %d%s: %s'):format(#circle, large and ', too large' or '',
      table.concat(names, ' ')))
    if option == '--calls' then show_calls(circle) end
  end
end
for _, file in ipairs(files) do
  for other, symbols in pairs(file.calls) do
    if level[other.room] > level[file.room] then
      failed = true
      print(('upwards: %s/%s -> %s/%s: %s'):format(file.room, file.name, other.room, other.name,
        table.concat(symbols, ' ')))
    end
  end
end
if option == '--check' and failed then os.exit(1) end

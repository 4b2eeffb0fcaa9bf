--- What /proc tells of processes: who descends from whom, and the seconds of a core that they took.
local ffi = require('ffi')
local uv = require('luv')

local proc = {}

ffi.cdef('long sysconf(int name);')

local CLOCK_TICKS = 2 -- _SC_CLK_TCK on Linux
local PER_SECOND = tonumber(ffi.C.sysconf(CLOCK_TICKS))

---@class Process
---@field name string of its program
---@field state string
---@field parent integer
---@field own number seconds of a core that it took itself
---@field children number seconds of those that it waited for

-- Nothing where it has gone, before it was opened or behind that.
local function read(path)
  local file = io.open(path)
  local text = file and file:read('*a') or ''
  if file then file:close() end
  return text
end

--- A process; nil where it has gone.
---@param pid integer|string
---@return Process?
function proc.stat(pid)
  local text = read('/proc/' .. pid .. '/stat')
  local name, state, parent, rest = text:match('^%d+ %((.*)%) (%a) (%d+) (.*)$')
  if not name then return nil end
  local user, system, waited_user, waited_system =
    rest:match('^' .. ('%S+ '):rep(9) .. '(%S+) (%S+) (%S+) (%S+)')
  return { name = name, state = state, parent = tonumber(parent),
    own = (user + system) / PER_SECOND, children = (waited_user + waited_system) / PER_SECOND }
end

--- All that descend from some processes, and run: by their pids.
---@param pids table<integer, boolean>
---@return table<integer, Process>
function proc.descendants(pids)
  local all, found = {}, {}
  local scan = uv.fs_scandir('/proc')
  while true do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local process = name:find('^%d+$') and proc.stat(name)
    if process and process.state ~= 'Z' then all[tonumber(name)] = process end
  end
  for pid in pairs(all) do
    local ancestor = pid
    repeat
      ancestor = all[ancestor] and all[ancestor].parent
    until not ancestor or pids[ancestor]
    if ancestor then found[pid] = all[pid] end
  end
  return found
end

--- Seconds of a core that some processes took, with all that descend from them.
---@param pids integer[]
---@return number
function proc.work(pids)
  local among, sum = {}, 0
  for _, pid in ipairs(pids) do
    local process = proc.stat(pid)
    if process then
      among[pid] = true
      sum = sum + process.own + process.children
    end
  end
  for _, process in pairs(proc.descendants(among)) do sum = sum + process.own + process.children end
  return sum
end

--- Seconds for which the cores that this process may use had nothing to do since the machine began,
--- and how many cores these are.
---@return number seconds
---@return integer cores
function proc.idle()
  local stat, sum, cores = read('/proc/stat'), 0, 0
  local list = read('/proc/self/status'):match('\nCpus_allowed_list:%s*([^\n]+)')
  for first, last in list:gmatch('(%d+)%-?(%d*)') do
    for core = tonumber(first), tonumber(last) or tonumber(first) do
      -- of user, nice, system, idle and waiting for disks
      local idle, disks = stat:match('\ncpu' .. core .. ' %d+ %d+ %d+ (%d+) (%d+)')
      if idle then sum, cores = sum + (idle + disks) / PER_SECOND, cores + 1 end
    end
  end
  return sum, cores
end

return proc

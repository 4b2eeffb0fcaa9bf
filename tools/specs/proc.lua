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

-- A kernel may be built without what children_of reads.
local TELLS = uv.fs_stat(('/proc/self/task/%d/children'):format(uv.os_getpid())) ~= nil

-- Those that a process started and that run, in the words of the kernel: to look at them alone
-- costs a tenth of a look at all that there are.
local function children_of(pid)
  local texts, threads = {}, uv.fs_scandir(('/proc/%d/task'):format(pid))
  while threads do
    local name = uv.fs_scandir_next(threads)
    if not name then break end
    texts[#texts + 1] = read(('/proc/%d/task/%s/children'):format(pid, name))
  end
  return table.concat(texts):gmatch('%d+')
end

--- Seconds of a core that those took which descend from a process and run.
---@param pid integer
---@return number
function proc.work_below(pid)
  local sum = 0
  if not TELLS then
    local all = proc.descendants({ [pid] = true })
    for _, process in pairs(all) do sum = sum + process.own + process.children end
    return sum
  end
  for child in children_of(pid) do sum = sum + proc.work(tonumber(child)) end
  return sum
end

--- Seconds of a core that a process took, with all that descend from it.
---@param pid integer
---@return number
function proc.work(pid)
  local process = proc.stat(pid)
  return process and process.own + process.children + proc.work_below(pid) or 0
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

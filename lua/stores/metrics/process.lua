--- Which process this is, and whether another one still lives. A pid alone is not enough: it is
--- given again.

local ffi = require('ffi')

ffi.cdef 'int kill(int pid, int sig);'

local process = {}

local ESRCH = 3

-- The process id and the start of a process, from its line in /proc.
local function read(which)
  local file = io.open('/proc/' .. which .. '/stat')
  local line = file and file:read('*a')
  if file then file:close() end
  -- the name in parentheses may hold anything
  local pid, state, rest = (line or ''):match('^(%d+) .*%) (%a) (.*)$')
  if not pid then return nil end
  local place = 3
  for field in rest:gmatch('%S+') do
    place = place + 1
    if place == 22 then return pid, field, state end
  end
end

--- What this process is called: another after a fork.
---@return string
function process.mine()
  local pid, start = read('self')
  return ('%s-%s'):format(pid or '0', start or '0')
end

--- Whether a process lives; one that cannot be seen, but is there, does.
---@param id string
---@return boolean
function process.lives(id)
  local pid, start = id:match('^(%d+)%-(%d+)$')
  if not pid then return false end
  local seen, begun, state = read(pid)
  if seen then return begun == start and state ~= 'Z' end
  return ffi.C.kill(tonumber(pid), 0) == 0 or ffi.errno() ~= ESRCH
end

return process

-- The processes that a run of the specs starts, and all that they start in turn: whoever lost its
-- parent becomes a child of this process, so that all of them can be ended together.
local ffi = require('ffi')
local proc = require('tools.specs.proc')
local uv = require('luv')

local children = {}

ffi.cdef([[
  typedef struct { int words[32]; } specs_siginfo;
  int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  int waitid(int type, int id, specs_siginfo *info, int options);
  int waitpid(int pid, int *status, int options);
  int kill(int pid, int signal);
  int getpid(void);
  typedef struct { long words[18]; } specs_rusage;
  int getrusage(int who, specs_rusage *usage);
]])

local SUBREAPER, P_ALL, WNOHANG, WEXITED, WNOWAIT = 36, 0, 1, 4, 0x1000000
local RUSAGE_CHILDREN = -1
local PID_AT = ffi.abi('64bit') and 4 or 3 -- of siginfo_t, in words

assert(ffi.C.prctl(SUBREAPER, 1, 0, 0, 0) == 0)
local own = {} -- pid -> true: started by uv.spawn
local again = uv.new_timer()

-- The death of an orphan has to be noted by somebody. What is libuv's is left to libuv.
local function bury_orphans()
  local info = ffi.new('specs_siginfo')
  while true do
    info.words[PID_AT] = 0
    if ffi.C.waitid(P_ALL, 0, info, WNOHANG + WEXITED + WNOWAIT) ~= 0 then return end
    local pid = info.words[PID_AT]
    if pid == 0 then return end
    if own[pid] then
      again:start(5, 0, bury_orphans)
      return
    end
    ffi.C.waitpid(pid, nil, WNOHANG)
  end
end

local deaths = uv.new_signal()
deaths:start('sigchld', bury_orphans)
deaths:unref()

-- One whose parent goes while /proc is read descends from nobody then, and from this process right
-- afterwards: nobody is left where two looks find none.
local function descendants()
  local own_pid = { [ffi.C.getpid()] = true }
  local all = proc.descendants(own_pid)
  return next(all) and all or proc.descendants(own_pid)
end

-- Ends every descendant. A PostgreSQL gets half a second for it: killed, it would leave its shared
-- memory behind.
function children.end_all()
  local began = uv.hrtime()
  while true do
    local all = descendants()
    if next(all) == nil or uv.hrtime() - began > 5e9 then return end
    local mercy = uv.hrtime() - began < 0.5e9
    for pid, process in pairs(all) do
      uv.kill(pid, process.name == 'postgres' and mercy and 'sigquit' or 'sigkill')
    end
    uv.sleep(10)
  end
end

--- Seconds of a core that all descendants took together, those that ended; gives the others a
--- moment to do so.
---@return number
function children.work()
  local began = uv.hrtime()
  while next(descendants()) and uv.hrtime() - began < 2e9 do uv.sleep(10) end
  bury_orphans()
  local usage = ffi.new('specs_rusage')
  assert(ffi.C.getrusage(RUSAGE_CHILDREN, usage) == 0)
  local words = usage.words -- two times, each of seconds and microseconds
  return tonumber(words[0] + words[2]) + tonumber(words[1] + words[3]) / 1e6
end

--- Starts a program.
---@param words string[] its name and its arguments
---@param options table of uv.spawn
---@param ended fun(code: integer) 128 + its number for a signal
function children.spawn(words, options, ended)
  options.args = { unpack(words, 2) }
  local process, pid
  process, pid = assert(uv.spawn(words[1], options, function(code, signal)
    own[pid] = nil
    process:close()
    ended(signal ~= 0 and 128 + signal or code)
  end))
  own[pid] = true
end

return children

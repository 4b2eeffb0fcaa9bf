-- Runs a program, and says in a last line what it took:
--   luajit tools/specs/measured.lua SECONDS PROGRAM [ARGUMENT...]
--   processor: ITSELF PROGRAMS SERVERS
-- in seconds of a core: of the program, of what it waited for, and of what it left to others, such
-- as servers that make daemons of themselves. The status is that of the program. It is killed after
-- so many seconds, and with this process, however that ends. This one dies with its parent.
local ffi = require('ffi')
local proc = require('tools.specs.proc')

ffi.cdef([[
  typedef struct { int words[32]; } measured_siginfo;
  typedef struct { long words[18]; } measured_rusage;
  int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  int fork(void);
  int execvp(const char *file, const char *const *argv);
  int getpid(void);
  int getppid(void);
  int waitid(int type, int id, measured_siginfo *info, int options);
  int wait4(int pid, int *status, int options, measured_rusage *usage);
  unsigned int alarm(unsigned int seconds);
  void _exit(int status);
]])

local C = ffi.C
local DEATH_SIGNAL, SUBREAPER, KILL = 1, 36, 9 -- of prctl
local P_ALL, WNOHANG, WEXITED, WNOWAIT = 0, 1, 4, 0x1000000
local PID_AT = ffi.abi('64bit') and 4 or 3 -- of siginfo_t, in words

-- Becomes the program, which dies with the process of this pid.
local function become(parent)
  local argv = ffi.new('const char *[?]', #arg)
  for i = 2, #arg do argv[i - 2] = arg[i] end
  C.prctl(DEATH_SIGNAL, KILL, 0, 0, 0)
  if C.getppid() == parent then C.execvp(arg[2], argv) end
  C._exit(127)
end

assert(C.prctl(DEATH_SIGNAL, KILL, 0, 0, 0) == 0 and C.prctl(SUBREAPER, 1, 0, 0, 0) == 0)
local me = C.getpid()
local program = C.fork()
if program == 0 then become(me) end
assert(program > 0)
C.alarm(tonumber(arg[1]))

local status, usage, info = ffi.new('int[1]'), ffi.new('measured_rusage'),
  ffi.new('measured_siginfo')
local servers = 0

-- The pid of the next one that ended, which is not buried yet; false where none has, and nil where
-- nobody is left.
local function next_dead(options)
  info.words[PID_AT] = 0
  if C.waitid(P_ALL, 0, info, options + WEXITED + WNOWAIT) ~= 0 then return nil end
  return info.words[PID_AT] ~= 0 and info.words[PID_AT]
end

local function bury_other(pid)
  C.wait4(pid, nil, 0, usage)
  local words = usage.words -- two times, each of seconds and microseconds
  servers = servers + tonumber(words[0] + words[2]) + tonumber(words[1] + words[3]) / 1e6
end

local dead = next_dead(0)
while dead ~= program do
  bury_other(assert(dead))
  dead = next_dead(0)
end
local took = proc.stat(program)
C.wait4(program, status, 0, usage)
dead = next_dead(WNOHANG)
while dead do
  bury_other(dead)
  dead = next_dead(WNOHANG)
end
if dead == false then servers = servers + proc.work_below(me) end
io.write(('processor: %.2f %.2f %.2f\n'):format(took.own, took.children, servers))
io.flush()
local signal = status[0] % 128
C._exit(signal ~= 0 and 128 + signal or math.floor(status[0] / 256) % 256)

--- Other processes of a spec: started without a shell around them, told what to do by signals, and
--- read line by line. They die with this process, however it ends.

local bit = require('bit')
local ffi = require('ffi')

ffi.cdef([[
  int fork(void);
  int getpid(void);
  int getppid(void);
  int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  int kill(int pid, int signal);
  int waitpid(int pid, int *status, int options);
  int pipe(int fds[2]);
  int dup2(int from, int to);
  int open(const char *path, int flags, int mode);
  int close(int fd);
  long read(int fd, void *buf, unsigned long count);
  int execvp(const char *file, const char *const *argv);
  void _exit(int status);
  struct spec_pollfd { int fd; short events; short revents; };
  int poll(void *fds, unsigned long count, int timeout);
]])

local C = ffi.C
local SIGNALS = { HUP = 1, INT = 2, QUIT = 3, KILL = 9, TERM = 15, CONT = 18, STOP = 19 }
local DEATH_SIGNAL = 1 -- of prctl
local WRITE_CREATE = 0x441 -- O_WRONLY | O_CREAT | O_APPEND, as on every Linux but MIPS

local process = { quoted = require('spec.support.shell').quoted }

---@class spec.Process
---@field pid integer
local Process = {}
Process.__index = Process

--- Starts a program.
---@param words string[] its name and its arguments
---@param errors? string a file for what it writes to its standard error
---@param dies_by? string the signal that it gets when this process ends; KILL if it is left out
---@return spec.Process
function process.start(words, errors, dies_by)
  local argv = ffi.new('const char *[?]', #words + 1)
  for i, word in ipairs(words) do argv[i - 1] = word end
  local fds, me = ffi.new('int[2]'), C.getpid()
  assert(C.pipe(fds) == 0)
  local pid = C.fork()
  if pid == 0 then
    C.prctl(DEATH_SIGNAL, SIGNALS[dies_by or 'KILL'], 0, 0, 0)
    if C.getppid() ~= me then C._exit(127) end -- it has ended before that
    C.dup2(fds[1], 1)
    if errors then C.dup2(C.open(errors, WRITE_CREATE, 384), 2) end
    for fd = 3, 255 do C.close(fd) end
    C.execvp(words[1], argv)
    C._exit(127)
  end
  assert(pid > 0)
  C.close(fds[1])
  return setmetatable({ pid = pid, fd = fds[0], text = '' }, Process)
end

--- Starts a Lua program with the paths of this one.
---@param program string
---@param errors? string a file for its standard error
---@return spec.Process
function process.lua(program, errors)
  local path = os.tmpname()
  local file = assert(io.open(path, 'w'))
  file:write("io.stdout:setvbuf('line')\n", program)
  file:close()
  local self = process.start({ 'luajit', path }, errors)
  self.file = path
  return self
end

local function read_more(self)
  local buf = ffi.new('char[4096]')
  local count = tonumber(C.read(self.fd, buf, 4096))
  if count <= 0 then return false end
  self.text = self.text .. ffi.string(buf, count)
  return true
end

--- The next line that the process writes; nil when it has ended. Blocks.
---@return string?
function Process:line()
  while not self.text:find('\n', 1, true) do
    if not read_more(self) then return nil end
  end
  local line, rest = self.text:match('^([^\n]*)\n(.*)$')
  self.text = rest
  return line
end

--- Sends a signal: 'HUP', 'INT', 'QUIT', 'KILL', 'TERM', 'STOP' or 'CONT'.
---@param name string
function Process:signal(name)
  if self.pid then C.kill(self.pid, SIGNALS[name]) end
end

--- Whether it has ended, or closed what it writes to; does not wait.
---@return boolean
function Process:is_over()
  local poll = ffi.new('struct spec_pollfd[1]')
  poll[0].fd, poll[0].events = self.fd, 1 -- POLLIN
  return C.poll(poll, 1, 0) > 0 and bit.band(poll[0].revents, 0x10) ~= 0 -- POLLHUP
end

--- Waits until it has ended by itself; gives what it wrote and nobody has read yet.
---@return string
function Process:wait()
  if not self.pid then return '' end
  while read_more(self) do end
  C.close(self.fd)
  C.waitpid(self.pid, nil, 0)
  self.pid = nil
  if self.file then os.remove(self.file) end
  return self.text
end

--- Ends it at once, also where it is stopped.
function Process:kill()
  self:signal('KILL')
  self:wait()
end

return process

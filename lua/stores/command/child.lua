--- Programs that work while this one waits, which goes on turning its loop: their lines come as
--- they are written, and they are ended where this command is to stop.

local ffi = require('ffi')
local shell = require('stores.command.shell')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

require('stores.local.system') -- declares read and poll

ffi.cdef [[
int fileno(void *file);
int kill(int pid, int signal);
struct stores_pollfd { int fd; short events, revents; };
]]

local C = ffi.C
local child = {}

local POLLIN, STEP = 1, 0.02
local SIGKILL, SIGTERM = 9, 15
local KEPT = 12 -- of the last lines, for messages

-- In a session of its own, for a Ctrl-C of the terminal is for this process, which ends it then;
-- and killed with it.
local WAITER = 'exec setpriv --pdeathsig KILL sh -c %s'
local STARTER = 'exec 2>/dev/null; setsid setpriv --pdeathsig KILL sh -c %s 2>&1 >/dev/null '
  .. '</dev/null & wait $!; echo "status $?"'
-- Said by the session itself, so that it is there, and before anything that the program says.
local NUMBER = 'echo $$ >&2; '

child.PATIENCE = 10 -- seconds for a program to end that was asked to: then it is killed

---@class stores.ChildOptions
---@field line? fun(text: string) told of each line
---@field stopping? fun(): boolean
---@field patience? number child.PATIENCE where it is left out
---@field idle? fun() called now and then

-- What is there now: nil at the end.
local function read_more(fd)
  local poll = ffi.new('struct stores_pollfd', fd, POLLIN, 0)
  if C.poll(poll, 1, 0) <= 0 then return '' end
  local buffer = ffi.new('char[8192]')
  local got = tonumber(C.read(fd, buffer, 8192))
  return got > 0 and ffi.string(buffer, got) or nil
end

-- Calls fn with each line, and in between fn().
local function each_line(fd, fn)
  local text = ''
  while true do
    local more = read_more(fd)
    if not more then return end
    text = text .. more
    for line in text:gmatch('([^\n]*)\n') do fn(line) end
    text = text:match('[^\n]*$')
    fn(nil)
    if more == '' then tasks.sleep(STEP) end
  end
end

-- Ends the programs of a session: asks them, and kills them where they do not end by themselves.
local function stopper(patience)
  local now = wait.host.now
  local asked, killed
  return function(pid)
    if not asked then
      if C.kill(-pid, SIGTERM) == 0 then asked = now() end
    elseif not killed and now() - asked > patience then
      killed = true
      C.kill(-pid, SIGKILL)
    end
  end
end

--- Runs a line of the shell to its end; one program, behind `exec`, is killed with this process.
--- What it writes to stderr is read, its stdout is not.
---@param line string
---@param opts stores.ChildOptions
---@return integer status
---@return string said its last lines
---@return boolean stopped it was ended, for this command is to stop; false: it was done before
function child.run(line, opts)
  local pipe = assert(io.popen(WAITER:format(shell.quoted(STARTER:format(
    shell.quoted(NUMBER .. line))))))
  local pid, status, stopped
  local kept, stop = {}, stopper(opts.patience or child.PATIENCE)
  each_line(C.fileno(pipe), function(text)
    if not text then
      if opts.idle then opts.idle() end
      if opts.stopping and opts.stopping() and pid and not status then
        stopped = true
        stop(pid)
      end
      return
    end
    local ended = tonumber(text:match('^status (%d+)$'))
    if ended or not pid then
      status, pid = ended, pid or tonumber(text)
      return
    end
    kept[#kept + 1] = text
    if #kept > KEPT then table.remove(kept, 1) end
    if opts.line then opts.line(text) end
  end)
  pipe:close()
  return status or 1, table.concat(kept, '\n'), stopped == true and status ~= 0
end

return child

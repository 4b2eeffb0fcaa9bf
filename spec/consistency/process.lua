--- Processes of the harness: started and signalled by luv, whose loop turns only while the driver
--- waits for something. Each dies with the driver.

local uv = require('luv')

local process = {}

-- Who writes to a process that has died must not die of it.
local deaf = uv.new_signal()
deaf:start('sigpipe', function() end)
deaf:unref()

---@class consistency.Process
---@field pid integer
---@field exited boolean
---@field code integer?
---@field signal integer? that ended it
---@field errors string what it wrote to stderr
---@field lines string[] what it wrote to stdout and nobody has taken
local Process = {}
Process.__index = Process

--- Monotonic seconds, of the clock that all processes share.
---@return number
function process.now() return uv.hrtime() / 1e9 end

--- Turns the loop until condition() is true; raises after some seconds.
---@param condition fun(): any
---@param seconds number
---@param what string
---@return any
function process.wait(condition, seconds, what)
  local deadline, pause = process.now() + seconds, 2
  while true do
    uv.run('nowait')
    local value = condition()
    if value then return value end
    if process.now() > deadline then
      error(('it did not happen within %g s: %s'):format(seconds, what), 2)
    end
    uv.sleep(pause)
    pause = math.min(pause * 1.5, 50) -- who asks is a process of its own, and two cores are few
  end
end

--- Turns the loop for some seconds.
---@param seconds number
function process.pass(seconds)
  local timer, over = uv.new_timer(), false
  uv.update_time()
  timer:start(math.ceil(seconds * 1000), 0, function() over = true end)
  repeat uv.run('once') until over
  timer:close()
end

local function read_lines(pipe, lines)
  local rest = ''
  pipe:read_start(function(_, data)
    rest = rest .. (data or '')
    rest = rest:gsub('([^\n]*)\n', function(line)
      lines[#lines + 1] = line
      return ''
    end)
  end)
end

--- Starts a program. Signals of the terminal do not reach it; where the driver dies it is killed.
---@param argv string[]
---@param options? {user: string, dies_by: string, log: string, env: table<string, string>}
---@return consistency.Process
function process.start(argv, options)
  options = options or {}
  local arguments = { '--pdeathsig', options.dies_by or 'KILL' }
  if options.user then
    for _, word in ipairs({ '--reuid', options.user, '--regid', options.user, '--clear-groups' }) do
      arguments[#arguments + 1] = word
    end
  end
  for _, word in ipairs(argv) do arguments[#arguments + 1] = word end
  local env
  if options.env then
    env = {}
    local all = uv.os_environ()
    for name, value in pairs(options.env) do all[name] = value end
    for name, value in pairs(all) do env[#env + 1] = name .. '=' .. value end
  end
  local self = setmetatable({ exited = false, lines = {}, errors = '' }, Process)
  local stdin, stdout, stderr = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
  local log = options.log and uv.fs_open(options.log, 'a', tonumber('644', 8))
  self.handle, self.pid = uv.spawn('setpriv', {
    args = arguments, env = env, detached = true,
    stdio = { stdin, log or stdout, log or stderr },
  }, function(code, signal)
    self.exited, self.code, self.signal = true, code, signal
    self.handle:close()
  end)
  if log then uv.fs_close(log) end
  assert(self.handle, 'cannot start ' .. argv[1] .. ': ' .. tostring(self.pid))
  self.stdin, self.pipes = stdin, { stdin, stdout, stderr }
  if not log then
    read_lines(stdout, self.lines)
    stderr:read_start(function(_, data) self.errors = self.errors .. (data or '') end)
  end
  return self
end

---@param name string such as 'sigkill'
function Process:kill(name)
  if not self.exited then uv.kill(self.pid, name) end
end

--- Writes a line to its stdin.
---@param line string
function Process:tell(line)
  self.stdin:write(line .. '\n')
end

--- Waits until it has ended.
---@param seconds number
function Process:join(seconds)
  process.wait(function() return self.exited end, seconds, 'the end of process ' .. self.pid)
  self:release()
end

--- Closes its pipes, which the loop holds.
function Process:release()
  for _, pipe in ipairs(self.pipes) do
    if not pipe:is_closing() then pipe:close() end
  end
  uv.run('nowait')
end

return process

--- Progress of long work on stderr: a bar that is drawn again in place on a terminal, plain lines
--- elsewhere (a log, a pipe), where short work says nothing at all.

local ffi = require('ffi')
local wait = require('stores.wait')

ffi.cdef 'int isatty(int fd);'

local progress = {}

---@class stores.Progress
---@field done integer
local Progress = {}
Progress.__index = Progress

local REDRAW, LINE = 0.1, 5 -- seconds between two drawings, and between two lines
local WIDTH = 30

--- 1234567 as 1,234,567.
---@param number number
---@return string
function progress.thousands(number)
  local text = ('%d'):format(number):reverse():gsub('(%d%d%d)', '%1,'):reverse()
  return (text:gsub('^(-?),', '%1'))
end

--- Begins to report on some work.
---@param what string
---@param total? integer steps; nil: not known
---@param options? {terminal: boolean?, write: (fun(text: string))?, now: (fun(): number)?}
---@return stores.Progress
function progress.new(what, total, options)
  options = options or {}
  local terminal = options.terminal
  if terminal == nil then terminal = ffi.C.isatty(2) == 1 end
  local self = setmetatable({
    what = what,
    total = total,
    done = 0,
    terminal = terminal,
    write = options.write or function(text) io.stderr:write(text) end,
    now = options.now or wait.host.now,
  }, Progress)
  self.began = self.now()
  self.next = self.began + (terminal and 0 or LINE)
  return self
end

function Progress:text()
  local counted = progress.thousands(self.done)
  if not self.total then return ('%s: %s'):format(self.what, counted) end
  local share = self.total > 0 and math.min(self.done / self.total, 1) or 1
  counted = ('%s of %s'):format(counted, progress.thousands(self.total))
  if not self.terminal then
    return ('%s: %s (%d %%)'):format(self.what, counted, share * 100)
  end
  local filled = math.floor(share * WIDTH)
  return ('%s [%s%s] %s'):format(self.what, ('#'):rep(filled), ('.'):rep(WIDTH - filled), counted)
end

--- Some more is done.
---@param steps? integer 1 where it is left out
function Progress:step(steps)
  self.done = self.done + (steps or 1)
  local now = self.now()
  if now < self.next then return end
  self.next = now + (self.terminal and REDRAW or LINE)
  self.write(self.terminal and '\r' .. self:text() .. '\27[K' or self:text() .. '\n')
end

--- The work is over: the bar goes away, and the caller says what came of it.
---@return number seconds that it took
function Progress:finish()
  local seconds = self.now() - self.began
  if self.terminal then self.write('\r\27[K') end
  return seconds
end

return progress

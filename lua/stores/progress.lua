--- Progress of long work on stderr: a bar that is drawn again in place on a terminal, plain lines
--- elsewhere (a log, a pipe), where short work says nothing at all.

local system = require('stores.local.system')
local wait = require('stores.wait')

local progress = {}

---@class stores.Progress
---@field count integer
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

--- How long some work took, and how fast it was: `in 2.0 s (1,000/s)`.
---@param count integer
---@param seconds number
---@return string
function progress.took(count, seconds)
  return ('in %.1f s (%s/s)'):format(seconds, progress.thousands(count / math.max(seconds, 0.001)))
end

---@class stores.ProgressOptions
---@field terminal? boolean where it is left out, whether stderr is one
---@field write? fun(text: string)
---@field now? fun(): number
---@field after? number seconds that pass before a bar is drawn
---@field from? integer steps that were done before it began
---@field rate? boolean how many a second, and how long the rest will take, are told, too

--- Begins to report on some work.
---@param what string
---@param total? integer steps; nil: not known
---@param options? stores.ProgressOptions
---@return stores.Progress
function progress.new(what, total, options)
  options = options or {}
  local terminal = options.terminal
  if terminal == nil then terminal = system.is_terminal(2) end
  local self = setmetatable({
    what = what,
    total = total,
    count = 0,
    from = options.from or 0,
    rate = options.rate,
    terminal = terminal,
    write = options.write or function(text) io.stderr:write(text) end,
    now = options.now or wait.host.now,
  }, Progress)
  self.began = self.now()
  self.next = self.began + (terminal and options.after or terminal and 0 or LINE)
  return self
end

-- Hours, minutes and seconds, as a clock has them.
local function clock(seconds)
  seconds = math.ceil(seconds)
  local hours, minutes = math.floor(seconds / 3600), math.floor(seconds / 60) % 60
  if hours > 0 then return ('%d:%02d:%02d'):format(hours, minutes, seconds % 60) end
  return ('%d:%02d'):format(minutes, seconds % 60)
end

-- How fast it was so far, and how long the rest takes at that.
function Progress:pace()
  local seconds = self.now() - self.began
  if not self.rate or seconds <= 0 or self.count <= self.from then return '' end
  local rate = (self.count - self.from) / seconds
  local text = (', %s/s'):format(rate < 10 and ('%.1f'):format(rate) or progress.thousands(rate))
  if not self.total or self.count >= self.total then return text end
  return ('%s, %s left'):format(text, clock((self.total - self.count) / rate))
end

function Progress:text()
  local counted = progress.thousands(self.count)
  if not self.total then return ('%s: %s%s'):format(self.what, counted, self:pace()) end
  local share = self.total > 0 and math.min(self.count / self.total, 1) or 1
  counted = ('%s of %s'):format(counted, progress.thousands(self.total))
  if not self.terminal then
    return ('%s: %s (%d %%)%s'):format(self.what, counted, share * 100, self:pace())
  end
  local filled = math.floor(share * WIDTH)
  return ('%s [%s%s] %s%s'):format(self.what, ('#'):rep(filled), ('.'):rep(WIDTH - filled), counted,
    self:pace())
end

--- Some more is done.
---@param steps? integer 1 where it is left out
function Progress:step(steps)
  self:at(self.count + (steps or 1))
end

--- So much is done by now.
---@param count integer
function Progress:at(count)
  self.count = count
  local now = self.now()
  if now < self.next then return end
  self.next = now + (self.terminal and REDRAW or LINE)
  self.is_drawn = self.terminal
  self.write(self.terminal and '\r' .. self:text() .. '\27[K' or self:text() .. '\n')
end

--- The work is over: the bar goes away, and the caller says what came of it.
---@return number seconds that it took
function Progress:finish()
  local seconds = self.now() - self.began
  if self.is_drawn then self.write('\r\27[K') end
  return seconds
end

Progress.done = Progress.finish

return progress

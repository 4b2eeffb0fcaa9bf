--- Lines of Lua, run one after the other: expressions give their values, what is not complete
--- goes on with the next line, and what fails is told.

local errors = require('stores.errors')

local session = {}

---@class stores.Session.Lines
---@field env table what lines see, and where their globals go
---@field pending string? the beginning of a chunk
local Lines = {}
Lines.__index = Lines

--- A new one.
---@param env table
---@return stores.Session.Lines
function session.new(env)
  return setmetatable({ env = setmetatable(env, { __index = _G }) }, Lines)
end

local function is_open(problem)
  return problem:find("near '<eof>'$") ~= nil
end

-- A chunk, as an expression where it is one; nil, and why not.
local function compile(text)
  local chunk = loadstring('return ' .. text, '=shell')
  if chunk then return chunk end
  return loadstring(text, '=shell')
end

local function pack(...)
  return { n = select('#', ...), ... }
end

--- Takes a line.
---@param line string
---@return 'more'|'done'|'failed' state more: it goes on with the next one
---@return any results of done: {n =, ...}; of failed: the error
function Lines:take(line)
  local text = self.pending and self.pending .. '\n' .. line or line:gsub('^%s*=', 'return ')
  if not text:find('%S') then return 'done', { n = 0 } end
  local chunk, problem = compile(text)
  if not chunk and is_open(problem) then
    self.pending = text
    return 'more'
  end
  self.pending = nil
  if not chunk then return 'failed', problem end
  setfenv(chunk, self.env)
  local results = pack(pcall(chunk))
  if not results[1] then return 'failed', results[2] end
  return 'done', { n = results.n - 1, unpack(results, 2, results.n) }
end

--- Forgets a chunk that is not complete.
function Lines:drop()
  self.pending = nil
end

--- An error in words.
---@param err any
---@return string
function session.words(err)
  local text = tostring(err)
  if text:find('interrupted!$') then return 'interrupted' end -- by Ctrl-C
  if errors.is(err) and err.hint and not text:find(err.hint, 1, true) then
    text = text .. '\n  ' .. err.hint
  end
  return text
end

return session

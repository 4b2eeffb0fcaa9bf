--- Mistakes in how a command was called: raised as values of a kind of their own, exit code 2.

local usage = {}

local Usage = {}

function Usage.__tostring(self) return self.message end

--- Raises one.
---@param message string
---@param parser? table of the command that was meant
function usage.raise(message, parser)
  error(setmetatable({ message = message, parser = parser }, Usage), 0)
end

---@param value any
---@return boolean
function usage.is(value)
  return getmetatable(value) == Usage
end

return usage

--- The environment of this process, changed for a while.

local ffi = require('ffi')

ffi.cdef([[
  int setenv(const char *name, const char *value, int overwrite);
  int unsetenv(const char *name);
]])

local environment = {}

local function set(name, value)
  if value then ffi.C.setenv(name, value, 1) else ffi.C.unsetenv(name) end
end

--- Calls fn with these variables set, gives what it gives, and sets them back, also when it raises.
---@param variables table<string, string|false> false: not set
---@param fn function
---@param ... any its arguments
function environment.with(variables, fn, ...)
  local before = {}
  for name, value in pairs(variables) do
    before[name] = os.getenv(name) or false
    set(name, value)
  end
  local results = { pcall(fn, ...) }
  for name, value in pairs(before) do set(name, value) end
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, table.maxn(results))
end

return environment

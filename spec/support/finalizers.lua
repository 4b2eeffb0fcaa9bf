--- Finalizers of the program that run where a spec wants them to.

local finalizers = {}

local function leave(fn)
  getmetatable(newproxy(true)).__gc = fn
end

--- Calls a function; the first that asks Lua for memory in there runs the finalizer.
---@param finalizer fun()
---@param fn fun(): any what it needs was made before
---@return boolean ok
---@return any result
function finalizers.run(finalizer, fn)
  local ran = 0
  local function counted()
    ran = ran + 1
    finalizer()
  end
  collectgarbage()
  collectgarbage()
  collectgarbage('stop')
  leave(counted)
  local before = collectgarbage('setstepmul', 0) -- a whole cycle at once
  collectgarbage('restart')
  local ok, result = pcall(fn)
  collectgarbage('setstepmul', before)
  collectgarbage()
  assert(ran == 1, ran)
  return ok, result
end

return finalizers

--- Children of a fork: what a spec does in one, and how it ends.

local ffi = require('ffi')

ffi.cdef([[
  int fork(void);
  int waitpid(int pid, int *status, int options);
  void _exit(int status);
]])

local fork = {}

--- How a child may end, by words.
---@type table<string, fun()>
fork.endings = {
  ['without a farewell'] = function() ffi.C._exit(0) end,
  ['with its Lua state closed'] = function() os.exit(0, true) end,
  ['by exit'] = function() os.exit(0) end,
}
if os.getenv('STORES_TEST_PASS') == 'asan' then
  -- AddressSanitizer's own locks do not survive a fork beside other threads: a child that starts a
  -- thread, as libuv's end needs, may wait for ever
  fork.endings['by exit'], fork.endings['with its Lua state closed'] = nil, nil
end

--- Runs a function in a child, which has to end well.
---@param fn fun(): string
---@param exit fun() one of the endings
---@return string text what fn gave, or what it raised
function fork.run(fn, exit)
  local file = os.tmpname()
  io.stdout:flush()
  io.stderr:flush()
  local pid = ffi.C.fork()
  if pid == 0 then
    local ok, text = pcall(fn)
    local out = io.open(file, 'w')
    out:write(ok and text or 'raised: ' .. tostring(text))
    out:close()
    exit()
  end
  assert(pid > 0, 'there is no child')
  local status = ffi.new('int[1]', -1)
  while ffi.C.waitpid(pid, status, 0) < 0 do assert(ffi.errno() == 4, 'nobody waits for it') end
  local input = assert(io.open(file))
  local text = input:read('*a')
  input:close()
  os.remove(file)
  assert(status[0] == 0, text)
  return text
end

return fork

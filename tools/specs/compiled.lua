-- The Lua modules that specs load, as bytecode. A run starts more than a thousand processes that
-- load all of the library, most of them all of busted too, and half of what such a start costs is
-- to read their source. What is compiled names the source and its lines as before. It is made anew
-- for each run, so nobody meets an old one.
local uv = require('luv')

local compiled = {}

-- What busted brings with it, beside it.
local OF_BUSTED = { 'busted', 'cliargs', 'luassert', 'pl' }

local function compile(from, to)
  assert(uv.fs_stat(to) or uv.fs_mkdir(to, tonumber('755', 8)))
  local names = assert(uv.fs_scandir(from))
  while true do
    local name, kind = uv.fs_scandir_next(names)
    if not name then return end
    local source, target = from .. '/' .. name, to .. '/' .. name
    local chunk = name:find('%.lua$') and loadfile(source)
    if kind == 'directory' then
      compile(source, target)
    elseif chunk then -- what does not compile is found as it is, and says why
      local file = assert(io.open(target, 'wb'))
      assert(file:write(string.dump(chunk)))
      file:close()
    end
  end
end

--- Compiles them.
---@param library string the folder of the library's modules, as LUA_PATH names it
---@param to string a folder; what was compiled before is replaced
---@return string path what goes in front of LUA_PATH
function compiled.make(library, to)
  compile(library, to)
  local core = package.searchpath('busted.core', package.path)
  local beside = core and core:match('^(.*)/busted/core%.lua$')
  for _, name in ipairs(beside and OF_BUSTED or {}) do
    local folder = beside .. '/' .. name
    if uv.fs_stat(folder) then compile(folder, to .. '/' .. name) end
  end
  return ('%s/?.lua;%s/?/init.lua;'):format(to, to)
end

return compiled

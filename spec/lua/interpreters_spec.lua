--- Lua's own interpreters: Stores needs LuaJIT, and says so in each of them, however it is loaded.
-- Plain pass alone: other interpreters in processes of their own.

local root = os.getenv('STORES_ROOT') or '.'
local build = os.getenv('STORES_BUILD') or root .. '/build'

local quoted = require('spec.support.shell').quoted

--- Requires a module in an interpreter; gives what it printed.
local function require_in(interpreter, module)
  local pipe = assert(io.popen(('LUA_INIT= %s -e %s 2>&1'):format(interpreter, quoted(([[
    package.path = '%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua'
    package.cpath = '%s/?.so'
    print(pcall(require, '%s'))]]):format(root, root, root, build, module)))))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

describe('in an interpreter without LuaJIT #slow', function()
  for _, version in ipairs({ '5.1', '5.2', '5.3', '5.4' }) do
    it('names what it needs: Lua ' .. version, function()
      assert.matches('^false\t[^\n]*Stores needs LuaJIT 2.1 %(Debian: luajit2%), this is Lua '
        .. version:gsub('%.', '%%.') .. '\n', require_in('lua' .. version, 'stores'))
      for _, module in ipairs({ 'stores.core', 'stores.json', 'migrations' }) do
        assert.matches('^false\t[^\n]*Stores needs LuaJIT 2.1 %(Debian: luajit2%), this is another '
          .. 'Lua\n', require_in('lua' .. version, module))
      end
    end)
  end

  it('and loads in LuaJIT', function()
    for _, module in ipairs({ 'stores', 'stores.core', 'stores.json', 'migrations' }) do
      assert.matches('^true\t', require_in('luajit', module))
    end
  end)
end)

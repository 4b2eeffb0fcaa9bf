--- The rock: luarocks make builds it from the source tree, and LuaJIT finds what it installs.
--- STORES_TEST_ROCK=whole: every file is compiled; without it those that the build of this run has
--- compiled from the same text are taken from there, but for the ones of two rooms.
-- Plain pass alone: a build of its own.

local root = os.getenv('STORES_ROOT') or '.'

local sh = require('spec.support.shell')
local quoted, shell = sh.quoted, sh.run

-- Runs the compiler, which is its arguments, or takes what $OBJECTS has of that name.
local LAUNCHER = [[
#!/bin/sh
previous=''
for word in "$@"; do
    [ "$previous" != -o ] || object=$word
    previous=$word
done
case $object in
    */core/base/* | */core/sql/*) ;;
    CMakeFiles/*.c.o) cp "$OBJECTS/$object" "$object" 2>/dev/null && exit ;;
esac
exec "$@"
]]

describe('luarocks make #slow', function()
  local base, tree

  lazy_setup(function()
    base = sh.folder()
    tree = base .. '/tree'
    -- a copy: the build of a rock leaves a folder in the source tree
    local source = quoted(base .. '/source')
    local status, text = shell(('mkdir %s && cd %s && tar -c --exclude=./build --exclude=./.git . '
      .. '| tar -x -C %s'):format(source, quoted(root), source))
    assert.equal(0, status, text)
    local launcher, build = base .. '/launcher', os.getenv('STORES_BUILD') or 'build'
    if os.getenv('STORES_TEST_ROCK') == 'whole' then build = base .. '/nowhere' end
    sh.write(launcher, LAUNCHER)
    shell('chmod +x ' .. quoted(launcher))
    -- make would tell of each file by a process of cmake
    local config = base .. '/config.lua'
    sh.write(config, 'cmake_generator = "Ninja"\n')
    -- a type that CMake knows nothing of: without what takes the compiler's time
    status, text = shell(('OBJECTS="$(realpath -m %s)" && cd %s && env -u LUA_PATH -u LUA_CPATH '
      .. '-u LD_PRELOAD OBJECTS="$OBJECTS" CMAKE_C_COMPILER_LAUNCHER=%s CMAKE_BUILD_TYPE=Quick '
      .. 'LUAROCKS_CONFIG=%s luarocks --lua-version=5.1 --tree=%s make --deps-mode=none '
      .. 'rockspec/stores-0.1.0-1.rockspec')
      :format(quoted(build), source, quoted(launcher), quoted(config), quoted(tree)))
    assert.equal(0, status, text)
  end)

  lazy_teardown(function() shell('rm -rf ' .. quoted(base)) end)

  --- Runs LuaJIT in the rock's tree alone.
  local function run(program)
    local modules = tree .. '/share/lua/5.1/?'
    return shell(('cd %s && env -u LD_PRELOAD LUA_PATH=%s LUA_CPATH=%s luajit -e %s'):format(
      quoted(base), quoted(modules .. '.lua;' .. modules .. '/init.lua'),
      quoted(tree .. '/lib/lua/5.1/?.so'), quoted(program)))
  end

  it('installs the modules', function()
    local status, text = run([[
      local stores = require('stores')
      assert(require('stores.migrations').runMigrations)
      assert(require('stores.hosts.scheduler'))
      print(stores.VERSION, package.searchpath('stores.core', package.cpath))]])
    assert.equal(0, status, text)
    assert.equal('0.1.0\t' .. tree .. '/lib/lua/5.1/stores/core.so\n', text)
  end)

  it('installs the command', function()
    local status, text = shell(('env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH %s --version'):format(
      quoted(tree .. '/bin/stores')))
    assert.equal(0, status, text)
    assert.equal('stores 0.1.0\n', text)
  end)

  it('has the version of the library', function()
    local file = assert(io.open(root .. '/core/stores.h'))
    local version = file:read('*a'):match('STORES_VERSION "([%d.]+)"')
    file:close()
    assert.equal(0, (shell(('test -f %s'):format(
      quoted(root .. '/rockspec/stores-' .. version .. '-1.rockspec')))))
  end)

  it('says what it needs where the interpreter is not LuaJIT', function()
    local status, text = run("jit = nil; print(pcall(require, 'stores'))")
    assert.equal(0, status)
    assert.matches('Stores needs LuaJIT 2.1', text)
  end)
end)

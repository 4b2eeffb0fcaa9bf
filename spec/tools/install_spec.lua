--- What the build promises to those who use it: a clear word for each library that is missing, and
--- an installation that LuaJIT and pkg-config find.
-- Plain pass alone: a build of its own.

local root = os.getenv('STORES_ROOT') or '.'
local build = os.getenv('STORES_BUILD') or root .. '/build'
local base

local sh = require('spec.support.shell')
local quoted, shell, write = sh.quoted, sh.run, sh.write

before_each(function()
  base = sh.folder()
end)

after_each(function() shell('rm -rf ' .. quoted(base)) end)

describe('the build #slow', function()
  --- Configures with the .pc files of a folder of the test alone.
  local function configure()
    return shell(('PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR=%s cmake -S %s -B %s'):format(
      quoted(base), quoted(root), quoted(base .. '/build')))
  end

  local function library(name, version)
    write(base .. '/' .. name .. '.pc',
      ('Name: %s\nDescription: for a test\nVersion: %s\nLibs:\n'):format(name, version))
  end

  it('names every library that is missing, with its package', function()
    local status, text = configure()
    assert.not_equal(0, status)
    for name, package in pairs {
      libpq = 'libpq%-dev', libuv = 'libuv1%-dev', hiredis = 'libhiredis%-dev',
      openssl = 'libssl%-dev', luajit = 'libluajit2%-5%.1%-dev',
    } do
      assert.matches('%f[%w]' .. name .. ' >=[%d.]+[^\n]*: not found %(Debian package: ' .. package,
        text)
    end
  end)

  it('says which version is there where it is the wrong one', function()
    library('libpq', '13.11')
    library('libuv', '1.44.2')
    library('hiredis', '2.0.0')
    library('openssl', '1.0.2')
    library('luajit', '2.0.5')
    local status, text = configure()
    assert.not_equal(0, status)
    assert.matches('libpq >=14: version 13.11 is installed', text)
    assert.matches('hiredis >=0.14.1 and <2: version 2.0.0 is installed', text)
    assert.matches('openssl >=1.1.1: version 1.0.2 is installed', text)
    assert.matches('luajit >=2.1: version 2.0.5 is installed', text)
    assert.is_nil(text:find('libuv >=', 1, true))
  end)

  it('exports nothing of the module but its entrance, and only the API of the library', function()
    local _, module = shell('nm -D --defined-only ' .. quoted(build .. '/stores/core.so'))
    local names = {}
    for name in module:gmatch('%x+ %a (%S+)') do names[#names + 1] = name end
    assert.same({ 'luaopen_stores_core' }, names)

    local _, exported = shell('nm -D --defined-only ' .. quoted(build .. '/libstores.so'))
    assert.matches(' T stores_engine_new\n', exported)
    for name in exported:gmatch('%x+ %a (%S+)') do assert.matches('^stores_%w', name) end
  end)

  describe('installed', function()
    local prefix

    before_each(function()
      local status, text = shell(('DESTDIR=%s cmake --install %s'):format(
        quoted(base), quoted(build)))
      assert.equal(0, status, text)
      prefix = base .. '/usr/local'
    end)

    it('is where LuaJIT looks, with everything it needs', function()
      local lmod, cmod = prefix .. '/share/lua/5.1/', prefix .. '/lib/lua/5.1/'
      write(base .. '/hello.lua', [[
        assert(require('stores').Store)
        assert(require('stores.local').up)
        assert(require('stores.migrations').runMigrations)
        assert(require('migrations').runMigrations)
        print('hello', package.loaded.stores)]])
      local status, text = shell(('cd %s && LUA_PATH=%s LUA_CPATH=%s luajit hello.lua'):format(
        quoted(base),
        quoted(lmod .. '?.lua;' .. lmod .. '?/init.lua'),
        quoted(cmod .. '?.so;/usr/lib/x86_64-linux-gnu/lua/5.1/?.so')))
      assert.equal(0, status, text)
      -- The two folders are among those that LuaJIT searches on its own.
      assert.truthy(package.path:find('/usr/local/share/lua/5.1/?.lua', 1, true))
      assert.truthy(package.cpath:find('/usr/local/lib/lua/5.1/?.so', 1, true))
    end)

    it('has the command, with its man page and completion', function()
      local status, text = shell(('env -u LUA_PATH -u LUA_CPATH %s --version')
        :format(quoted(prefix .. '/bin/stores')))
      assert.equal(0, status, text)
      assert.matches('^stores %d', text)
      assert.matches('%.TH STORES 1', sh.read(prefix .. '/share/man/man1/stores.1'))
      assert.matches('complete %-F _stores stores',
        sh.read(prefix .. '/share/bash-completion/completions/stores'))
    end)

    it('is another library to the linker with each minor version', function()
      local status, text = shell('readelf -d ' .. quoted(prefix .. '/lib/libstores.so'))
      assert.equal(0, status, text)
      assert.matches('SONAME[^\n]*%[libstores%.so%.0%.1%]', text)
      for _, name in ipairs { 'libstores.so', 'libstores.so.0.1', 'libstores.so.0.1.0' } do
        assert.equal(0, (shell('test -e ' .. quoted(prefix .. '/lib/' .. name))), name)
      end
    end)

    it('is found by pkg-config, and links, shared and static', function()
      write(base .. '/host.c', [[
        #include <stdio.h>
        #include <stores.h>
        int main(void) {
            printf("%s %s %s\n", STORES_VERSION, stores_version(),
                   stores_code_name(STORES_NOT_FOUND));
            return 0;
        }]])
      -- also where it was not configured to be
      local config = ('PKG_CONFIG_PATH=%s pkg-config '):format(quoted(prefix .. '/lib/pkgconfig'))
      local sanitizers = build:find('asan') and ' -fsanitize=address,undefined' or ''
      for _, kind in ipairs {
        ' host.c $(%s --cflags --libs stores)',
        ' host.c $(%s --cflags stores) ' .. quoted(prefix .. '/lib/libstores.a')
          .. ' $(pkg-config --libs libpq libuv hiredis openssl)',
      } do
        local status, text = shell(('cd %s && cc -o host%s%s && LD_LIBRARY_PATH=%s ./host'):format(
          quoted(base), sanitizers, (kind:gsub('%%s', function() return config end)),
          quoted(prefix .. '/lib')))
        assert.equal(0, status, text)
        assert.equal('0.1.0 0.1.0 not_found\n', text)
      end
    end)
  end)
end)

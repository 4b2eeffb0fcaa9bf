-- In a clone:  luarocks make rockspec/stores-0.1.0-1.rockspec
-- The libraries (libpq, libuv, hiredis, OpenSSL, LuaJIT) are found by pkg-config; cmake names what is missing.
rockspec_format = '3.0'
package = 'stores'
version = '0.1.0-1'
source = {
  url = 'file://.',
}
description = {
  summary = 'PostgreSQL jsonb documents behind a Redis cache that never lies',
  detailed = [[
    Stores keeps documents in PostgreSQL tables (id bigint, value jsonb) and reads them through a
    cache in Redis. It runs in plain scripts, nginx with Lua, luv and cqueues, without blocking them.
  ]],
  license = 'MIT',
}
dependencies = {
  'lua == 5.1', -- LuaJIT 2.1
  'argparse >= 0.7', -- of the command `stores` alone
}
build = {
  type = 'cmake',
  variables = {
    CMAKE_INSTALL_PREFIX = '$(PREFIX)',
    CMAKE_INSTALL_BINDIR = '$(BINDIR)',
    STORES_LIBRARY = 'OFF',
    STORES_LUA_CMOD = '$(LIBDIR)',
    STORES_LUA_LMOD = '$(LUADIR)',
  },
}

/*
 * lua_api.h - the API of Lua 5.1 as LuaJIT has it, for all files that see Lua.
 */
#ifndef STORES_LUA_API_H
#define STORES_LUA_API_H

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>

/* What Lua 5.2 to 5.4 do not have. Weak, so that the module can be loaded there and
 * luaopen_stores_core say what it needs: unresolved symbols would be all that one gets to read. */
#pragma weak lua_call
#pragma weak lua_getfenv
#pragma weak lua_insert
#pragma weak lua_isyieldable
#pragma weak lua_newuserdata
#pragma weak lua_objlen
#pragma weak lua_pcall
#pragma weak lua_remove
#pragma weak lua_replace
#pragma weak lua_setfenv
#pragma weak lua_tointeger
#pragma weak lua_tonumber
#pragma weak lua_yield
#pragma weak luaL_loadbuffer
#pragma weak luaL_prepbuffer
#pragma weak luaL_register

/* What only LuaJIT has. */
#pragma weak luaJIT_setmode

#endif

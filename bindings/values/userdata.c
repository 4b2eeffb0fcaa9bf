/* userdata.c - the types of userdata. */
#include "userdata.h"

const char stores__hub_type[] = "stores.hub";
const char stores__engine_type[] = "stores.engine";
const char stores__tx_type[] = "stores.tx";

void stores__type_register(lua_State *L, const char *name, lua_CFunction gc,
                           const luaL_Reg *methods) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void stores__type_extend(lua_State *L, const char *name, const luaL_Reg *methods) {
    luaL_getmetatable(L, name);
    lua_getfield(L, -1, "__index");
    luaL_register(L, NULL, methods);
    lua_pop(L, 2);
}

void stores__type_give(lua_State *L, const char *name, int index) {
    luaL_getmetatable(L, name);
    lua_setmetatable(L, -2);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, -2);
}

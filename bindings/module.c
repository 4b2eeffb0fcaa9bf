/* luaopen_stores_core: the table that lua/stores builds on. */
#include <math.h>

#include "binding.h"

STORES_API int luaopen_stores_core(lua_State *L);

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

/* core.check_id(text) -> the canonical text; raises invalid_id */
static int check_id(lua_State *L) {
    stores__id_push(L, stores__id_check(L, 1, NULL));
    return 1;
}

enum { PLACE_BYTES = 256 };

/* core.function_place(fn) -> a number for the place in its source where the function stands, the
 * same for all closures that are made there; nil: it is not written in Lua, or nobody knows where */
static int function_place(lua_State *L) {
    lua_Debug info;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_getinfo(L, ">S", &info);
    /* a function without lines is C, a whole chunk, or of a file that was stripped of them */
    if (info.linedefined <= 0) return 0;
    int lines[2] = {info.linedefined, info.lastlinedefined};
    uint64_t source = stores__hash(info.source, strnlen(info.source, PLACE_BYTES));
    uint64_t place = source * 31 + stores__hash(lines, sizeof lines);
    lua_pushnumber(L, (lua_Number)(place & UINT64_C(0x1fffffffffffff)));
    return 1;
}

/* core.shard(id, count) -> the shard of an id */
static int shard(lua_State *L) {
    int64_t id = stores__id_check(L, 1, NULL);
    lua_Integer count = luaL_checkinteger(L, 2);
    if (count < 1) return stores__raise(L, STORES_INVALID_ARGUMENT, "there is at least one shard");
    lua_pushinteger(L, stores_shard_of(id, (int)count));
    return 1;
}

/* core.flake_time(id, simple) -> seconds since 1970; core.flake_at(seconds, simple) -> id */
static int flake_time(lua_State *L) {
    int64_t id = stores__id_check(L, 1, NULL);
    int64_t ms = lua_toboolean(L, 2) ? stores_simpleflake_time(id) : stores_flake_time(id);
    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

static int flake_at(lua_State *L) {
    lua_Number seconds = luaL_checknumber(L, 1);
    if (!(fabs(seconds) < 1e12)) {
        return stores__raise(L, STORES_INVALID_ARGUMENT, "a time is in seconds since 1970");
    }
    int64_t ms = (int64_t)floor(seconds * 1000 + 0.5);
    stores__id_push(L, lua_toboolean(L, 2) ? stores_simpleflake_at(ms) : stores_flake_at(ms));
    return 1;
}

/* core.can_yield() -> whether the coroutine that runs may be left here: not inside of string.gsub,
 * table.sort, require, a finalizer or a hook, which Lua functions written in C have called */
static int can_yield(lua_State *L) {
    lua_pushboolean(L, lua_isyieldable(L));
    return 1;
}

/* core.stands(thread or nil, fn, value) -> whether fn is on the stack of the coroutine (nil: of the
 * one that runs) with that very value as its first local */
static int stands(lua_State *L) {
    lua_State *of = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    lua_Debug frame;
    lua_settop(L, 3);
    for (int level = 0; lua_getstack(of, level, &frame); level++) {
        if (!lua_checkstack(of, 1)) break;
        lua_getinfo(of, "f", &frame);
        lua_xmove(of, L, 1);
        bool same = lua_rawequal(L, -1, 2);
        lua_pop(L, 1);
        if (!same || lua_getlocal(of, &frame, 1) == NULL) continue;
        lua_xmove(of, L, 1);
        same = lua_rawequal(L, -1, 3);
        lua_pop(L, 1);
        if (same) {
            lua_pushboolean(L, 1);
            return 1;
        }
    }
    lua_pushboolean(L, 0);
    return 1;
}

static const luaL_Reg functions[] = {{"check_id", check_id},
                                     {"shard", shard},
                                     {"function_place", function_place},
                                     {"flake_time", flake_time},
                                     {"flake_at", flake_at},
                                     {"can_yield", can_yield},
                                     {"stands", stands},
                                     {NULL, NULL}};

int luaopen_stores_core(lua_State *L) {
    /* luaL_error is one of the few functions that are the same in every Lua */
    if (luaJIT_setmode == NULL) {
        return luaL_error(L, "Stores needs LuaJIT 2.1 (Debian: luajit2), this is another Lua");
    }
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    stores__json_open(L);
    stores__json_fields(L, lua_gettop(L));
    stores__error_register(L);
    stores__hub_register(L);
    stores__result_register(L);
    stores__time_register(L);
    stores__driver_register(L);
    stores__doorbell_register(L);
    stores__relay_register(L);
    stores__engine_register(L);
    stores__tx_register(L);
    stores__listen_register(L);
    stores__watch_register(L);
    lua_pushliteral(L, STORES_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}

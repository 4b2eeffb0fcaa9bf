/* frames.c - what Lua's own debug library does not tell of functions and coroutines, or not as
 * cheaply. */
#include "frames.h"

#include <string.h>

#include "base/base.h"

enum { PLACE_BYTES = 256 };

/* core.function_place(fn) -> a number for the place in its source where the function stands, the
 * same for all closures that are made there; nil: it is not written in Lua, or nobody knows
 * where */
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

/* core.can_yield() -> whether the coroutine that runs may be left here: not inside of string.gsub,
 * table.sort, require, a finalizer or a hook, which Lua functions written in C have called */
static int can_yield(lua_State *L) {
    lua_pushboolean(L, lua_isyieldable(L));
    return 1;
}

/* core.where() -> the coroutine that runs, nil: none; and what can_yield says: one call in place of
 * two, for every call of a store asks it */
static int where(lua_State *L) {
    if (lua_pushthread(L) == 1) return 0;
    lua_pushboolean(L, lua_isyieldable(L));
    return 2;
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

static const luaL_Reg functions[] = {{"function_place", function_place},
                                     {"can_yield", can_yield},
                                     {"where", where},
                                     {"stands", stands},
                                     {NULL, NULL}};

void stores__frames_register(lua_State *L) {
    luaL_register(L, NULL, functions);
}

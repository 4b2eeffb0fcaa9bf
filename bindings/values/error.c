/* error.c - errors of the core as Lua tables. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char metatable_key;

static void set_text(lua_State *L, const char *field, const char *text) {
    if (text[0] == '\0') return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

void stores__error_push(lua_State *L, const stores_error *error) {
    lua_createtable(L, 0, 10);
    set_text(L, "code", stores_code_name(error->code));
    set_text(L, "message", error->message);
    set_text(L, "sqlstate", error->sqlstate);
    set_text(L, "detail", error->detail);
    set_text(L, "hint", error->hint);
    set_text(L, "constraint", error->constraint);
    set_text(L, "table", error->table);
    set_text(L, "outcome", stores_outcome_name(error->outcome));
    lua_pushboolean(L, error->retryable);
    lua_setfield(L, -2, "retryable");
    lua_pushinteger(L, stores_code_http(error->code));
    lua_setfield(L, -2, "http");
    if (error->shard >= 0) {
        lua_pushinteger(L, error->shard);
        lua_setfield(L, -2, "shard");
    }
    lua_pushlightuserdata(L, &metatable_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_istable(L, -1)) {
        lua_setmetatable(L, -2);
    } else {
        lua_pop(L, 1);
    }
}

int stores__raise(lua_State *L, stores_code code, const char *format, ...) {
    stores_error error;
    va_list args;
    memset(&error, 0, sizeof error);
    error.size = sizeof error;
    error.code = code;
    error.shard = -1;
    va_start(args, format);
    vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    stores__error_push(L, &error);
    return lua_error(L);
}

void stores__error_print(lua_State *L, const char *who) {
    fprintf(stderr, "stores: %s%s\n", who, lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
    lua_pop(L, 1);
}

/* core.set_error_metatable(mt): what error tables are from now on in this Lua state. */
static int set_error_metatable(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushlightuserdata(L, &metatable_key);
    lua_pushvalue(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* codes: what the X-macro of stores.h says of each. */
void stores__error_register(lua_State *L) {
    lua_pushcfunction(L, set_error_metatable);
    lua_setfield(L, -2, "set_error_metatable");
    lua_newtable(L);
#define CODE(NAME, number, name, status, again, words)                                             \
    lua_createtable(L, 0, 3);                                                                      \
    lua_pushinteger(L, status);                                                                    \
    lua_setfield(L, -2, "http");                                                                   \
    lua_pushboolean(L, again);                                                                     \
    lua_setfield(L, -2, "retryable");                                                              \
    lua_pushliteral(L, words);                                                                     \
    lua_setfield(L, -2, "text");                                                                   \
    lua_setfield(L, -2, name);
    STORES_ERRORS(CODE)
#undef CODE
    lua_setfield(L, -2, "codes");
}

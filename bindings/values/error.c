/* error.c - errors of the core as Lua tables. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"

static char metatable_key;
static char leaving_key; /* a function of the host: see stores__error_throw */

static void set_text(lua_State *L, const char *field, const char *text) {
    if (text[0] != '\0') stores__field_text(L, field, text);
}

void stores__error_push(lua_State *L, const stores_error *error) {
    lua_createtable(L, 0, 12);
    set_text(L, "code", stores_code_name(error->code));
    set_text(L, "message", error->message);
    set_text(L, "sqlstate", error->sqlstate);
    set_text(L, "detail", error->detail);
    set_text(L, "hint", error->hint);
    set_text(L, "constraint", error->constraint);
    set_text(L, "table", error->table);
    set_text(L, "statement", error->statement);
    if (error->position > 0) {
        lua_pushinteger(L, error->position);
        lua_setfield(L, -2, "position");
    }
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

int stores__error_throw(lua_State *L) {
    lua_pushlightuserdata(L, &leaving_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isfunction(L, -1)) {
        lua_insert(L, -2);
        lua_call(L, 1, 1);
    } else {
        lua_pop(L, 1);
    }
    /* ngx.thread.wait gives all that lies on the stack of a thread that failed */
    lua_replace(L, 1);
    lua_settop(L, 1);
    return lua_error(L);
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
    return stores__error_throw(L);
}

/* Stack: a value. In a call of its own, for a __tostring of somebody may raise. */
static int as_text(lua_State *L) {
    if (!luaL_callmeta(L, 1, "__tostring")) lua_pushfstring(L, "a %s", luaL_typename(L, 1));
    return 1;
}

void stores__error_print(lua_State *L, const char *who) {
    if (!lua_isstring(L, -1)) {
        lua_pushcfunction(L, as_text);
        lua_insert(L, -2);
        lua_pcall(L, 1, 1, 0);
    }
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

/* core.set_leaving(fn): fn(err) is asked what to raise in place of an error of Stores. */
static int set_leaving(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushlightuserdata(L, &leaving_key);
    lua_pushvalue(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* codes: what the X-macro of stores.h says of each. */
void stores__error_register(lua_State *L) {
    lua_pushcfunction(L, set_error_metatable);
    lua_setfield(L, -2, "set_error_metatable");
    lua_pushcfunction(L, set_leaving);
    lua_setfield(L, -2, "set_leaving");
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

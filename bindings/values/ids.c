/* ids.c - ids as Lua has them, and what is known of an id by itself. */
#include "ids.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

int stores__id_owner(lua_State *L, int64_t id, const struct stores__shard *shard) {
    if (shard->owner == LUA_NOREF) return stores_shard_of(id, shard->count);
    luaL_checkstack(L, 4, "the owner of an id");
    lua_rawgeti(L, LUA_REGISTRYINDEX, shard->owner);
    stores__id_push(L, id);
    lua_pushinteger(L, shard->count);
    lua_call(L, 2, 1);
    int owner = (int)lua_tonumber(L, -1); /* the function is a wrapper, and checked that */
    lua_pop(L, 1);
    return owner;
}

static void refuse_shard(lua_State *L, int owner, const struct stores__shard *shard) {
    stores_error error = STORES_ERROR_INIT;
    error.code = STORES_WRONG_SHARD;
    error.shard = shard->number;
    snprintf(error.message, sizeof error.message,
             "the id belongs to shard %d of %d, this is shard %d", owner, shard->count,
             shard->number);
    stores__error_push(L, &error);
    stores__error_throw(L);
}

int64_t stores__id_check(lua_State *L, int index, const struct stores__shard *shard) {
    stores_error error; /* not filled in advance: it is large, and rarely needed */
    error.size = sizeof error;
    int64_t id = 0;
    size_t len = 0;
    if (lua_type(L, index) == LUA_TNUMBER) {
        stores__raise(L, STORES_INVALID_ID,
                      "pass the id as a string: a number cannot carry 64 bits");
    }
    if (lua_type(L, index) != LUA_TSTRING) {
        stores__raise(L, STORES_INVALID_ID, "an id is a string of a signed 64-bit decimal, got %s",
                      luaL_typename(L, index));
    }
    const char *text = lua_tolstring(L, index, &len);
    if (!stores_id_parse(text, len, &id, &error)) {
        stores__error_push(L, &error);
        stores__error_throw(L);
    }
    if (shard != NULL && shard->count > 0) {
        int owner = stores__id_owner(L, id, shard);
        if (owner != shard->number) refuse_shard(L, owner, shard);
    }
    return id;
}

int64_t *stores__ids_check(lua_State *L, int index, const struct stores__shard *shard,
                           size_t *count) {
    luaL_checktype(L, index, LUA_TTABLE);
    *count = lua_objlen(L, index);
    int64_t *ids = lua_newuserdata(L, (*count + 1) * sizeof *ids);
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        ids[i] = stores__id_check(L, -1, shard);
        lua_pop(L, 1);
    }
    return ids;
}

void stores__id_push(lua_State *L, int64_t id) {
    char text[24];
    uint64_t rest = id < 0 ? (uint64_t)0 - (uint64_t)id : (uint64_t)id;
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (id < 0) text[--at] = '-';
    lua_pushlstring(L, text + at, sizeof text - at);
}

/* ---- What the module has of them ------------------------------------------------------------- */

/* core.check_id(text) -> the canonical text; raises invalid_id */
static int check_id(lua_State *L) {
    stores__id_push(L, stores__id_check(L, 1, NULL));
    return 1;
}

/* core.shard(id, count) -> the shard of an id */
static int shard_of(lua_State *L) {
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

static const luaL_Reg functions[] = {{"check_id", check_id},
                                     {"shard", shard_of},
                                     {"flake_time", flake_time},
                                     {"flake_at", flake_at},
                                     {NULL, NULL}};

void stores__ids_register(lua_State *L) {
    luaL_register(L, NULL, functions);
}

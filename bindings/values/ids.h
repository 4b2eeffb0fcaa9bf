/*
 * ids.h - ids as Lua has them: strings of a signed 64-bit decimal.
 */
#ifndef STORES_BINDINGS_IDS_H
#define STORES_BINDINGS_IDS_H

#include "lua_api.h"
#include "stores.h"

/* Which ids a store takes; count 0: all. Whose an id is says a function of the registry,
 * owner(id, count), or else, where that is LUA_NOREF, its modulo. */
struct stores__shard {
    int number, count, owner;
};

/* Whose an id is, by the function or the modulo. */
int stores__id_owner(lua_State *L, int64_t id, const struct stores__shard *shard);

/* The id at index, a canonical string; raises invalid_id, or wrong_shard. shard may be NULL. */
int64_t stores__id_check(lua_State *L, int index, const struct stores__shard *shard);
/* The ids of the array at index, anchored by a userdata that is pushed. */
int64_t *stores__ids_check(lua_State *L, int index, const struct stores__shard *shard,
                           size_t *count);
void stores__id_push(lua_State *L, int64_t id);
/* Stack: the module's table. */
void stores__ids_register(lua_State *L);

#endif

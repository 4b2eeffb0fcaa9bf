/*
 * userdata.h - the types of userdata: their metatables, and a quick look whether a value is of one.
 */
#ifndef STORES_BINDINGS_USERDATA_H
#define STORES_BINDINGS_USERDATA_H

#include <string.h>

#include "lua_api.h"

/* Names of metatables; their addresses are the types that every call looks at. */
extern const char stores__hub_type[], stores__engine_type[], stores__tx_type[];
#define STORES__HUB stores__hub_type
#define STORES__ENGINE stores__engine_type
#define STORES__TX stores__tx_type

/* The userdata at index where it is of that type; NULL where it is not, which luaL_checkudata
 * explains. A call looks three times, and luaL_checkudata makes a string of the type's name each
 * time. A userdata of such a type begins with the address of the type's name, and none of anybody
 * else's does. */
static inline void *stores__userdata(lua_State *L, int index, const void *type, size_t size) {
    void *data = lua_touserdata(L, index);
    if (data == NULL || lua_objlen(L, index) < size) return NULL;
    return memcmp(data, &type, sizeof type) == 0 ? data : NULL;
}

/* A type of userdata with its finalizer and its methods. */
void stores__type_register(lua_State *L, const char *name, lua_CFunction gc,
                           const luaL_Reg *methods);
/* More methods of a type that is registered. */
void stores__type_extend(lua_State *L, const char *name, const luaL_Reg *methods);
/* Gives the new userdata on top its type; it keeps the value at index alive. */
void stores__type_give(lua_State *L, const char *name, int index);

#endif

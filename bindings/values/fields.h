/*
 * fields.h - the fields of a table that is made: it is on top of the stack, and stays there.
 */
#ifndef STORES_BINDINGS_FIELDS_H
#define STORES_BINDINGS_FIELDS_H

#include "lua_api.h"

static inline void stores__field_number(lua_State *L, const char *name, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static inline void stores__field_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

#endif

/*
 * args.h - arguments of Lua, checked and brought into the core's form.
 */
#ifndef STORES_BINDINGS_ARGS_H
#define STORES_BINDINGS_ARGS_H

#include "lua_api.h"
#include "stores.h"

/* The name of a table at index, which the core has yet to read; raises invalid_table. */
const char *stores__table_check(lua_State *L, int index);
/* Seconds as whole ms: 1 at least, and held below what a timer takes. */
uint64_t stores__ms_of(double seconds);
/* Seconds at index, in ms; nil: 0, which is the engine's default. */
uint64_t stores__ms_check(lua_State *L, int index);
/* How many rows at most, at index; nil: -1. */
int stores__most_check(lua_State *L, int index);
/* False itself, not nil: what is on unless the caller says otherwise. */
bool stores__is_false(lua_State *L, int index);
/* An array of parameters as texts, anchored by userdata that are pushed. */
stores_params stores__params_check(lua_State *L, int index);
/* The document at index as JSON text, which may be pushed as a userdata. It is to be used before
 * anything else is written as JSON, which finalizers may do: so before anything that allocates in
 * Lua. Raises invalid_document. */
const char *stores__document_check(lua_State *L, int index);
/* Reads the engine's options of a query from the table at index; anchored likewise. */
stores_query_options stores__query_options_check(lua_State *L, int index);

#endif

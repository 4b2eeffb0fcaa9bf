/*
 * random.h - numbers of chance for lua/stores.
 */
#ifndef STORES_BINDINGS_RANDOM_H
#define STORES_BINDINGS_RANDOM_H

#include "lua_api.h"

/* Stack: the module's table. */
void stores__random_register(lua_State *L);

#endif

/*
 * frames.h - functions and coroutines, as they stand on Lua's stacks.
 */
#ifndef STORES_BINDINGS_FRAMES_H
#define STORES_BINDINGS_FRAMES_H

#include "lua_api.h"

/* Stack: the module's table. */
void stores__frames_register(lua_State *L);

#endif

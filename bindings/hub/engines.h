/*
 * engines.h - the engines on a hub's loop: which it flushes before it waits, and closes with
 * itself.
 */
#ifndef STORES_BINDINGS_ENGINES_H
#define STORES_BINDINGS_ENGINES_H

#include "hub/hub.h"
#include "values/ids.h"

struct stores__lua_engine {
    const void *type; /* what stores__userdata looks at */
    struct stores__list link; /* hub->engines */
    struct stores__hub *hub;
    stores_engine *engine; /* NULL: closed */
    struct stores__shard shard;
    stores_tx *told; /* which the caller of the next method holds; NULL: none */
    stores_tx *inside; /* the same of the method that runs: one that raises leaves it to nobody */
    struct stores__heard {
        uint64_t notices, dropped, gaps, waiting;
    } heard; /* by its listeners: what came; for which there was no room; gaps; not yet taken */
    unsigned writes; /* that were started */
    int log_function; /* in the registry; LUA_NOREF: there is none */
};

/* The engine has been made: it stays on the hub until it is detached. */
void stores__engine_attach(struct stores__lua_engine *engine);
/* Its log function goes. What it says from now on goes to the terminal, as does what that function
 * was not told yet. */
void stores__engine_mute(lua_State *L, struct stores__lua_engine *engine);
/* The core's engine, muted, for the caller to close. */
stores_engine *stores__engine_detach(lua_State *L, struct stores__lua_engine *engine);
/* Detached and closed; hub->open counts down when it is gone. */
void stores__engine_drop(lua_State *L, struct stores__lua_engine *engine);
void stores__engines_flush(struct stores__hub *hub);

#endif

/*
 * engine.h - engines, transactions and listeners as Lua has them.
 */
#ifndef STORES_BINDINGS_ENGINE_H
#define STORES_BINDINGS_ENGINE_H

#include "hub/engines.h"
#include "hub/slot.h"

static inline void stores__engine_take_told(struct stores__lua_engine *engine) {
    engine->inside = engine->told;
    engine->told = NULL;
}

/* Raises where it is closed. Whatever allocates in Lua, or calls it, may run a finalizer of the
 * program's that closes the store: so this comes behind that, right before the core is called. */
static inline void stores__engine_open(lua_State *L, const struct stores__lua_engine *engine) {
    if (engine->engine == NULL) stores__raise(L, STORES_CLOSED, "the store is closed");
}

/* For a call: raises where the engine is closed, or of another process. */
static inline void stores__engine_use(lua_State *L, struct stores__lua_engine *engine) {
    if (engine->hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "the store belongs to the process before the fork");
    }
    stores__engine_open(L, engine);
    stores__engine_take_told(engine);
}

/* stores__slot_new for a call that the core is asked for next; raises as stores__engine_open. */
static inline struct stores__slot *stores__engine_slot(lua_State *L,
                                                       const struct stores__lua_engine *engine,
                                                       enum stores__slot_kind kind, bool raw) {
    stores__engine_open(L, engine);
    return stores__slot_new(L, engine->hub, kind, raw);
}

/* The engine at index, which is open and of this process; raises. */
static inline struct stores__lua_engine *stores__engine_check(lua_State *L, int index) {
    struct stores__lua_engine *engine = stores__userdata(L, index, STORES__ENGINE, sizeof *engine);
    if (engine == NULL) engine = luaL_checkudata(L, index, STORES__ENGINE);
    stores__engine_use(L, engine);
    return engine;
}

/* kind, table, id, doc, timeout, cache, raw, expr, params from index on, as a change without its
 * document, which may point to *params; what else it points to is anchored on the stack. */
stores_change stores__change_check(lua_State *L, int index, const struct stores__shard *shard,
                                   stores_params *params);
/* Its document, which is at index. Nothing may allocate in Lua from here on until it was used
 * (values/args.h). */
void stores__change_document(lua_State *L, int index, stores_change *change);
/* The condition at index, whose parameters, where they are not those of an expr, stand three before
 * it, as those of an expr do. */
void stores__change_condition(lua_State *L, int index, stores_change *change,
                              stores_params *params);
/* What is asked of etags: of a find whether it is to be given, at index, and behind it the one
 * whose document is not to be given. */
void stores__slot_find_etag(lua_State *L, int index, struct stores__slot *slot);
/* Of a write: the one that the row is to have, at index, which the change points to, and behind it
 * whether its new one is to be given. */
void stores__slot_write_etag(lua_State *L, int index, stores_change *change,
                             struct stores__slot *slot);
/* Fills config from the flat table at index; its strings are anchored by that table, and by what is
 * pushed. */
void stores__config_check(lua_State *L, int index, stores_config *config);

/* The core's hook for what is to be logged; arg: the stores__lua_engine. */
void stores__log_keep(void *arg, const char *text);
/* A new engine tells of its statements where there is a hook for them. */
void stores__watch_engine(struct stores__lua_engine *engine);

/* Stack: the module's table. The first of these makes the type, to which the others add. */
void stores__engine_register(lua_State *L);
void stores__held_register(lua_State *L);
void stores__stats_register(lua_State *L);
void stores__look_register(lua_State *L);
void stores__tx_register(lua_State *L);
void stores__listener_register(lua_State *L);
void stores__watch_register(lua_State *L);

#endif

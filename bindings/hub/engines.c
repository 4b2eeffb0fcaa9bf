/* engines.c - the engines on a hub's loop. */
#include "engines.h"

#include "messages.h"

void stores__engine_attach(struct stores__lua_engine *engine) {
    struct stores__hub *hub = engine->hub;
    stores__list_append(&hub->engines, &engine->link);
    stores_time_calls(engine->engine, hub->timed);
    hub->open++;
}

void stores__engine_mute(lua_State *L, struct stores__lua_engine *engine) {
    stores__messages_print(engine->hub, engine->log_function);
    luaL_unref(L, LUA_REGISTRYINDEX, engine->log_function);
    engine->log_function = LUA_NOREF;
    luaL_unref(L, LUA_REGISTRYINDEX, engine->shard.owner);
    engine->shard.owner = LUA_NOREF;
}

stores_engine *stores__engine_detach(lua_State *L, struct stores__lua_engine *engine) {
    stores_engine *core = engine->engine;
    stores__engine_mute(L, engine);
    engine->engine = NULL;
    stores__list_remove(&engine->link);
    return core;
}

static void closed(void *arg) {
    struct stores__hub *hub = arg;
    hub->open--;
}

void stores__engine_drop(lua_State *L, struct stores__lua_engine *engine) {
    stores_engine_close(stores__engine_detach(L, engine), closed, engine->hub);
}

void stores__engines_flush(struct stores__hub *hub) {
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores_flush(STORES__CONTAINER(at, struct stores__lua_engine, link)->engine);
    }
}

/* hub:time_calls(on): has the times of calls kept, for hub:times */
static int hub_time_calls(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    hub->timed = lua_toboolean(L, 2);
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores_time_calls(STORES__CONTAINER(at, struct stores__lua_engine, link)->engine,
                          hub->timed);
    }
    return 0;
}

static void add_transactions(void *arg, const char *name, double value) {
    if (strcmp(name, "transactions") == 0) *(double *)arg += value;
}

/* hub:transactions() -> how many are open in all of its engines */
static int hub_transactions(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    double sum = 0;
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores_stats(STORES__CONTAINER(at, struct stores__lua_engine, link)->engine,
                     add_transactions, &sum);
    }
    lua_pushnumber(L, sum);
    return 1;
}

static const luaL_Reg methods[] = {
    {"time_calls", hub_time_calls}, {"transactions", hub_transactions}, {NULL, NULL}};

void stores__engines_register(lua_State *L) {
    stores__type_extend(L, STORES__HUB, methods);
}

/* stats.c - what an engine tells of itself: counts, tables that turn, how long calls took. */
#include "store/engine.h"

static void add_figure(void *arg, const char *name, double value) {
    lua_State *L = arg;
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

/* Stack: the array of turning tables. */
static void add_turning(void *arg, const char *table, uint64_t ms, const char *writers) {
    lua_State *L = arg;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, table);
    lua_setfield(L, -2, "table");
    lua_pushnumber(L, (lua_Number)ms / 1000);
    lua_setfield(L, -2, "seconds");
    lua_pushstring(L, writers);
    lua_setfield(L, -2, "waits_for");
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* Stack: the words by table. */
static void add_uncached(void *arg, const char *table, const char *why) {
    lua_State *L = arg;
    lua_pushstring(L, why);
    lua_setfield(L, -2, table);
}

/* Stack: the table of histograms. */
static void add_histogram(void *arg, const char *name, const uint64_t *counts, const double *bounds,
                          int buckets, double sum) {
    lua_State *L = arg;
    lua_createtable(L, buckets, 2);
    lua_Number total = 0;
    for (int i = 0; i < buckets; i++) {
        lua_createtable(L, 0, 2);
        if (i < buckets - 1) {
            lua_pushnumber(L, bounds[i]);
            lua_setfield(L, -2, "le");
        }
        lua_pushnumber(L, (lua_Number)counts[i]);
        lua_setfield(L, -2, "count");
        lua_rawseti(L, -2, i + 1);
        total += (lua_Number)counts[i];
    }
    lua_pushnumber(L, total);
    lua_setfield(L, -2, "count");
    lua_pushnumber(L, sum);
    lua_setfield(L, -2, "sum");
    lua_setfield(L, -2, name);
}

/* Stack: the array of replicas. */
static void add_replica(void *arg, const char *name, const char *why, uint64_t reads,
                        uint64_t fallbacks) {
    lua_State *L = arg;
    lua_createtable(L, 0, 4);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    if (why[0] != '\0') {
        lua_pushstring(L, why);
        lua_setfield(L, -2, "left_alone");
    }
    add_figure(L, "reads", (double)reads);
    add_figure(L, "fallbacks", (double)fallbacks);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

static int engine_stats(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    lua_newtable(L);
    stores_stats(engine->engine, add_figure, L);
    add_figure(L, "notices", (double)engine->heard.notices);
    add_figure(L, "notices_dropped", (double)engine->heard.dropped);
    add_figure(L, "notices_waiting", (double)engine->heard.waiting);
    add_figure(L, "notice_gaps", (double)engine->heard.gaps);
    const char *trouble = stores_redis_trouble(engine->engine);
    if (trouble[0] != '\0') {
        lua_pushstring(L, trouble);
        lua_setfield(L, -2, "redis_trouble");
    }
    const char *waited = stores_held_waited(engine->engine);
    if (waited[0] != '\0') {
        lua_pushstring(L, waited);
        lua_setfield(L, -2, "held_waited_for");
    }
    const char *refused = stores_held_refused(engine->engine);
    if (refused[0] != '\0') {
        lua_pushstring(L, refused);
        lua_setfield(L, -2, "held_refused");
    }
    int shard, count;
    const char *strategy, *cluster;
    if (stores_shard(engine->engine, &shard, &count, &strategy, &cluster)) {
        lua_createtable(L, 0, 4);
        add_figure(L, "shard", shard);
        add_figure(L, "count", count);
        lua_pushstring(L, strategy);
        lua_setfield(L, -2, "strategy");
        lua_pushstring(L, cluster);
        lua_setfield(L, -2, "cluster");
        lua_setfield(L, -2, "shard");
    }
    lua_newtable(L);
    stores_replicas(engine->engine, add_replica, L);
    if (lua_objlen(L, -1) > 0) {
        lua_setfield(L, -2, "replicas");
    } else {
        lua_pop(L, 1);
    }
    lua_newtable(L);
    stores_turning(engine->engine, add_turning, L);
    lua_setfield(L, -2, "turning");
    lua_newtable(L);
    stores_uncached(engine->engine, add_uncached, L);
    lua_setfield(L, -2, "uncached");
    lua_newtable(L);
    stores_latency(engine->engine, add_histogram, L);
    lua_setfield(L, -2, "latency");
    return 1;
}

/* engine:token() -> how far it has come, as text; nil: that is not known */
static int engine_token(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    char token[STORES_TOKEN_SIZE];
    if (!stores_token(engine->engine, token)) return 0;
    lua_pushstring(L, token);
    return 1;
}

/* engine:wrote_elsewhere(): a store of the same database wrote */
static int engine_wrote_elsewhere(lua_State *L) {
    stores_wrote_elsewhere(stores__engine_check(L, 1)->engine);
    return 0;
}

static const luaL_Reg methods[] = {{"stats", engine_stats},
                                   {"token", engine_token},
                                   {"wrote_elsewhere", engine_wrote_elsewhere},
                                   {NULL, NULL}};

void stores__stats_register(lua_State *L) {
    stores__type_extend(L, STORES__ENGINE, methods);
}

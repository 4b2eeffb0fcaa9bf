/* Engines: the verbs that the core has, each starting a call. */
#include "binding.h"

const char stores__engine_type[] = "stores.engine";

struct stores__lua_engine *stores__engine_check(lua_State *L, int index) {
    struct stores__lua_engine *engine = stores__userdata(L, index, STORES__ENGINE, sizeof *engine);
    if (engine == NULL) engine = luaL_checkudata(L, index, STORES__ENGINE);
    if (engine->hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "the store belongs to the process before the fork");
    }
    if (engine->engine == NULL) stores__raise(L, STORES_CLOSED, "the store is closed");
    stores__engine_take_told(engine);
    return engine;
}

/* Index of a boolean that is nil unless the caller said something; false: no cache. */
static bool refuses_cache(lua_State *L, int index) {
    return lua_isboolean(L, index) && !lua_toboolean(L, index);
}

static stores_call call_to(struct stores__lua_engine *engine, struct stores__slot *slot,
                           uint64_t timeout_ms, bool no_cache) {
    stores_call call = {.size = sizeof call,
                        .timeout_ms = timeout_ms,
                        .no_cache = no_cache,
                        .inside = engine->inside,
                        .cb = stores__slot_done,
                        .arg = slot};
    return call;
}

/* engine:find(table, id, timeout, cache, raw) */
static int engine_find(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    int64_t id = stores__id_check(L, 3, engine);
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_DOCUMENT,
                                                 lua_toboolean(L, 6));
    stores_call call = call_to(engine, slot, ms, refuses_cache(L, 5));
    return stores__slot_started(L, slot, stores_find(engine->engine, &call, table, id));
}

/* engine:find_many(table, ids, timeout, cache, raw) */
static int engine_find_many(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    size_t count;
    int64_t *ids = stores__ids_check(L, 3, engine, &count);
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_DOCUMENTS,
                                                 lua_toboolean(L, 6));
    stores_call call = call_to(engine, slot, ms, refuses_cache(L, 5));
    return stores__slot_started(L, slot,
                                stores_find_many(engine->engine, &call, table, ids, count));
}

stores_change stores__change_check(lua_State *L, int index, const struct stores__lua_engine *engine,
                                   stores_params *params) {
    static const char *const kinds[] = {"insert", "update", "upsert", "delete", "modify", NULL};
    stores_change change = STORES_CHANGE_INIT;
    change.kind = (stores_change_kind)luaL_checkoption(L, index, NULL, kinds);
    change.table = stores__table_check(L, index + 1);
    change.id = stores__id_check(L, index + 2, engine);
    if (change.kind == STORES_MODIFY) {
        change.expr = luaL_checkstring(L, index + 7);
        *params = stores__params_check(L, index + 8);
        change.params = params;
    } else if (change.kind != STORES_DELETE) {
        change.json = stores__document_check(L, index + 3);
    }
    return change;
}

/* engine:write(kind, table, id, doc, timeout, cache, raw, expr, params) */
static int engine_write(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 6);
    bool no_cache = refuses_cache(L, 7), raw = lua_toboolean(L, 8);
    lua_settop(L, 10);
    stores_params params;
    stores_change change = stores__change_check(L, 2, engine, &params);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_CHANGE, raw);
    slot->commits = true;
    slot->id = change.id;
    stores_call call = call_to(engine, slot, ms, no_cache);
    return stores__slot_started(L, slot, stores_write(engine->engine, &call, &change));
}

/* engine:select(table, sql, params, timeout, raw, rows) */
static int engine_select(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2), *sql = luaL_checkstring(L, 3);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6), rows = lua_toboolean(L, 7);
    lua_settop(L, 7);
    stores_params params = stores__params_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, rows ? SLOT_ROWS : SLOT_SELECT,
                                                 raw);
    stores_call call = call_to(engine, slot, ms, true);
    return stores__slot_started(L, slot, stores_select(engine->engine, &call, table, sql, &params));
}

/* engine:query(sql, params, options, timeout, raw) */
static int engine_query(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *sql = luaL_checkstring(L, 2);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6);
    lua_settop(L, 6);
    stores_params params = stores__params_check(L, 3);
    stores_query_options options = stores__query_options_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_ROWS, raw);
    slot->commits = !options.readonly;
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot,
                                stores_query(engine->engine, &call, sql, &params, &options));
}

/* engine:replace(table, id, doc, expected, timeout, cache, raw): an update where the row still holds
 * the text that was read. */
static int engine_replace(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    stores_change change = STORES_CHANGE_INIT;
    lua_settop(L, 8);
    change.kind = STORES_UPDATE;
    change.table = stores__table_check(L, 2);
    change.id = stores__id_check(L, 3, engine);
    change.expected = luaL_checkstring(L, 5);
    change.want_document = true;
    uint64_t ms = stores__ms_check(L, 6);
    bool no_cache = refuses_cache(L, 7), raw = lua_toboolean(L, 8);
    change.json = stores__document_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_CHANGE, raw);
    slot->commits = true;
    slot->id = change.id;
    stores_call call = call_to(engine, slot, ms, no_cache);
    return stores__slot_started(L, slot, stores_write(engine->engine, &call, &change));
}

/* engine:invalidate(table, id or nil, timeout) */
static int engine_invalidate(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    bool row = !lua_isnoneornil(L, 3);
    int64_t id = row ? stores__id_check(L, 3, engine) : 0;
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_NOTHING, false);
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot,
                                stores_invalidate(engine->engine, &call, table, row ? &id : NULL));
}

/* engine:met() -> whether a server has told its clock, by which ids are made */
static int engine_met(lua_State *L) {
    lua_pushboolean(L, stores_has_met(stores__engine_check(L, 1)->engine));
    return 1;
}

/* engine:meet(timeout): waits until one has */
static int engine_meet(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 2);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_NOTHING, false);
    stores_call call = call_to(engine, slot, ms, true);
    return stores__slot_started(L, slot, stores_meet(engine->engine, &call));
}

/* engine:id() -> a new id, as text */
static int engine_id(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    int64_t id = stores_generate_id(engine->engine);
    if (id == 0) return stores__raise(L, STORES_INTERNAL, "the clock is out of the range of ids");
    stores__id_push(L, id);
    return 1;
}

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

static int engine_stats(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    lua_newtable(L);
    stores_stats(engine->engine, add_figure, L);
    const char *trouble = stores_redis_trouble(engine->engine);
    if (trouble[0] != '\0') {
        lua_pushstring(L, trouble);
        lua_setfield(L, -2, "redis_trouble");
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

/* engine:sweep(timeout) */
static int engine_sweep(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 2);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_COUNT, false);
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot, stores_sweep(engine->engine, &call));
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* core.engine(hub, config) -> engine */
int stores__engine_new_lua(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    stores_config config = STORES_CONFIG_INIT;
    stores_error error = STORES_ERROR_INIT;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    stores__config_check(L, 2, &config);
    config.loop = hub->loop;
    struct stores__lua_engine *engine = lua_newuserdata(L, sizeof *engine);
    memset(engine, 0, sizeof *engine);
    engine->type = STORES__ENGINE;
    stores__list_init(&engine->link);
    engine->hub = hub;
    engine->log_function = LUA_NOREF;
    config.log = stores__log_keep;
    config.log_arg = engine;
    engine->shard = config.shard_id;
    engine->shard_count = config.shard_count;
    luaL_getmetatable(L, STORES__ENGINE);
    lua_setmetatable(L, -2);
    /* the hub outlives its engines */
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, -2);
    lua_getfield(L, 2, "log");
    if (lua_isfunction(L, -1)) {
        engine->log_function = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
    engine->engine = stores_engine_new(&config, &error);
    if (engine->engine == NULL) {
        stores__error_push(L, &error);
        return lua_error(L);
    }
    stores__list_append(&hub->engines, &engine->link);
    stores_time_calls(engine->engine, hub->timed);
    stores__watch_engine(engine);
    hub->open++;
    return 1;
}

static void closed(void *arg) {
    struct stores__slot *slot = arg;
    slot->hub->open--;
    stores__slot_done(NULL, slot);
}

static void closed_unseen(void *arg) {
    struct stores__hub *hub = arg;
    hub->open--;
}

static stores_engine *detach(struct stores__lua_engine *engine) {
    stores_engine *core = engine->engine;
    engine->engine = NULL;
    stores__list_remove(&engine->link);
    return core;
}

/* engine:close() -> slot */
static int engine_close(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    struct stores__slot *slot = stores__slot_new(L, engine->hub, SLOT_NOTHING, false);
    stores__log_deliver(L, engine->hub);
    stores__log_drop(L, engine);
    stores_engine_close(detach(engine), closed, slot);
    lua_pushinteger(L, slot->index);
    return 1;
}

static int engine_gc(lua_State *L) {
    struct stores__lua_engine *engine = lua_touserdata(L, 1);
    /* in a child the sockets are the parent's: a farewell would end the parent's sessions */
    if (engine->engine == NULL || engine->hub->process != stores__process()) return 0;
    stores__log_drop(L, engine);
    stores_engine_close(detach(engine), closed_unseen, engine->hub);
    return 0;
}

static const luaL_Reg engine_methods[] = {{"find", engine_find},
                                          {"find_many", engine_find_many},
                                          {"write", engine_write},
                                          {"replace", engine_replace},
                                          {"select", engine_select},
                                          {"query", engine_query},
                                          {"invalidate", engine_invalidate},
                                          {"id", engine_id},
                                          {"met", engine_met},
                                          {"meet", engine_meet},
                                          {"tx", stores__tx_new_lua},
                                          {"listen", stores__listen_lua},
                                          {"stats", engine_stats},
                                          {"sweep", engine_sweep},
                                          {"close", engine_close},
                                          {NULL, NULL}};

void stores__engine_register(lua_State *L) {
    stores__type_register(L, STORES__ENGINE, engine_gc, engine_methods);
    lua_pushcfunction(L, stores__engine_new_lua);
    lua_setfield(L, -2, "engine");
}

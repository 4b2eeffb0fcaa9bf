/* engine.c - engines: the verbs that the core has, each starting a call. */
#include "store/engine.h"
#include "hub/messages.h"
#include "hub/waiters.h"
#include "values/args.h"

enum { GLANCE_WRITES = 16 }; /* between two looks at what they wait for */

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

/* Where it may be read from, at index: false: PostgreSQL alone; 'redis': not the memory. */
static stores_call call_from(lua_State *L, int index, struct stores__lua_engine *engine,
                             struct stores__slot *slot, uint64_t timeout_ms) {
    stores_call call = call_to(engine, slot, timeout_ms, stores__is_false(L, index));
    call.no_hold = lua_type(L, index) == LUA_TSTRING;
    return call;
}

/* Whether a replica may answer, at index, and behind it the token that it comes with, or nil. */
static void call_reads(lua_State *L, int index, stores_call *call) {
    if (lua_toboolean(L, index)) call->read = STORES_READ_REPLICA;
    if (!lua_isnoneornil(L, index + 1)) call->after_token = lua_tostring(L, index + 1);
}

/* engine:find(table, id, timeout, cache, raw, etag, unless, replica, token) */
static int engine_find(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    int64_t id = stores__id_check(L, 3, &engine->shard);
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_DOCUMENT, lua_toboolean(L, 6));
    stores__slot_find_etag(L, 7, slot);
    stores_call call = call_from(L, 5, engine, slot, ms);
    call_reads(L, 9, &call);
    return stores__slot_started(L, slot, stores_find(engine->engine, &call, table, id));
}

/* core.find_here(engine, table, id, raw) -> as stores__wait_here of the same; or as
 * stores__wait_apart, also where an argument is to be refused */
static int find_here(lua_State *L) {
    struct stores__lua_engine *engine = stores__userdata(L, 1, STORES__ENGINE, sizeof *engine);
    if (engine == NULL || !stores__waits_here(L, engine->hub) || lua_type(L, 2) != LUA_TSTRING ||
        lua_type(L, 3) != LUA_TSTRING) {
        return stores__wait_apart(L);
    }
    stores__engine_use(L, engine);
    const char *table = stores__table_check(L, 2);
    int64_t id = stores__id_check(L, 3, &engine->shard);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_DOCUMENT, lua_toboolean(L, 4));
    stores_call call = call_to(engine, slot, 0, false);
    stores__slot_started(L, slot, stores_find(engine->engine, &call, table, id));
    return stores__wait_here(L, slot);
}

/* engine:find_hinted(table, key, timeout, raw) */
static int engine_find_hinted(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    size_t len;
    const char *key = luaL_checklstring(L, 3, &len);
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_HINTED, lua_toboolean(L, 5));
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot,
                                stores_find_hinted(engine->engine, &call, table, key, len));
}

/* engine:hint(table, key, id or nil): nobody waits for it. An id of a view may be none. */
static int engine_hint(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    size_t len, id_len = 0;
    const char *key = luaL_checklstring(L, 3, &len);
    const char *text = luaL_optlstring(L, 4, NULL, &id_len);
    int64_t id = 0;
    if (text != NULL && !stores_id_parse(text, id_len, &id, NULL)) return 0;
    stores_hint(engine->engine, table, key, len, text != NULL ? &id : NULL);
    return 0;
}

/* engine:expires(table, path): of stores that may be closed by now, or the parent's. An array of
 * names; without one it is taken back. What there is no memory for lives as long as other rows. */
static int engine_expires(lua_State *L) {
    const struct stores__lua_engine *engine = luaL_checkudata(L, 1, STORES__ENGINE);
    const char *table = stores__table_check(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t count = lua_objlen(L, 3);
    if (engine->engine == NULL || engine->hub->process != stores__process()) return 0;
    const char **path = lua_newuserdata(L, (count + 1) * sizeof *path);
    luaL_checkstack(L, (int)count + 4, "a path");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        path[i] = luaL_checkstring(L, -1);
    }
    stores_expires(engine->engine, table, path, count);
    return 0;
}

/* engine:find_many(table, ids, timeout, cache, raw, replica, token) */
static int engine_find_many(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    size_t count;
    int64_t *ids = stores__ids_check(L, 3, &engine->shard, &count);
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_DOCUMENTS, lua_toboolean(L, 6));
    stores_call call = call_from(L, 5, engine, slot, ms);
    call_reads(L, 7, &call);
    return stores__slot_started(L, slot,
                                stores_find_many(engine->engine, &call, table, ids, count));
}

/* As stores__slot_started. Whoever starts many writes does not turn the loop meanwhile. */
static int write_started(lua_State *L, struct stores__lua_engine *engine, struct stores__slot *slot,
                         stores_op *op) {
    int values = stores__slot_started(L, slot, op);
    if (++engine->writes % GLANCE_WRITES == 0) stores_glance(engine->engine);
    return values;
}

/* engine:write(kind, table, id, doc, timeout, cache, raw, expr, params, if_match, etag, condition)
 */
static int engine_write(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 6);
    bool no_cache = stores__is_false(L, 7), raw = lua_toboolean(L, 8);
    lua_settop(L, 13);
    stores_params params;
    stores_change change = stores__change_check(L, 2, &engine->shard, &params);
    stores__change_condition(L, 13, &change, &params);
    lua_tostring(L, 11); /* a number becomes a text now, and not behind the document */
    stores__change_document(L, 5, &change);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_CHANGE, raw);
    stores__slot_write_etag(L, 11, &change, slot);
    slot->commits = true;
    slot->id = change.id;
    stores_call call = call_to(engine, slot, ms, no_cache);
    return write_started(L, engine, slot, stores_write(engine->engine, &call, &change));
}

/* engine:select(table, sql, params, timeout, raw, rows, most, places, replica, token) */
static int engine_select(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2), *sql = luaL_checkstring(L, 3);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6), rows = lua_toboolean(L, 7);
    int most = stores__most_check(L, 8);
    bool places = lua_toboolean(L, 9);
    lua_settop(L, 11);
    stores_params params = stores__params_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, rows ? SLOT_ROWS : SLOT_SELECT, raw);
    slot->most = most;
    slot->places = places;
    stores_call call = call_to(engine, slot, ms, true);
    call_reads(L, 10, &call);
    return stores__slot_started(L, slot, stores_select(engine->engine, &call, table, sql, &params));
}

/* engine:query(sql, params, options, timeout, raw); options may have read and after_token */
static int engine_query(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *sql = luaL_checkstring(L, 2);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6);
    lua_settop(L, 6);
    stores_params params = stores__params_check(L, 3);
    stores_query_options options = stores__query_options_check(L, 4);
    luaL_checkstack(L, 2, "options");
    lua_getfield(L, 4, "read");
    bool replica = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "replica") == 0;
    lua_getfield(L, 4, "after_token");
    const char *token = lua_tostring(L, -1);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_ROWS, raw);
    slot->commits = !options.readonly;
    stores_call call = call_to(engine, slot, ms, false);
    if (replica) call.read = STORES_READ_REPLICA;
    call.after_token = token;
    return stores__slot_started(L, slot,
                                stores_query(engine->engine, &call, sql, &params, &options));
}

/* engine:replace(table, id, doc, expected, timeout, cache, raw): an update where the row still
 * holds the text that was read. */
static int engine_replace(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    stores_change change = STORES_CHANGE_INIT;
    lua_settop(L, 8);
    change.kind = STORES_UPDATE;
    change.table = stores__table_check(L, 2);
    change.id = stores__id_check(L, 3, &engine->shard);
    change.expected = luaL_checkstring(L, 5);
    change.want_document = true;
    uint64_t ms = stores__ms_check(L, 6);
    bool no_cache = stores__is_false(L, 7), raw = lua_toboolean(L, 8);
    change.json = stores__document_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_CHANGE, raw);
    slot->commits = true;
    slot->id = change.id;
    stores_call call = call_to(engine, slot, ms, no_cache);
    return write_started(L, engine, slot, stores_write(engine->engine, &call, &change));
}

/* engine:invalidate(table, id or nil, timeout) */
static int engine_invalidate(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    bool row = !lua_isnoneornil(L, 3);
    int64_t id = row ? stores__id_check(L, 3, &engine->shard) : 0;
    uint64_t ms = stores__ms_check(L, 4);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_NOTHING, false);
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot,
                                stores_invalidate(engine->engine, &call, table, row ? &id : NULL));
}

/* engine:met() -> whether a server has told its clock, by which ids are made */
static int engine_met(lua_State *L) {
    lua_pushboolean(L, stores_has_met(stores__engine_check(L, 1)->engine));
    return 1;
}

/* engine:clock() -> seconds since 1970, by the server's clock where one has told it */
static int engine_clock(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    lua_pushnumber(L, (lua_Number)stores_unix_ms(engine->engine) / 1000);
    return 1;
}

/* engine:expect_cluster(id): which one all of the shards are of */
static int engine_expect_cluster(lua_State *L) {
    stores_expect_cluster(stores__engine_check(L, 1)->engine, luaL_checkstring(L, 2));
    return 0;
}

/* engine:meet(timeout): waits until one has */
static int engine_meet(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 2);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_NOTHING, false);
    stores_call call = call_to(engine, slot, ms, true);
    return stores__slot_started(L, slot, stores_meet(engine->engine, &call));
}

enum { OWNER_TRIES = 4096 }; /* ids that a strategy of a caller's own is asked about */

/* engine:id(any) -> a new id, as text; by a strategy of a caller's own it may be of any shard */
static int engine_id(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    bool any = lua_toboolean(L, 2);
    for (int try = 0; try < OWNER_TRIES; try++) {
        int64_t id = stores_generate_id(engine->engine);
        if (id == 0) {
            return stores__raise(L, STORES_INTERNAL, "the clock is out of the range of ids");
        }
        /* of a modulo the engine makes its own alone */
        if (!any && engine->shard.owner != LUA_NOREF &&
            stores__id_owner(L, id, &engine->shard) != engine->shard.number) {
            continue;
        }
        stores__id_push(L, id);
        return 1;
    }
    return stores__raise(L, STORES_UNSUPPORTED,
                         "of %d ids that were made the strategy gives none to shard %d: say the id",
                         OWNER_TRIES, engine->shard.number);
}

/* engine:sweep(timeout) */
static int engine_sweep(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint64_t ms = stores__ms_check(L, 2);
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_COUNT, false);
    stores_call call = call_to(engine, slot, ms, false);
    return stores__slot_started(L, slot, stores_sweep(engine->engine, &call));
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* core.engine(hub, config) -> engine */
static int engine_new(lua_State *L) {
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
    engine->shard.number = config.shard_id;
    engine->shard.count = config.shard_count;
    engine->shard.owner = LUA_NOREF;
    stores__type_give(L, STORES__ENGINE, 1); /* the hub outlives its engines */
    lua_getfield(L, 2, "log");
    if (lua_isfunction(L, -1)) {
        engine->log_function = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
    lua_getfield(L, 2, "shard_owner");
    if (lua_isfunction(L, -1)) {
        engine->shard.owner = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
    engine->engine = stores_engine_new(&config, &error);
    if (engine->engine == NULL) {
        stores__engine_mute(L, engine);
        stores__error_push(L, &error);
        return stores__error_throw(L);
    }
    stores__engine_attach(engine);
    stores__watch_engine(engine);
    return 1;
}

static void closed(void *arg) {
    struct stores__slot *slot = arg;
    slot->hub->open--;
    stores__slot_done(NULL, slot);
}

/* engine:close() -> slot */
static int engine_close(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    stores__messages_tell(L, engine->hub);
    stores__engine_check(L, 1); /* a log function may have closed it */
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_NOTHING, false);
    stores_engine_close(stores__engine_detach(L, engine), closed, slot);
    lua_pushinteger(L, slot->index);
    return 1;
}

static int engine_gc(lua_State *L) {
    struct stores__lua_engine *engine = lua_touserdata(L, 1);
    /* in a child the sockets are the parent's: a farewell would end the parent's sessions */
    if (engine->engine == NULL || engine->hub->process != stores__process()) return 0;
    stores__engine_drop(L, engine);
    return 0;
}

static const luaL_Reg engine_methods[] = {{"find", engine_find},
                                          {"find_many", engine_find_many},
                                          {"find_hinted", engine_find_hinted},
                                          {"hint", engine_hint},
                                          {"expires", engine_expires},
                                          {"write", engine_write},
                                          {"replace", engine_replace},
                                          {"select", engine_select},
                                          {"query", engine_query},
                                          {"invalidate", engine_invalidate},
                                          {"id", engine_id},
                                          {"met", engine_met},
                                          {"meet", engine_meet},
                                          {"expect_cluster", engine_expect_cluster},
                                          {"clock", engine_clock},
                                          {"sweep", engine_sweep},
                                          {"close", engine_close},
                                          {NULL, NULL}};

void stores__engine_register(lua_State *L) {
    stores__type_register(L, STORES__ENGINE, engine_gc, engine_methods);
    lua_pushcfunction(L, engine_new);
    lua_setfield(L, -2, "engine");
    lua_pushcfunction(L, find_here);
    lua_setfield(L, -2, "find_here");
}

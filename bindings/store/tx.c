/* tx.c - transactions, one connection each. A tx that is collected while it is open is rolled
 * back. */
#include "store/engine.h"
#include "values/args.h"

struct lua_tx {
    const void *type;
    stores_tx *tx; /* NULL: given up */
    struct stores__lua_engine *engine;
};

static struct lua_tx *check_tx(lua_State *L, int index) {
    struct lua_tx *tx = stores__userdata(L, index, STORES__TX, sizeof *tx);
    if (tx == NULL) tx = luaL_checkudata(L, index, STORES__TX);
    if (tx->engine->hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "the transaction belongs to the process before the fork");
    }
    if (tx->engine->engine == NULL) stores__raise(L, STORES_CLOSED, "the store is closed");
    if (tx->tx == NULL) stores__raise(L, STORES_TX_ENDED, "the transaction is over");
    stores__engine_take_told(tx->engine);
    return tx;
}

/* engine:tx(options, seconds that it may take) -> tx */
static int tx_new(lua_State *L) {
    static const char *const levels[] = {"read committed", "repeatable read", "serializable", NULL};
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    stores_tx_options options = STORES_TX_OPTIONS_INIT;
    options.timeout_ms = stores__ms_check(L, 3);
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "isolation");
        options.isolation = (stores_isolation)luaL_checkoption(L, -1, levels[0], levels);
        lua_getfield(L, 2, "readonly");
        options.readonly = lua_toboolean(L, -1);
        lua_getfield(L, 2, "session");
        options.session = lua_toboolean(L, -1);
        lua_getfield(L, 2, "close");
        options.close = lua_toboolean(L, -1);
        lua_pop(L, 4);
    }
    struct lua_tx *tx = lua_newuserdata(L, sizeof *tx);
    memset(tx, 0, sizeof *tx);
    tx->type = STORES__TX;
    tx->engine = engine;
    stores__type_give(L, STORES__TX, 1);
    stores__engine_open(L, engine);
    tx->tx = stores_tx_new(engine->engine, &options);
    if (tx->tx == NULL) return stores__raise(L, STORES_NO_MEMORY, "no memory for a transaction");
    return 1;
}

static stores_call new_call(lua_State *L, struct lua_tx *tx, enum stores__slot_kind kind, bool raw,
                            uint64_t ms, struct stores__slot **slot) {
    *slot = stores__engine_slot(L, tx->engine, kind, raw);
    stores_call call = {.size = sizeof call,
                        .timeout_ms = ms,
                        .inside = tx->engine->inside,
                        .cb = stores__slot_done,
                        .arg = *slot};
    return call;
}

/* tx:find(table, id, timeout, lock, raw, etag, unless) */
static int tx_find(lua_State *L) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    const char *table = stores__table_check(L, 2);
    int64_t id = stores__id_check(L, 3, &tx->engine->shard);
    uint64_t ms = stores__ms_check(L, 4);
    bool lock = lua_toboolean(L, 5);
    stores_call call = new_call(L, tx, SLOT_DOCUMENT, lua_toboolean(L, 6), ms, &slot);
    stores__slot_find_etag(L, 7, slot);
    return stores__slot_started(L, slot, stores_tx_find(tx->tx, &call, table, id, lock));
}

/* tx:find_many(table, ids, timeout, raw) */
static int tx_find_many(lua_State *L) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    const char *table = stores__table_check(L, 2);
    uint64_t ms = stores__ms_check(L, 4);
    bool raw = lua_toboolean(L, 5);
    size_t count;
    int64_t *ids = stores__ids_check(L, 3, &tx->engine->shard, &count);
    stores_call call = new_call(L, tx, SLOT_DOCUMENTS, raw, ms, &slot);
    return stores__slot_started(L, slot, stores_tx_find_many(tx->tx, &call, table, ids, count));
}

/* tx:write(kind, table, id, doc, timeout, cache, raw, expr, params, commit, give the document,
 * if_match, etag) */
static int tx_write(lua_State *L) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    uint64_t ms = stores__ms_check(L, 6);
    bool no_cache = stores__is_false(L, 7), raw = lua_toboolean(L, 8);
    bool commit = lua_toboolean(L, 11);
    bool give = commit || lua_toboolean(L, 12);
    lua_settop(L, 14);
    stores_params params;
    stores_change change = stores__change_check(L, 2, &tx->engine->shard, &params);
    change.want_document = give;
    lua_tostring(L, 13); /* a number becomes a text now, and not behind the document */
    stores__change_document(L, 5, &change);
    stores_call call = new_call(L, tx, SLOT_CHANGE, raw, ms, &slot);
    stores__slot_write_etag(L, 13, &change, slot);
    call.no_cache = no_cache;
    slot->commits = commit;
    slot->id = change.id;
    return stores__slot_started(L, slot, stores_tx_write(tx->tx, &call, &change, commit));
}

/* tx:select(table, sql, params, timeout, raw, rows, most) */
static int tx_select(lua_State *L) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    const char *table = stores__table_check(L, 2), *sql = luaL_checkstring(L, 3);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6), rows = lua_toboolean(L, 7);
    int most = stores__most_check(L, 8);
    lua_settop(L, 8);
    stores_params params = stores__params_check(L, 4);
    stores_call call = new_call(L, tx, rows ? SLOT_ROWS : SLOT_SELECT, raw, ms, &slot);
    slot->most = most;
    return stores__slot_started(L, slot, stores_tx_select(tx->tx, &call, table, sql, &params));
}

/* tx:bulk(kind, table, sql, params, timeout, data, ids) */
static int tx_bulk(lua_State *L) {
    static const char *const kinds[] = {"insert", "update", "upsert", "delete", NULL};
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    stores_bulk bulk = STORES_BULK_INIT;
    bulk.kind = (stores_change_kind)luaL_checkoption(L, 2, NULL, kinds);
    bulk.table = stores__table_check(L, 3);
    bulk.sql = luaL_checkstring(L, 4);
    uint64_t ms = stores__ms_check(L, 6);
    lua_settop(L, 8);
    stores_params params = stores__params_check(L, 5);
    bulk.params = &params;
    if (!lua_isnil(L, 7)) {
        bulk.data = luaL_checklstring(L, 7, &bulk.len);
        bulk.ids = stores__ids_check(L, 8, &tx->engine->shard, &bulk.id_count);
    }
    stores_call call = new_call(L, tx, SLOT_COLUMNS, false, ms, &slot);
    return stores__slot_started(L, slot, stores_tx_bulk(tx->tx, &call, &bulk));
}

/* tx:query(sql, params, options, timeout, raw) */
static int tx_query(lua_State *L) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    const char *sql = luaL_checkstring(L, 2);
    uint64_t ms = stores__ms_check(L, 5);
    bool raw = lua_toboolean(L, 6);
    lua_settop(L, 6);
    stores_params params = stores__params_check(L, 3);
    stores_query_options options = stores__query_options_check(L, 4);
    stores_call call = new_call(L, tx, SLOT_ROWS, raw, ms, &slot);
    return stores__slot_started(L, slot, stores_tx_query(tx->tx, &call, sql, &params, &options));
}

static int plain(lua_State *L, stores_op *(*start)(stores_tx *tx, const stores_call *call)) {
    struct lua_tx *tx = check_tx(L, 1);
    struct stores__slot *slot;
    stores_call call = new_call(L, tx, SLOT_NOTHING, false, stores__ms_check(L, 2), &slot);
    return stores__slot_started(L, slot, start(tx->tx, &call));
}

static int tx_savepoint(lua_State *L) {
    return plain(L, stores_tx_savepoint);
}

static int tx_release(lua_State *L) {
    return plain(L, stores_tx_release);
}

static int tx_rollback_to(lua_State *L) {
    return plain(L, stores_tx_rollback_to);
}

static int tx_commit(lua_State *L) {
    return plain(L, stores_tx_commit);
}

static int tx_rollback(lua_State *L) {
    return plain(L, stores_tx_rollback);
}

/* tx:free(): gives it up; an open one is rolled back in the background. Harmless again. */
static int tx_free(lua_State *L) {
    struct lua_tx *tx = luaL_checkudata(L, 1, STORES__TX);
    if (tx->tx == NULL || tx->engine->hub->process != stores__process()) return 0;
    stores_tx *core = tx->tx;
    tx->tx = NULL;
    if (tx->engine->told == core) tx->engine->told = NULL;
    if (tx->engine->inside == core) tx->engine->inside = NULL;
    stores_tx_free(core);
    return 0;
}

/* tx:inside(): the next method of the engine, or of a tx of it, is called by who holds this tx. */
static int tx_inside(lua_State *L) {
    struct lua_tx *tx = luaL_checkudata(L, 1, STORES__TX);
    tx->engine->told = tx->tx;
    return 0;
}

/* tx:levels() -> of how many levels the server holds the locks; nil: it is over */
static int tx_levels(lua_State *L) {
    const struct lua_tx *tx = luaL_checkudata(L, 1, STORES__TX);
    int levels = tx->tx == NULL || tx->engine->engine == NULL ? -1 : stores_tx_levels(tx->tx);
    if (levels < 0) return 0;
    lua_pushnumber(L, levels);
    return 1;
}

static const luaL_Reg tx_methods[] = {
    {"find", tx_find},           {"find_many", tx_find_many}, {"write", tx_write},
    {"select", tx_select},       {"query", tx_query},         {"bulk", tx_bulk},
    {"savepoint", tx_savepoint}, {"release", tx_release},     {"rollback_to", tx_rollback_to},
    {"commit", tx_commit},       {"rollback", tx_rollback},   {"inside", tx_inside},
    {"levels", tx_levels},       {"free", tx_free},           {NULL, NULL}};

static const luaL_Reg engine_methods[] = {{"tx", tx_new}, {NULL, NULL}};

void stores__tx_register(lua_State *L) {
    stores__type_register(L, STORES__TX, tx_free, tx_methods);
    stores__type_extend(L, STORES__ENGINE, engine_methods);
}

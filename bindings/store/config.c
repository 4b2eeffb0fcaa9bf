/* config.c - the flat table of lua/stores/config/tables.lua as a stores_config. */
#include <limits.h>

#include "store/engine.h"
#include "values/args.h"

/* Leaves the value on the stack, which anchors its string. NULL: it is nil. */
static const char *text_of(lua_State *L, int table, const char *key) {
    luaL_checkstack(L, 4, "options");
    lua_getfield(L, table, key);
    return lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
}

static bool number_of(lua_State *L, int table, const char *key, double *value) {
    lua_getfield(L, table, key);
    bool there = !lua_isnil(L, -1);
    if (there) *value = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return there;
}

static bool true_of(lua_State *L, int table, const char *key) {
    lua_getfield(L, table, key);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static void ms_of(lua_State *L, int table, const char *key, uint64_t *ms) {
    double seconds;
    if (number_of(L, table, key, &seconds)) *ms = stores__ms_of(seconds);
}

static void int_of(lua_State *L, int table, const char *key, int *out) {
    double value;
    if (!number_of(L, table, key, &value)) return;
    if (!(value >= INT_MIN && value <= INT_MAX)) {
        stores__raise(L, STORES_INVALID_OPTION, "%s is out of range", key);
    }
    *out = (int)value;
}

/* Every pair of the table pg is a keyword of libpq. Their strings are the table's. */
static void pg_keywords(lua_State *L, int pg, const char *const **pg_keys,
                        const char *const **pg_values) {
    int count = 0;
    for (lua_pushnil(L); lua_next(L, pg); lua_pop(L, 1)) count++;
    const char **keys = lua_newuserdata(L, ((size_t)count + 1) * 2 * sizeof *keys);
    const char **values = keys + count + 1;
    memset(keys, 0, ((size_t)count + 1) * 2 * sizeof *keys);
    int i = 0;
    for (lua_pushnil(L); lua_next(L, pg); lua_pop(L, 1), i++) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
            stores__raise(L, STORES_INVALID_OPTION, "libpq's keywords and values are strings");
        }
        keys[i] = lua_tostring(L, -2);
        values[i] = lua_tostring(L, -1);
    }
    *pg_keys = keys;
    *pg_values = values;
}

/* Left on the stack: what it points to. */
static void replica_options(lua_State *L, int index, stores_config *config) {
    luaL_checkstack(L, 4, "options");
    lua_getfield(L, index, "replicas");
    if (lua_isnil(L, -1)) return;
    luaL_checktype(L, -1, LUA_TTABLE);
    int list = lua_gettop(L);
    size_t count = lua_objlen(L, list);
    const stores_replica **replicas = lua_newuserdata(L, (count + 1) * sizeof *replicas);
    stores_replica *all = lua_newuserdata(L, (count + 1) * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        luaL_checkstack(L, 6, "replicas");
        lua_rawgeti(L, list, (int)i + 1); /* both stay, and anchor what they have */
        lua_getfield(L, -1, "pg");
        luaL_checktype(L, -1, LUA_TTABLE);
        all[i] = (stores_replica)STORES_REPLICA_INIT;
        int_of(L, lua_gettop(L) - 1, "poolsize", &all[i].poolsize);
        pg_keywords(L, lua_gettop(L), &all[i].pg_keys, &all[i].pg_values);
        replicas[i] = &all[i];
    }
    replicas[count] = NULL;
    config->replicas = replicas;
}

/* NULL: none is asked for. Left on the stack, which anchors it and its strings. */
static const stores_tls *tls_options(lua_State *L, int redis) {
    luaL_checkstack(L, 4, "options");
    lua_getfield(L, redis, "tls");
    if (!lua_toboolean(L, -1)) return NULL;
    bool table = lua_istable(L, -1);
    int options = lua_gettop(L);
    stores_tls *tls = lua_newuserdata(L, sizeof *tls);
    *tls = (stores_tls)STORES_TLS_INIT;
    if (!table) return tls;
    tls->ca = text_of(L, options, "ca");
    tls->cert = text_of(L, options, "cert");
    tls->key = text_of(L, options, "key");
    tls->server_name = text_of(L, options, "server_name");
    lua_getfield(L, options, "verify");
    tls->no_verify = stores__is_false(L, -1);
    return tls;
}

/* An array of strings as C has it, ended by NULL, on the stack. NULL: there is none. */
static const char *const *texts_of(lua_State *L, int table, const char *key) {
    luaL_checkstack(L, 4, "options");
    lua_getfield(L, table, key);
    if (lua_isnil(L, -1)) return NULL;
    luaL_checktype(L, -1, LUA_TTABLE);
    int list = lua_gettop(L);
    size_t count = lua_objlen(L, list);
    const char **texts = lua_newuserdata(L, (count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            stores__raise(L, STORES_INVALID_OPTION, "%s is a list of strings", key);
        }
        texts[i] = lua_tostring(L, -1); /* the list, which stays on the stack, anchors it */
        lua_pop(L, 1);
    }
    texts[count] = NULL;
    return texts;
}

static void sentinel_options(lua_State *L, int redis, stores_config *config) {
    config->redis_sentinels = texts_of(L, redis, "sentinels");
    if (config->redis_sentinels == NULL) return;
    config->redis_master = text_of(L, redis, "master");
    lua_getfield(L, redis, "sentinel_opts");
    if (!lua_istable(L, -1)) return;
    int opts = lua_gettop(L);
    config->sentinel_username = text_of(L, opts, "username");
    config->sentinel_password = text_of(L, opts, "password");
    config->sentinel_tls = tls_options(L, opts);
}

static void redis_options(lua_State *L, int redis, stores_config *config) {
    const char *host = text_of(L, redis, "host");
    if (host != NULL) config->redis_host = host;
    config->redis_path = text_of(L, redis, "path");
    config->redis_username = text_of(L, redis, "username");
    config->redis_password = text_of(L, redis, "password");
    int_of(L, redis, "port", &config->redis_port);
    int_of(L, redis, "db", &config->redis_db);
    ms_of(L, redis, "timeout", &config->redis_timeout_ms);
    ms_of(L, redis, "connect_timeout", &config->redis_connect_timeout_ms);
    double keepalive;
    if (number_of(L, redis, "keepalive", &keepalive)) {
        config->redis_keepalive_ms = keepalive == 0 ? UINT64_MAX : stores__ms_of(keepalive);
    }
    config->redis_tls = tls_options(L, redis);
    sentinel_options(L, redis, config);
    config->redis_cluster = texts_of(L, redis, "cluster");
}

void stores__config_check(lua_State *L, int index, stores_config *config) {
    lua_getfield(L, index, "pg");
    luaL_checktype(L, -1, LUA_TTABLE);
    pg_keywords(L, lua_gettop(L), &config->pg_keys, &config->pg_values);
    replica_options(L, index, config);
    ms_of(L, index, "max_lag", &config->max_lag_ms);
    config->after_token = text_of(L, index, "after_token");
    lua_getfield(L, index, "redis");
    bool redis = lua_istable(L, -1);
    if (redis) redis_options(L, lua_gettop(L), config);
    config->no_cache = !redis || !true_of(L, index, "cache");
    int_of(L, index, "poolsize", &config->poolsize);
    int_of(L, index, "max_waiters", &config->max_waiters);
    int_of(L, index, "shard_id", &config->shard_id);
    int_of(L, index, "shard_count", &config->shard_count);
    config->shard_strategy = text_of(L, index, "shard_strategy");
    config->shard_cluster = text_of(L, index, "shard_cluster");
    config->any_shard = true_of(L, index, "any_shard");
    ms_of(L, index, "connect_timeout", &config->connect_timeout_ms);
    ms_of(L, index, "statement_timeout", &config->statement_timeout_ms);
    ms_of(L, index, "acquire_timeout", &config->acquire_timeout_ms);
    ms_of(L, index, "timeout", &config->timeout_ms);
    ms_of(L, index, "breaker", &config->breaker_ms);
    int_of(L, index, "min_idle", &config->min_idle);
    ms_of(L, index, "idle_timeout", &config->idle_timeout_ms);
    ms_of(L, index, "max_age", &config->max_age_ms);
    ms_of(L, index, "ping_after", &config->ping_after_ms);
    config->on_connect = text_of(L, index, "on_connect");
    ms_of(L, index, "ttl", &config->ttl_ms);
    ms_of(L, index, "negative_ttl", &config->negative_ttl_ms);
    double hold_bytes;
    if (number_of(L, index, "hold_bytes", &hold_bytes)) config->hold_bytes = (size_t)hold_bytes;
    ms_of(L, index, "hold_lease", &config->hold_lease_ms);
    config->prefix = text_of(L, index, "prefix");
    const char *pooler = text_of(L, index, "pooler");
    config->transaction_pooler = pooler != NULL && strcmp(pooler, "transaction") == 0;
    const char *failure = text_of(L, index, "on_cache_failure");
    if (failure != NULL && strcmp(failure, "error") == 0) {
        config->on_cache_failure = STORES_CACHE_FAILURE_ERROR;
    }
    const char *flake = text_of(L, index, "flake");
    config->simpleflake = flake != NULL && strcmp(flake, "simpleflake") == 0;
    config->unsafe_eviction = true_of(L, index, "unsafe_eviction");
    lua_getfield(L, index, "segment");
    config->no_segments = stores__is_false(L, -1);
}

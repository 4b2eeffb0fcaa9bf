#include "engine/options.h"

#include "base/place.h"
#include "base/sized.h"
#include "engine/table.h"

enum { MOST_OF_A_NAME = STORES__PG_SHARD_NAME - 1 };

static bool check_tls(const stores_tls *tls, const char *path, stores_error *error) {
    stores_tls own;

    if (tls == NULL) return true;
    tls = stores__tls_given(tls, &own, error);
    if (tls == NULL) return false;
    if (path != NULL) {
        stores__error_set(error, STORES_INVALID_OPTION, "there is no TLS on a unix socket");
    } else if (tls->key != NULL && tls->cert == NULL) {
        stores__error_set(error, STORES_INVALID_OPTION, "a key for TLS needs its cert");
    } else {
        return true;
    }
    return false;
}

static bool check_sentinels(const stores_config *config, stores_error *error) {
    if (config->redis_sentinels == NULL) return true;
    struct stores__place place;
    for (const char *const *at = config->redis_sentinels; *at != NULL; at++) {
        if (!stores__place_read(*at, 1, &place)) {
            stores__error_set(error, STORES_INVALID_OPTION,
                              "a sentinel is said as \"host:port\", not as \"%.100s\"", *at);
            return false;
        }
    }
    if (config->redis_sentinels[0] == NULL) {
        stores__error_set(error, STORES_INVALID_OPTION, "redis_sentinels names none");
    } else if (config->redis_master == NULL || config->redis_master[0] == '\0') {
        stores__error_set(error, STORES_INVALID_OPTION, "sentinels are asked for redis_master");
    } else {
        return true;
    }
    return false;
}

static bool check(const stores_config *config, stores_error *error) {
    if (config->pg_keys != NULL && config->pg_values == NULL) {
        stores__error_set(error, STORES_INVALID_OPTION, "pg_keys come with pg_values");
    } else if (config->poolsize < 1) {
        stores__error_set(error, STORES_INVALID_OPTION, "poolsize is at least 1");
    } else if ((unsigned)config->on_cache_failure > STORES_CACHE_FAILURE_ERROR) {
        stores__error_set(error, STORES_INVALID_OPTION, "on_cache_failure has no value %d",
                          (int)config->on_cache_failure);
    } else if (config->shard_count > 0 &&
               (config->shard_id < 0 || config->shard_id >= config->shard_count)) {
        stores__error_set(error, STORES_INVALID_OPTION, "shard_id is from 0 to shard_count - 1");
    } else if ((config->shard_strategy && strlen(config->shard_strategy) > MOST_OF_A_NAME) ||
               (config->shard_cluster && strlen(config->shard_cluster) > MOST_OF_A_NAME)) {
        stores__error_set(error, STORES_INVALID_OPTION,
                          "shard_strategy and shard_cluster have %d bytes at most", MOST_OF_A_NAME);
    } else if (config->hold_lease_ms != 0 && (config->hold_lease_ms < STORES__LEASE_LEAST_MS ||
                                              config->hold_lease_ms > STORES__LEASE_MOST_MS)) {
        stores__error_set(error, STORES_INVALID_OPTION, "hold_lease_ms is from %d to %d",
                          STORES__LEASE_LEAST_MS, STORES__LEASE_MOST_MS);
    } else {
        return check_sentinels(config, error);
    }
    return false;
}

/* What is zero has its default; connect_timeout and statement_timeout have libpq's sources
 * first. */
static void fill_defaults(stores_config *config) {
#define DEFAULT(field, value)                                                                      \
    if (config->field == 0) config->field = value
    DEFAULT(poolsize, 10);
    DEFAULT(hold_lease_ms, STORES__LEASE_MS);
    DEFAULT(acquire_timeout_ms, 5 * 1000);
    DEFAULT(timeout_ms, 30 * 1000);
    DEFAULT(idle_timeout_ms, 60 * 1000);
    DEFAULT(max_age_ms, 30 * 60 * 1000);
    DEFAULT(ping_after_ms, 30 * 1000);
    DEFAULT(redis_host, "127.0.0.1");
    DEFAULT(redis_port, 6379);
    DEFAULT(redis_timeout_ms, 50);
    DEFAULT(redis_connect_timeout_ms, 1000);
    DEFAULT(redis_keepalive_ms, 30 * 1000);
    DEFAULT(ttl_ms, 10 * 60 * 1000);
    DEFAULT(negative_ttl_ms, 10 * 1000);
#undef DEFAULT
}

/* Times are added to the clock, or go to the servers, which take no more: so long is without
 * end. */
static void limit_times(stores_config *config) {
    static const uint64_t most = UINT64_C(1000000000000000), most_of_postgres = 2000000000;
#define LIMIT(field, ms)                                                                           \
    if (config->field > (ms)) config->field = (ms)
    LIMIT(connect_timeout_ms, most);
    LIMIT(statement_timeout_ms, most_of_postgres);
    LIMIT(acquire_timeout_ms, most);
    LIMIT(timeout_ms, most);
    LIMIT(idle_timeout_ms, most);
    LIMIT(max_age_ms, most);
    LIMIT(ping_after_ms, most);
    LIMIT(redis_timeout_ms, most);
    LIMIT(redis_connect_timeout_ms, most);
    LIMIT(redis_keepalive_ms, most);
    LIMIT(ttl_ms, most);
    LIMIT(breaker_ms, most);
    LIMIT(negative_ttl_ms, most);
#undef LIMIT
}

bool stores__options_take(const stores_config *given, stores_config *own, stores_error *error) {
    const stores_config *known = stores__config_given(given, own, error);
    if (known == NULL) return false;
    if (known != own) *own = *known;
    fill_defaults(own);
    limit_times(own);
    if (!check(own, error)) return false;
    return own->no_cache || (check_tls(own->redis_tls, own->redis_path, error) &&
                             check_tls(own->sentinel_tls, NULL, error));
}

void stores__options_keep(stores_engine *engine, const stores_config *config) {
    stores_config *own = &engine->config;
    *own = *config;
    own->pg_keys = own->pg_values = NULL;
    own->redis_host = own->redis_path = own->redis_username = own->redis_password = NULL;
    own->prefix = own->on_connect = NULL;
    own->redis_tls = own->sentinel_tls = NULL;
    own->redis_sentinels = NULL;
    own->redis_master = own->sentinel_username = own->sentinel_password = NULL;
    own->redis_cluster = NULL;
    own->shard_strategy = own->shard_cluster = NULL;
}

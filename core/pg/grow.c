/* Opening connections, one at a time, with a back-off where that fails. */
#include "pg/options.h"
#include "pg/pool_internal.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 1000 };

uint64_t stores__pool_jitter(uint64_t ms) {
    return ms - ms / 10 + stores__random_u64() % (ms / 5 + 1);
}

void stores__pool_attempt_failed(struct stores__pg_pool *pool, const stores_error *error) {
    uint64_t wait = BACKOFF_FIRST_MS;
    for (int i = 0; i < pool->failures && wait < BACKOFF_MAX_MS; i++) wait *= 2;
    if (wait > BACKOFF_MAX_MS) wait = BACKOFF_MAX_MS;
    pool->failures++;
    pool->common.stats.connect_failures++;
    pool->last_error = *error;
    stores__timer_set(pool->timers, &pool->retry, uv_now(pool->loop) + stores__pool_jitter(wait));
    int open = stores__pg_open_count(pool);
    if (open > 0) {
        /* the server has no room: those that live must do, until one of them goes */
        if (strcmp(error->sqlstate, "53300") == 0) pool->limit = open;
    } else {
        stores__pool_fail_waits(pool, error);
    }
}

struct stores__pg_conn *stores__pool_connect(struct stores__pg_pool *pool,
                                             struct stores__pg_target *target,
                                             enum stores__pg_place place) {
    struct stores__pg_conn *conn = target ? calloc(1, sizeof *conn) : NULL;
    if (conn != NULL) {
        uint64_t now = uv_now(pool->loop);
        conn->pool = pool;
        conn->common = &pool->common;
        conn->serial = ++pool->next_serial;
        conn->place = place;
        conn->retire_at = now + stores__pool_jitter(pool->age_ms);
        conn->with_options = pool->common.params.settings == NULL;
        if (stores__pg_conn_start(conn, pool->loop, pool->timers, target, pool->connect_timeout_ms,
                                  pool->pooler)) {
            pool->counts[place]++;
            stores__list_append(&pool->places[place], &conn->link);
            return conn;
        }
    }
    free(conn);
    stores__pg_target_free(target);
    return NULL;
}

static void resolved(void *arg, struct stores__pg_target *target, const char *why) {
    struct stores__pg_pool *pool = arg;
    stores_error error;
    pool->resolving = NULL;
    if (stores__pool_connect(pool, target, STORES__PG_CONNECTING) != NULL) return;
    stores__error_set(&error, STORES_CONNECT_FAILED, "%s", why ? why : "no memory to connect");
    stores__pool_attempt_failed(pool, &error);
}

void stores__pool_grow(struct stores__pg_pool *pool) {
    if (pool->closing || pool->resolving || pool->counts[STORES__PG_CONNECTING] > 0) return;
    if (stores__timer_armed(&pool->retry)) return; /* a server that is down is not hammered */
    if (stores__pg_open_count(pool) >= pool->limit) return;
    pool->resolving = stores__pg_resolve(pool->loop, &pool->common.params, pool->failures, resolved,
                                         pool);
    if (pool->resolving == NULL) {
        stores_error error;
        stores__error_set(&error, STORES_NO_MEMORY, "no memory to connect");
        stores__pool_attempt_failed(pool, &error);
    }
}

void stores__pool_retry(struct stores__timer *timer) {
    struct stores__pg_pool *pool = STORES__CONTAINER(timer, struct stores__pg_pool, retry);
    pool->limit = pool->size;
    pool->serve(pool);
}

bool stores__pool_unoption(const struct stores__pg_conn *conn, stores_error *error) {
    struct stores__pg_pool *pool = conn->pool;
    if (pool->pooler || !stores__pg_options_refused(error->sqlstate)) return false;
    if (conn->with_options && pool->common.params.settings != NULL)
        return true; /* another one was first */
    if (stores__pg_params_unoption(&pool->common.params)) return true;
    error->retryable = false;
    strcpy(error->hint, "what stands before the server refuses a start-up option: see PGOPTIONS,"
                        " db.params.options and the pooler's ignore_startup_parameters; a pooler"
                        " of transactions needs pooler = 'transaction'");
    return false;
}

/* The life of a pool: how it opens and closes, and what it does when a connection of its own comes,
 * fails or is lost. The one file that knows all the others of the pool. */
#include "pg/pool_internal.h"

/* ---- What its connections tell --------------------------------------------------------------- */

static void dropped(struct stores__pg_conn *conn) {
    if (conn->pool->dropped != NULL) conn->pool->dropped(conn->pool->arg);
}

static void ready(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    pool->failures = 0;
    pool->last_error.code = STORES_OK;
    pool->common.stats.connects++;
    if (pool->looked_at == 0) pool->looked_at = uv_now(pool->loop); /* it has just looked itself */
    if (conn->aside == NULL) stores__pool_move(conn, STORES__PG_IDLE);
    pool->connected(pool->arg, conn);
    if (pool->counts[STORES__PG_IDLE] < pool->min_idle) stores__pool_grow(pool);
    if (!stores__timer_armed(&pool->reaper)) {
        stores__timer_set(pool->timers, &pool->reaper, uv_now(pool->loop) + pool->reap_ms);
    }
    if (conn->aside != NULL) stores__pool_aside_ready(conn);
    stores__pool_serve(pool);
}

static void failed(struct stores__pg_conn *conn, const stores_error *error) {
    struct stores__pg_pool *pool = conn->pool;
    stores_error copy = *error;
    if (conn->aside != NULL) {
        stores__pool_aside_failed(conn, error);
        return;
    }
    bool again = stores__pool_unoption(conn, &copy);
    stores__pg_discard(conn);
    if (pool->closing) return;
    if (again) {
        stores__pool_grow(pool);
        return;
    }
    stores__pool_attempt_failed(pool, &copy);
}

static void lost(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    bool connecting = conn->place == STORES__PG_CONNECTING;
    if (!connecting) {
        pool->common.stats.lost++;
        /* what ended this one may have ended the others, and a read has few tries */
        pool->doubted_at = uv_now(pool->loop);
    }
    if (conn->aside != NULL) {
        stores__pool_aside_lost(conn);
        return;
    }
    stores__pg_discard(conn); /* a holder finds out at his next request; its memory stays for him */
    if (pool->closing) return;
    if (connecting) {
        stores_error error;
        stores__error_set(&error, STORES_CONNECT_FAILED, "the server closed the new connection");
        stores__pool_attempt_failed(pool, &error);
    } else {
        pool->limit = pool->size;
        stores__pool_serve(pool);
    }
}

/* ---- Opening, closing ------------------------------------------------------------------------ */

static const struct stores__pg_hooks hooks = {.ready = ready,
                                              .failed = failed,
                                              .dropped = dropped,
                                              .lost = lost,
                                              .drained = stores__pool_drained,
                                              .heard = stores__pool_heard,
                                              .absolved = stores__pool_absolve,
                                              .read_only = stores__pool_read_only,
                                              .was_reset = stores__pool_was_reset,
                                              .gone = stores__pool_gone};

bool stores__pg_pool_open(struct stores__pg_pool *pool, uv_loop_t *loop,
                          struct stores__timers *timers, const stores_config *config,
                          stores_error *error) {
    memset(pool, 0, sizeof *pool);
    for (int i = 0; i < STORES__PG_PLACES; i++) stores__list_init(&pool->places[i]);
    stores__list_init(&pool->lane_waits);
    stores__list_init(&pool->checkout_waits);
    stores__list_init(&pool->parked_waits);
    stores__list_init(&pool->asides);
    pool->common.hooks = &hooks;
    pool->serve = stores__pool_serve;
    pool->loop = loop;
    pool->timers = timers;
    pool->size = pool->limit = config->poolsize;
    pool->max_waiters = config->max_waiters;
    pool->pooler = config->transaction_pooler;
    stores__pg_shard_want(&pool->common.shard, config);
    pool->acquire_timeout_ms = config->acquire_timeout_ms;
    pool->idle_ms = config->idle_timeout_ms;
    pool->age_ms = config->max_age_ms;
    pool->ping_ms = config->ping_after_ms;
    pool->min_idle = config->min_idle;
    stores__pool_idle_init(pool);
    if (config->on_connect != NULL) {
        pool->common.on_connect = stores__strdup(config->on_connect);
        if (pool->common.on_connect == NULL) {
            stores__error_set(error, STORES_NO_MEMORY, "no memory for on_connect");
            return false;
        }
    }
    pool->retry.fire = stores__pool_retry;
    pool->watch.fire = stores__pool_look;
    if (!stores__pg_params_read(&pool->common.params, config, error)) return false;
    pool->connect_timeout_ms = pool->common.params.connect_timeout_ms;
    return true;
}

void stores__pg_pool_deafen(struct stores__pg_pool *pool, int deaf) {
    pool->closing = pool->common.deaf = true;
    for (int place = 0; place < STORES__PG_PLACES; place++) {
        struct stores__list *all = &pool->places[place];
        for (struct stores__list *at = all->next; at != all; at = at->next) {
            stores__pg_deafen(STORES__CONTAINER(at, struct stores__pg_conn, link), deaf);
        }
    }
}

void stores__pg_pool_close(struct stores__pg_pool *pool) {
    stores_error error;
    pool->closing = true;
    stores__timer_stop(pool->timers, &pool->retry);
    stores__timer_stop(pool->timers, &pool->reaper);
    stores__timer_stop(pool->timers, &pool->watch);
    if (pool->resolving != NULL) stores__pg_resolve_cancel(pool->resolving);
    pool->resolving = NULL;
    stores__pool_asides_close(pool);
    stores__error_set(&error, STORES_CLOSED, "the store is closed");
    stores__pool_fail_waits(pool, &error);
    for (int place = 0; place < STORES__PG_CLOSING; place++) {
        while (stores__pool_first(pool, (enum stores__pg_place)place) != NULL) {
            stores__pg_discard(stores__pool_first(pool, (enum stores__pg_place)place));
        }
    }
    stores__pool_check_closed(pool);
}

void stores__pg_pool_free(struct stores__pg_pool *pool) {
    stores__pg_params_free(&pool->common.params);
    free(pool->common.on_connect);
    stores__sql_texts_free(&pool->common.texts);
}

/*
 * Connections that owe an answer and do not give it: a backend that hangs, a network that swallows
 * what is sent. While somebody waits, the pool looks at them from time to time.
 */
#include "pg/pool_internal.h"

/* Those that were asked whether they live. Where no other one may be opened, a silent one is in the
 * way. */
static void look_at_asked(struct stores__pg_pool *pool) {
    struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->next, *next; at != idle; at = next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        next = at->next;
        if (conn->in_flight == 0 || ++conn->silent < STORES__POOL_SILENT_LOOKS) continue;
        if (stores__pg_open_count(pool) >= pool->limit) stores__pg_discard(conn);
    }
}

void stores__pool_look(struct stores__timer *timer) {
    struct stores__pg_pool *pool = STORES__CONTAINER(timer, struct stores__pg_pool, watch);
    if (pool->lane_waiting + pool->checkout_waiting > 0) look_at_asked(pool);
    stores__pool_look_at_lanes(pool);
    stores__pool_unpark_all(pool);
    pool->serve(pool);
    if (pool->closing) return;
    stores__pool_evict_lane(pool);
    bool crowded = stores__pool_queued(pool) > 0 && stores__pg_open_count(pool) >= pool->limit;
    if (crowded && pool->crowded != NULL) pool->crowded(pool->arg);
    if (pool->closing) return;
    if (pool->counts[STORES__PG_READING] + pool->counts[STORES__PG_STALLED] + pool->lane_waiting +
            pool->checkout_waiting >
        0) {
        stores__pool_watch(pool);
    }
}

void stores__pool_watch(struct stores__pg_pool *pool) {
    if (stores__timer_armed(&pool->watch)) return;
    stores__timer_set(pool->timers, &pool->watch, uv_now(pool->loop) + STORES__POOL_LOOK_MS);
}

/* pool.c - see pool.h: who gets which connection, and what becomes of one that is given back. */
#include "pg/pool_internal.h"

/* ---- Granting -------------------------------------------------------------------------------- */

static void take_out(const struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__pg_topic *topic = wait->topic;
    stores__pool_move(conn, wait->place);
    conn->silent = 0;
    if (wait->place == STORES__PG_READING) stores__pool_watch(conn->pool);
    if (topic == NULL) return;
    if (wait->place == STORES__PG_CHECKED_OUT) {
        conn->topic = topic;
        topic->checked_out++;
    } else if (topic->stalled > 0) {
        conn->suspect = topic;
    }
}

static void grant(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    if (wait->waiting) stores__pool_leave_queue(wait);
    if (conn->place == STORES__PG_IDLE) take_out(wait, conn);
    conn->purpose = wait->purpose;
    conn->held = wait->place != STORES__PG_READING;
    wait->granted(wait, conn);
    /* granted without a request of its own in flight, a lane would never drain */
    if (conn->place == STORES__PG_READING && conn->in_flight == 0) stores__pool_drained(conn);
}

/* True: the first in the queue has gone from it, to a lane that waits for the same, or aside. */
static bool set_aside(struct stores__pg_wait *wait) {
    if (!stores__pool_must_park(wait)) return false;
    struct stores__pg_conn *lane = NULL;
    if (wait->place == STORES__PG_READING) lane = stores__pool_lane(wait->pool, wait->topic);
    if (lane != NULL) {
        grant(wait, lane);
    } else {
        stores__pool_park(wait);
    }
    return true;
}

static struct stores__pg_wait *first_wait(struct stores__list *queue) {
    while (!stores__list_empty(queue)) {
        struct stores__pg_wait *wait = STORES__CONTAINER(queue->next, struct stores__pg_wait, link);
        if (!set_aside(wait)) return wait;
    }
    return NULL;
}

static struct stores__pg_wait *next_wait(struct stores__pg_pool *pool) {
    struct stores__list *order[2] = {&pool->lane_waits, &pool->checkout_waits};
    if (!pool->lanes_next) {
        order[0] = &pool->checkout_waits;
        order[1] = &pool->lane_waits;
    }
    for (int i = 0; i < 2; i++) {
        struct stores__pg_wait *wait = first_wait(order[i]);
        if (wait == NULL) continue;
        pool->lanes_next = order[i] == &pool->checkout_waits;
        return wait;
    }
    return NULL;
}

/* A stream of reads would keep the last lane busy for ever, in front of a checkout that waits for a
 * connection of its own: where no other one can be opened, only reads that came before it go on. */
static bool passes_over(const struct stores__pg_pool *pool, const struct stores__pg_wait *read) {
    if (stores__list_empty(&pool->checkout_waits)) return false;
    if (stores__pg_open_count(pool) < pool->limit) return false;
    return read->since >
           STORES__CONTAINER(pool->checkout_waits.next, struct stores__pg_wait, link)->since;
}

static void grant_idle(struct stores__pg_pool *pool) {
    while (!pool->closing) {
        struct stores__pg_conn *conn = stores__pool_first_free(pool);
        if (conn == NULL || stores__pool_queued(pool) == 0) return;
        struct stores__pg_wait *wait;
        switch (stores__pool_fitness(conn)) {
        case STORES__POOL_FIT:
            wait = next_wait(pool);
            if (wait != NULL) grant(wait, conn);
            break;
        case STORES__POOL_DOUBTFUL: stores__pool_ping(conn); break;
        default: stores__pg_discard(conn);
        }
    }
}

/* Reads that wait share a lane, as soon as there is one with room. */
static void share_lanes(struct stores__pg_pool *pool) {
    while (!pool->closing && !stores__list_empty(&pool->lane_waits)) {
        struct stores__pg_wait *wait = first_wait(&pool->lane_waits);
        if (wait == NULL || wait->place != STORES__PG_READING || passes_over(pool, wait)) return;
        struct stores__pg_conn *lane = stores__pool_lane(pool, wait->topic);
        if (lane == NULL) return;
        grant(wait, lane);
    }
}

void stores__pool_serve(struct stores__pg_pool *pool) {
    if (pool->unpark) stores__pool_unpark_all(pool);
    grant_idle(pool);
    share_lanes(pool);
    int waiting = stores__pool_queued(pool);
    if (waiting + pool->parked > 0) stores__pool_watch(pool);
    /* those that are being asked whether they live will say so before a new one is open */
    if (waiting > stores__pool_asked(pool)) stores__pool_grow(pool);
}

void stores__pg_acquire(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
                        enum stores__pg_place place, const char *purpose) {
    if (!stores__pool_enqueue(pool, wait, place, purpose)) return;
    /* a lane that is open already serves a read with no wait at all */
    if (place == STORES__PG_READING && pool->lane_waiting == 1) {
        struct stores__pg_conn *lane = stores__pool_lane(pool, wait->topic);
        if (lane != NULL && pool->checkout_waiting == 0) {
            grant(wait, lane);
            return;
        }
    }
    stores__pool_serve(pool);
}

/* ---- Giving back ----------------------------------------------------------------------------- */

static void give_back(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    bool spent = pool->closing || uv_now(pool->loop) >= conn->retire_at;
    if (conn->foreign && !conn->resetting && !spent && stores__pg_is_idle(conn)) {
        stores__pg_reset(conn);
    }
    bool idle = conn->resetting ? stores__pg_is_up(conn) && conn->in_flight == 1
                                : stores__pg_is_idle(conn);
    if (!idle || spent) {
        stores__pg_discard(conn);
    } else {
        conn->pinged_at = uv_now(pool->loop); /* silent to a reset is as bad as to a ping */
        conn->silent = 0;
        conn->texts = 0;
        stores__pool_move(conn, STORES__PG_IDLE);
        stores__pool_look_busy(conn);
    }
    stores__pool_serve(pool);
}

void stores__pg_release(struct stores__pg_conn *conn) {
    conn->held = false;
    if (conn->gone) {
        free(conn);
        return;
    }
    if (conn->place == STORES__PG_CLOSING || conn->place == STORES__PG_IDLE) return;
    give_back(conn);
}

void stores__pool_drained(struct stores__pg_conn *conn) {
    if (conn->place == STORES__PG_READING) give_back(conn);
}

void stores__pool_was_reset(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    if (conn->place == STORES__PG_CLOSING) return;
    if (conn->reset_failed || (conn->place == STORES__PG_IDLE && !stores__pg_is_idle(conn))) {
        stores__pg_discard(conn);
    }
    if (!pool->closing) stores__pool_serve(pool);
}

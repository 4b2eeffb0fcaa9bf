#include "pg/pool_internal.h"

#include <stdio.h>

static void dropped(struct stores__pg_conn *conn) {
    if (conn->pool->dropped != NULL) conn->pool->dropped(conn->pool->arg);
}

int stores__pg_open_count(const struct stores__pg_pool *pool) {
    return pool->counts[STORES__PG_IDLE] + pool->counts[STORES__PG_READING] +
           pool->counts[STORES__PG_STALLED] + pool->counts[STORES__PG_WRITING] +
           pool->counts[STORES__PG_CHECKED_OUT];
}

enum stores__phase stores__pg_wait_phase(const struct stores__pg_pool *pool) {
    return stores__pg_open_count(pool) == 0 ? STORES__PHASE_CONNECT : STORES__PHASE_QUEUE;
}

/* What a topic has of the pool ends with the place that it had it for. */
static void leave_topics(struct stores__pg_conn *conn) {
    if (conn->blamed != NULL) conn->blamed->stalled--;
    if (conn->topic != NULL) conn->topic->checked_out--;
    if (conn->blamed != NULL || conn->topic != NULL) conn->pool->unpark = true;
    conn->blamed = conn->topic = NULL;
    conn->suspect = NULL;
}

/* The only way from one place to another. CONNECTING -> IDLE -> READING, WRITING, CHECKED_OUT ->
 * IDLE; READING <-> STALLED; from everywhere -> CLOSING, which nothing leaves. */
void stores__pool_move(struct stores__pg_conn *conn, enum stores__pg_place place) {
    struct stores__pg_pool *pool = conn->pool;
    assert(conn->place != STORES__PG_CLOSING);
    assert(conn->place != place);
    assert(place == STORES__PG_CLOSING || place == STORES__PG_IDLE ||
           conn->place == STORES__PG_IDLE ||
           (conn->place == STORES__PG_READING && place == STORES__PG_STALLED) ||
           (conn->place == STORES__PG_STALLED && place == STORES__PG_READING));
    leave_topics(conn);
    stores__list_remove(&conn->link);
    pool->counts[conn->place]--;
    conn->place = place;
    pool->counts[place]++;
    /* the one used last is taken first: the others may grow old and be closed */
    stores__list_prepend(&pool->places[place], &conn->link);
    stores__timer_stop(pool->timers, &conn->fuse);
    if (place == STORES__PG_IDLE) {
        conn->idle_since = uv_now(pool->loop);
        conn->purpose = NULL;
    }
}

void stores__pg_discard(struct stores__pg_conn *conn) {
    if (conn->place == STORES__PG_CLOSING) return;
    stores__pool_move(conn, STORES__PG_CLOSING);
    stores__pg_conn_close(conn);
}

static void burn(struct stores__timer *fuse) {
    stores__pg_discard(STORES__CONTAINER(fuse, struct stores__pg_conn, fuse));
}

void stores__pg_give_up_in(struct stores__pg_conn *conn, uint64_t ms) {
    struct stores__pg_pool *pool = conn->pool;
    if (conn->place == STORES__PG_CLOSING || stores__timer_armed(&conn->fuse)) return;
    conn->fuse.fire = burn;
    /* without memory for it the connection stays with its holder until the server speaks */
    stores__timer_set(pool->timers, &conn->fuse, uv_now(pool->loop) + ms);
}

/* ---- Granting -------------------------------------------------------------------------------- */

static struct stores__pg_conn *first(struct stores__pg_pool *pool, enum stores__pg_place place) {
    if (stores__list_empty(&pool->places[place])) return NULL;
    return STORES__CONTAINER(pool->places[place].next, struct stores__pg_conn, link);
}

/* An idle connection that is neither asked whether it lives nor reset. */
static struct stores__pg_conn *first_idle(const struct stores__pg_pool *pool) {
    const struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->next; at != idle; at = at->next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        if (conn->in_flight == 0) return conn;
    }
    return NULL;
}

bool stores__pg_has_idle(const struct stores__pg_pool *pool) {
    return first_idle(pool) != NULL;
}

void stores__pool_leave_queue(struct stores__pg_wait *wait) {
    struct stores__pg_pool *pool = wait->pool;
    stores__list_remove(&wait->link);
    stores__timer_stop(pool->timers, &wait->timer);
    wait->waiting = false;
    if (wait->parked) pool->parked--;
    wait->parked = false;
    if (wait->place == STORES__PG_CHECKED_OUT) {
        pool->checkout_waiting--;
    } else {
        pool->lane_waiting--;
    }
}

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

static void drained(struct stores__pg_conn *conn);

static void grant(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    if (wait->waiting) stores__pool_leave_queue(wait);
    if (conn->place == STORES__PG_IDLE) take_out(wait, conn);
    conn->purpose = wait->purpose;
    conn->held = wait->place != STORES__PG_READING;
    wait->granted(wait, conn);
    /* granted without a request of its own in flight, a lane would never drain */
    if (conn->place == STORES__PG_READING && conn->in_flight == 0) drained(conn);
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

/* Gives idle connections to those who wait, and opens another one where that is not enough. */
void stores__pool_serve(struct stores__pg_pool *pool) {
    if (pool->unpark) stores__pool_unpark_all(pool);
    while (!pool->closing) {
        struct stores__pg_conn *conn = first_idle(pool);
        if (conn == NULL || stores__pool_queued(pool) == 0) break;
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
    /* reads that wait share a lane, as soon as there is one with room */
    while (!pool->closing && !stores__list_empty(&pool->lane_waits)) {
        struct stores__pg_wait *wait = first_wait(&pool->lane_waits);
        if (wait == NULL || wait->place != STORES__PG_READING || passes_over(pool, wait)) break;
        struct stores__pg_conn *lane = stores__pool_lane(pool, wait->topic);
        if (lane == NULL) break;
        grant(wait, lane);
    }
    int waiting = stores__pool_queued(pool);
    if (waiting + pool->parked > 0) stores__pool_watch(pool);
    /* those that are being asked whether they live will say so before a new one is open */
    if (waiting > stores__pool_asked(pool)) stores__pool_grow(pool);
}

static void wait_timed_out(struct stores__timer *timer) {
    struct stores__pg_wait *wait = STORES__CONTAINER(timer, struct stores__pg_wait, timer);
    struct stores__pg_pool *pool = wait->pool;
    stores_error error;
    double waited = (double)(uv_now(pool->loop) - wait->since) / 1000;
    int lanes = pool->counts[STORES__PG_READING] + pool->counts[STORES__PG_STALLED] +
                pool->counts[STORES__PG_WRITING];
    if (stores__pg_open_count(pool) == 0 && pool->last_error.code != STORES_OK) {
        error = pool->last_error;
    } else {
        int transactions = 0, queries = 0;
        struct stores__list *out = &pool->places[STORES__PG_CHECKED_OUT];
        for (struct stores__list *at = out->next; at != out; at = at->next) {
            struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
            bool transaction = conn->purpose && strcmp(conn->purpose, "transactions") == 0;
            transactions += transaction;
            queries += !transaction;
        }
        stores__error_set(&error, STORES_ACQUIRE_TIMEOUT,
                          "waited %.1f s; %d of %d connections busy: %d transactions, %d queries, "
                          "%d lanes",
                          waited, lanes + transactions + queries, pool->size, transactions, queries,
                          lanes);
        if (wait->parked) {
            strcpy(error.hint, "other statements about the same table wait on the connections that"
                               " it may take: for a lock on it, perhaps");
        }
    }
    stores__pool_leave_queue(wait);
    wait->failed(wait, &error);
}

/* First come, first served; but who keeps a connection from others goes before those. */
static void queue_checkout(struct stores__pg_pool *pool, struct stores__pg_wait *wait) {
    struct stores__list *at = &pool->checkout_waits;
    if (wait->urgent) {
        at = at->next;
        while (at != &pool->checkout_waits &&
               STORES__CONTAINER(at, struct stores__pg_wait, link)->urgent) {
            at = at->next;
        }
    }
    stores__list_append(at, &wait->link); /* before it, or at the end */
}

void stores__pg_acquire(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
                        enum stores__pg_place place, const char *purpose) {
    stores_error error;
    wait->pool = pool;
    wait->place = place;
    wait->purpose = purpose;
    wait->since = uv_now(pool->loop);
    wait->waiting = wait->parked = false;
    wait->timer.index = 0;
    wait->timer.fire = wait_timed_out;
    stores__list_init(&wait->link);
    if (pool->closing) {
        stores__error_set(&error, STORES_CLOSED, "the store is closed");
        wait->failed(wait, &error);
        return;
    }
    if (pool->max_waiters > 0 && pool->lane_waiting + pool->checkout_waiting >= pool->max_waiters &&
        !stores__pg_has_idle(pool)) {
        stores__error_set(&error, STORES_POOL_FULL, "%d calls wait for a connection already",
                          pool->lane_waiting + pool->checkout_waiting);
        wait->failed(wait, &error);
        return;
    }
    if (!stores__timer_set(pool->timers, &wait->timer, wait->since + pool->acquire_timeout_ms)) {
        stores__error_set(&error, STORES_NO_MEMORY, "no memory to wait for a connection");
        wait->failed(wait, &error);
        return;
    }
    wait->waiting = true;
    if (place == STORES__PG_CHECKED_OUT) {
        queue_checkout(pool, wait);
        pool->checkout_waiting++;
    } else {
        stores__list_append(&pool->lane_waits, &wait->link);
        pool->lane_waiting++;
        /* a lane that is open already serves a read with no wait at all */
        if (place == STORES__PG_READING && pool->lane_waiting == 1) {
            struct stores__pg_conn *lane = stores__pool_lane(pool, wait->topic);
            if (lane != NULL && pool->checkout_waiting == 0) {
                grant(wait, lane);
                return;
            }
        }
    }
    stores__pool_serve(pool);
}

void stores__pg_unwait(struct stores__pg_wait *wait) {
    if (wait->waiting) stores__pool_leave_queue(wait);
}

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

static void drained(struct stores__pg_conn *conn) {
    if (conn->place == STORES__PG_READING) give_back(conn);
}

static void was_reset(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    if (conn->place == STORES__PG_CLOSING) return;
    if (conn->reset_failed || (conn->place == STORES__PG_IDLE && !stores__pg_is_idle(conn))) {
        stores__pg_discard(conn);
    }
    if (!pool->closing) stores__pool_serve(pool);
}

/* ---- Opening, closing ------------------------------------------------------------------------ */

static const struct stores__pg_hooks hooks = {.ready = stores__pool_ready,
                                              .failed = stores__pool_failed,
                                              .dropped = dropped,
                                              .lost = stores__pool_lost,
                                              .drained = drained,
                                              .heard = stores__pool_heard,
                                              .absolved = stores__pool_absolve,
                                              .read_only = stores__pool_read_only,
                                              .was_reset = was_reset,
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
    pool->loop = loop;
    pool->timers = timers;
    pool->size = pool->limit = config->poolsize;
    pool->max_waiters = config->max_waiters;
    pool->pooler = config->transaction_pooler;
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
        while (first(pool, (enum stores__pg_place)place) != NULL) {
            stores__pg_discard(first(pool, (enum stores__pg_place)place));
        }
    }
    stores__pool_check_closed(pool);
}

void stores__pg_pool_free(struct stores__pg_pool *pool) {
    stores__pg_params_free(&pool->common.params);
    free(pool->common.on_connect);
    stores__sql_texts_free(&pool->common.texts);
}

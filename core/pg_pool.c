#include "pg_pool.h"

#include <stdio.h>

enum {
    LANE_DEPTH = 8, /* requests in flight on one reading lane before another one is opened */
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 1000,
    PING_PATIENCE_MS = 5 * 1000, /* how long a connection may take to say that it lives */
    REAP_MS = 5 * 1000
};

struct stores__pg_stats *stores__pg_pool_stats(struct stores__pg_pool *pool) {
    return &pool->stats;
}

unsigned *stores__pg_pool_generation(struct stores__pg_pool *pool) {
    return &pool->generation;
}

int stores__pg_open_count(const struct stores__pg_pool *pool) {
    return pool->counts[STORES__PG_IDLE] + pool->counts[STORES__PG_READING] +
           pool->counts[STORES__PG_WRITING] + pool->counts[STORES__PG_CHECKED_OUT];
}

enum stores__phase stores__pg_wait_phase(const struct stores__pg_pool *pool) {
    return stores__pg_open_count(pool) == 0 ? STORES__PHASE_CONNECT : STORES__PHASE_QUEUE;
}

/* The only way from one place to another. CONNECTING -> IDLE -> READING, WRITING, CHECKED_OUT ->
 * IDLE; from everywhere -> CLOSING, which nothing leaves. */
static void move(struct stores__pg_conn *conn, enum stores__pg_place place) {
    struct stores__pg_pool *pool = conn->pool;
    assert(conn->place != STORES__PG_CLOSING);
    assert(conn->place != place);
    assert(place == STORES__PG_CLOSING || place == STORES__PG_IDLE ||
           conn->place == STORES__PG_IDLE);
    stores__list_remove(&conn->link);
    pool->counts[conn->place]--;
    conn->place = place;
    pool->counts[place]++;
    /* the one used last is taken first: the others may grow old and be closed */
    stores__list_prepend(&pool->places[place], &conn->link);
    if (place == STORES__PG_IDLE) {
        conn->idle_since = uv_now(pool->loop);
        conn->purpose = NULL;
    }
}

void stores__pg_discard(struct stores__pg_conn *conn) {
    if (conn->place == STORES__PG_CLOSING) return;
    move(conn, STORES__PG_CLOSING);
    stores__pg_conn_close(conn);
}

/* ---- Granting -------------------------------------------------------------------------------- */

static void grow(struct stores__pg_pool *pool);

static struct stores__pg_conn *first(struct stores__pg_pool *pool, enum stores__pg_place place) {
    if (stores__list_empty(&pool->places[place])) return NULL;
    return STORES__CONTAINER(pool->places[place].next, struct stores__pg_conn, link);
}

/* An idle connection that is not being asked whether it lives. */
static struct stores__pg_conn *first_idle(struct stores__pg_pool *pool) {
    struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->next; at != idle; at = at->next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        if (conn->in_flight == 0) return conn;
    }
    return NULL;
}

static struct stores__pg_conn *best_lane(struct stores__pg_pool *pool) {
    struct stores__pg_conn *best = NULL;
    struct stores__list *lanes = &pool->places[STORES__PG_READING];
    for (struct stores__list *at = lanes->next; at != lanes; at = at->next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        if (conn->in_flight >= LANE_DEPTH || uv_now(pool->loop) >= conn->retire_at) continue;
        if (!stores__pg_is_up(conn)) continue; /* its requests hear of the loss, and come here */
        if (best == NULL || conn->in_flight < best->in_flight) best = conn;
    }
    return best;
}

static void leave_queue(struct stores__pg_wait *wait) {
    struct stores__pg_pool *pool = wait->pool;
    stores__list_remove(&wait->link);
    stores__timer_stop(pool->timers, &wait->timer);
    wait->waiting = false;
    if (wait->place == STORES__PG_CHECKED_OUT) {
        pool->checkout_waiting--;
    } else {
        pool->lane_waiting--;
    }
}

static void grant(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    if (wait->waiting) leave_queue(wait);
    if (conn->place == STORES__PG_IDLE) move(conn, wait->place);
    conn->purpose = wait->purpose;
    conn->held = wait->place != STORES__PG_READING;
    wait->granted(wait, conn);
    /* granted without a request of its own in flight, a lane would never drain */
    if (conn->place == STORES__PG_READING && conn->in_flight == 0) stores__pg_pool_drained(conn);
}

static struct stores__pg_wait *next_wait(struct stores__pg_pool *pool) {
    struct stores__list *order[2] = {&pool->lane_waits, &pool->checkout_waits};
    if (!pool->lanes_next) {
        order[0] = &pool->checkout_waits;
        order[1] = &pool->lane_waits;
    }
    for (int i = 0; i < 2; i++) {
        if (stores__list_empty(order[i])) continue;
        pool->lanes_next = order[i] == &pool->checkout_waits;
        return STORES__CONTAINER(order[i]->next, struct stores__pg_wait, link);
    }
    return NULL;
}

/* A stream of reads would keep the last lane busy for ever, in front of a checkout that waits for a
 * connection of its own: where no other one can be opened, only reads that came before it go on. */
static bool passes_over(const struct stores__pg_pool *pool, const struct stores__pg_wait *read) {
    if (pool->checkout_waiting == 0 || stores__pg_open_count(pool) < pool->limit) return false;
    return read->since >
           STORES__CONTAINER(pool->checkout_waits.next, struct stores__pg_wait, link)->since;
}

/* Gives idle connections to those who wait, and opens another one where that is not enough. */
static void serve(struct stores__pg_pool *pool) {
    while (!pool->closing) {
        struct stores__pg_conn *conn = first_idle(pool);
        if (conn == NULL || pool->lane_waiting + pool->checkout_waiting == 0) break;
        bool usable = uv_now(pool->loop) < conn->retire_at && stores__pg_is_idle(conn);
        /* one that was used a moment ago needs no look */
        if (usable && conn->idle_since != uv_now(pool->loop)) {
            usable = stores__pg_is_alive(conn);
            pool->stats.lost += !usable;
        }
        if (usable) {
            grant(next_wait(pool), conn);
        } else {
            stores__pg_discard(conn);
        }
    }
    /* reads that wait share a lane, as soon as there is one with room */
    while (!pool->closing && !stores__list_empty(&pool->lane_waits)) {
        struct stores__pg_wait *wait = STORES__CONTAINER(pool->lane_waits.next,
                                                         struct stores__pg_wait, link);
        if (wait->place != STORES__PG_READING || passes_over(pool, wait)) break;
        struct stores__pg_conn *lane = best_lane(pool);
        if (lane == NULL) break;
        grant(wait, lane);
    }
    if (pool->lane_waiting + pool->checkout_waiting > 0) grow(pool);
}

static void wait_timed_out(struct stores__timer *timer) {
    struct stores__pg_wait *wait = STORES__CONTAINER(timer, struct stores__pg_wait, timer);
    struct stores__pg_pool *pool = wait->pool;
    stores_error error;
    double waited = (double)(uv_now(pool->loop) - wait->since) / 1000;
    int lanes = pool->counts[STORES__PG_READING] + pool->counts[STORES__PG_WRITING];
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
    }
    leave_queue(wait);
    wait->failed(wait, &error);
}

void stores__pg_acquire(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
                        enum stores__pg_place place, const char *purpose) {
    stores_error error;
    wait->pool = pool;
    wait->place = place;
    wait->purpose = purpose;
    wait->since = uv_now(pool->loop);
    wait->waiting = false;
    wait->timer.index = 0;
    wait->timer.fire = wait_timed_out;
    stores__list_init(&wait->link);
    if (pool->closing) {
        stores__error_set(&error, STORES_CLOSED, "the store is closed");
        wait->failed(wait, &error);
        return;
    }
    if (pool->max_waiters > 0 && pool->lane_waiting + pool->checkout_waiting >= pool->max_waiters &&
        first(pool, STORES__PG_IDLE) == NULL) {
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
        stores__list_append(&pool->checkout_waits, &wait->link);
        pool->checkout_waiting++;
    } else {
        stores__list_append(&pool->lane_waits, &wait->link);
        pool->lane_waiting++;
        /* a lane that is open already serves a read with no wait at all */
        if (place == STORES__PG_READING && pool->lane_waiting == 1) {
            struct stores__pg_conn *lane = best_lane(pool);
            if (lane != NULL && pool->checkout_waiting == 0) {
                grant(wait, lane);
                return;
            }
        }
    }
    serve(pool);
}

void stores__pg_unwait(struct stores__pg_wait *wait) {
    if (wait->waiting) leave_queue(wait);
}

static void give_back(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    if (!stores__pg_is_idle(conn) || pool->closing || uv_now(pool->loop) >= conn->retire_at) {
        stores__pg_discard(conn);
    } else {
        move(conn, STORES__PG_IDLE);
    }
    serve(pool);
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

void stores__pg_pool_drained(struct stores__pg_conn *conn) {
    if (conn->place == STORES__PG_READING) give_back(conn);
}

/* ---- Growing --------------------------------------------------------------------------------- */

static void fail_all_waits(struct stores__pg_pool *pool, const stores_error *error) {
    struct stores__list failed;
    stores__list_init(&failed);
    stores__list_move(&pool->lane_waits, &failed);
    stores__list_move(&pool->checkout_waits, &failed);
    while (!stores__list_empty(&failed)) {
        struct stores__pg_wait *wait = STORES__CONTAINER(failed.next, struct stores__pg_wait, link);
        leave_queue(wait);
        wait->failed(wait, error);
    }
}

static uint64_t jitter(uint64_t ms) {
    return ms - ms / 10 + stores__random_u64() % (ms / 5 + 1);
}

static void attempt_failed(struct stores__pg_pool *pool, const stores_error *error) {
    uint64_t wait = BACKOFF_FIRST_MS;
    for (int i = 0; i < pool->failures && wait < BACKOFF_MAX_MS; i++) wait *= 2;
    if (wait > BACKOFF_MAX_MS) wait = BACKOFF_MAX_MS;
    pool->failures++;
    pool->stats.connect_failures++;
    pool->last_error = *error;
    stores__timer_set(pool->timers, &pool->retry, uv_now(pool->loop) + jitter(wait));
    int open = stores__pg_open_count(pool);
    if (open > 0) {
        /* the server has no room: those that live must do, until one of them goes */
        if (strcmp(error->sqlstate, "53300") == 0) pool->limit = open;
    } else {
        fail_all_waits(pool, error);
    }
}

static void resolved(void *arg, struct stores__pg_target *target, const char *why) {
    struct stores__pg_pool *pool = arg;
    stores_error error;
    pool->resolving = NULL;
    struct stores__pg_conn *conn = target ? calloc(1, sizeof *conn) : NULL;
    if (conn != NULL) {
        uint64_t now = uv_now(pool->loop);
        conn->pool = pool;
        conn->serial = ++pool->next_serial;
        conn->place = STORES__PG_CONNECTING;
        conn->opened_at = now;
        conn->retire_at = now + jitter(pool->age_ms);
        if (stores__pg_conn_start(conn, pool->loop, pool->timers, target, pool->connect_timeout_ms,
                                  pool->pooler)) {
            pool->counts[STORES__PG_CONNECTING]++;
            stores__list_append(&pool->places[STORES__PG_CONNECTING], &conn->link);
            return;
        }
    }
    free(conn);
    stores__pg_target_free(target);
    stores__error_set(&error, STORES_CONNECT_FAILED, "%s", why ? why : "no memory to connect");
    attempt_failed(pool, &error);
}

static void grow(struct stores__pg_pool *pool) {
    if (pool->closing || pool->resolving || pool->counts[STORES__PG_CONNECTING] > 0) return;
    if (stores__timer_armed(&pool->retry)) return; /* a server that is down is not hammered */
    if (stores__pg_open_count(pool) >= pool->limit) return;
    pool->resolving = stores__pg_resolve(pool->loop, &pool->params, pool->failures, resolved, pool);
    if (pool->resolving == NULL) {
        stores_error error;
        stores__error_set(&error, STORES_NO_MEMORY, "no memory to connect");
        attempt_failed(pool, &error);
    }
}

static void retry_now(struct stores__timer *timer) {
    struct stores__pg_pool *pool = STORES__CONTAINER(timer, struct stores__pg_pool, retry);
    pool->limit = pool->size;
    serve(pool);
}

void stores__pg_pool_ready(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    pool->failures = 0;
    pool->last_error.code = STORES_OK;
    pool->stats.connects++;
    move(conn, STORES__PG_IDLE);
    pool->connected(pool->arg, conn);
    if (pool->counts[STORES__PG_IDLE] < pool->min_idle) grow(pool);
    if (!stores__timer_armed(&pool->reaper)) {
        stores__timer_set(pool->timers, &pool->reaper, uv_now(pool->loop) + pool->reap_ms);
    }
    serve(pool);
}

void stores__pg_pool_failed(struct stores__pg_conn *conn, const stores_error *error) {
    struct stores__pg_pool *pool = conn->pool;
    stores_error copy = *error;
    stores__pg_discard(conn);
    if (!pool->closing) attempt_failed(pool, &copy);
}

void stores__pg_pool_lost(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    bool connecting = conn->place == STORES__PG_CONNECTING;
    if (!connecting) {
        pool->stats.lost++;
        /* what ended this one may be ending the others, and a read has few tries */
        stores__pg_pool_renew(pool);
    }
    void (*lost)(struct stores__pg_conn * conn) = conn->lost;
    if (lost != NULL) lost(conn);
    stores__pg_discard(conn); /* a holder finds out at his next request; its memory stays for him */
    if (pool->closing) return;
    if (connecting) {
        stores_error error;
        stores__error_set(&error, STORES_CONNECT_FAILED, "the server closed the new connection");
        attempt_failed(pool, &error);
    } else {
        pool->limit = pool->size;
        serve(pool);
    }
}

static void check_closed(struct stores__pg_pool *pool) {
    if (!pool->closing) return;
    for (int place = 0; place < STORES__PG_PLACES; place++) {
        if (pool->counts[place] > 0) return;
    }
    pool->closed(pool->arg);
}

void stores__pg_pool_gone(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    assert(conn->place == STORES__PG_CLOSING);
    stores__list_remove(&conn->link);
    pool->counts[STORES__PG_CLOSING]--;
    conn->gone = true;
    if (!conn->held) free(conn);
    check_closed(pool);
}

/* ---- Shrinking, opening, closing ------------------------------------------------------------- */

static void ponged(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, ping);
    if (end == STORES__PG_SYNCED) serve(conn->pool);
}

static void ping(struct stores__pg_conn *conn) {
    conn->pinged_at = uv_now(conn->pool->loop);
    conn->ping.result = NULL;
    conn->ping.done = ponged;
    stores__pg_begin(conn, &conn->ping);
    stores__pg_add(conn, &conn->ping, "SELECT 1", 0, NULL, false);
    stores__pg_sync(conn, &conn->ping);
}

/* Too old, idle for too long, or silent when it was asked. */
static bool is_spent(const struct stores__pg_conn *conn, uint64_t now) {
    const struct stores__pg_pool *pool = conn->pool;
    if (now >= conn->retire_at) return true;
    if (conn->in_flight > 0) return now >= conn->pinged_at + PING_PATIENCE_MS;
    return now >= conn->idle_since + pool->idle_ms &&
           pool->counts[STORES__PG_IDLE] > pool->min_idle;
}

static void reap(struct stores__timer *timer) {
    struct stores__pg_pool *pool = STORES__CONTAINER(timer, struct stores__pg_pool, reaper);
    uint64_t now = uv_now(pool->loop);
    struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->prev, *before; at != idle; at = before) {
        before = at->prev;
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        uint64_t heard = conn->pinged_at > conn->idle_since ? conn->pinged_at : conn->idle_since;
        if (is_spent(conn, now)) {
            stores__pg_discard(conn);
        } else if (conn->in_flight == 0 && now >= heard + pool->ping_ms) {
            ping(conn);
        }
    }
    if (pool->counts[STORES__PG_IDLE] < pool->min_idle) grow(pool);
    if (stores__pg_open_count(pool) > 0 || pool->min_idle > 0) {
        stores__timer_set(pool->timers, &pool->reaper, now + jitter(pool->reap_ms));
    }
}

void stores__pg_pool_renew(struct stores__pg_pool *pool) {
    uint64_t now = uv_now(pool->loop);
    for (int place = STORES__PG_IDLE; place < STORES__PG_CLOSING; place++) {
        struct stores__list *list = &pool->places[place];
        for (struct stores__list *at = list->next; at != list; at = at->next) {
            STORES__CONTAINER(at, struct stores__pg_conn, link)->retire_at = now;
        }
    }
}

bool stores__pg_pool_open(struct stores__pg_pool *pool, uv_loop_t *loop,
                          struct stores__timers *timers, const stores_config *config,
                          stores_error *error) {
    memset(pool, 0, sizeof *pool);
    for (int i = 0; i < STORES__PG_PLACES; i++) stores__list_init(&pool->places[i]);
    stores__list_init(&pool->lane_waits);
    stores__list_init(&pool->checkout_waits);
    pool->loop = loop;
    pool->timers = timers;
    pool->size = pool->limit = config->poolsize;
    pool->max_waiters = config->max_waiters;
    pool->pooler = config->transaction_pooler;
    pool->connect_timeout_ms = config->connect_timeout_ms;
    pool->acquire_timeout_ms = config->acquire_timeout_ms;
    pool->idle_ms = config->idle_timeout_ms;
    pool->age_ms = config->max_age_ms;
    pool->ping_ms = config->ping_after_ms;
    pool->min_idle = config->min_idle;
    /* often enough for the shortest of the limits */
    pool->reap_ms = REAP_MS;
    if (pool->reap_ms > pool->idle_ms / 2) pool->reap_ms = pool->idle_ms / 2 + 1;
    if (pool->reap_ms > pool->ping_ms / 2) pool->reap_ms = pool->ping_ms / 2 + 1;
    if (config->on_connect != NULL) {
        pool->on_connect = stores__strdup(config->on_connect);
        if (pool->on_connect == NULL) {
            stores__error_set(error, STORES_NO_MEMORY, "no memory for on_connect");
            return false;
        }
    }
    pool->retry.fire = retry_now;
    pool->reaper.fire = reap;
    return stores__pg_params_read(&pool->params, config, error);
}

void stores__pg_pool_close(struct stores__pg_pool *pool) {
    stores_error error;
    pool->closing = true;
    stores__timer_stop(pool->timers, &pool->retry);
    stores__timer_stop(pool->timers, &pool->reaper);
    if (pool->resolving != NULL) stores__pg_resolve_cancel(pool->resolving);
    pool->resolving = NULL;
    stores__error_set(&error, STORES_CLOSED, "the store is closed");
    fail_all_waits(pool, &error);
    for (int place = 0; place < STORES__PG_CLOSING; place++) {
        while (first(pool, (enum stores__pg_place)place) != NULL) {
            stores__pg_discard(first(pool, (enum stores__pg_place)place));
        }
    }
    check_closed(pool);
}

void stores__pg_pool_free(struct stores__pg_pool *pool) {
    stores__pg_params_free(&pool->params);
    free(pool->on_connect);
}

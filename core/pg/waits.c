/*
 * Who waits for a connection: one queue of those who share lanes, one of those who check one out,
 * each first come first served and with a deadline; and beside them, parked, those whose topic has
 * as many connections as it may. Nobody is in two of the three.
 */
#include "pg/pool_internal.h"

#include <stdio.h>

enum stores__phase stores__pg_wait_phase(const struct stores__pg_pool *pool) {
    return stores__pg_open_count(pool) == 0 ? STORES__PHASE_CONNECT : STORES__PHASE_QUEUE;
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

/* Who has the connections that it waited for. */
static void explain_timeout(const struct stores__pg_wait *wait, stores_error *error) {
    const struct stores__pg_pool *pool = wait->pool;
    double waited = (double)(uv_now(pool->loop) - wait->since) / 1000;
    int lanes = pool->counts[STORES__PG_READING] + pool->counts[STORES__PG_STALLED] +
                pool->counts[STORES__PG_WRITING];
    int transactions = 0, queries = 0;
    const struct stores__list *out = &pool->places[STORES__PG_CHECKED_OUT];
    for (struct stores__list *at = out->next; at != out; at = at->next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        bool transaction = conn->purpose && strcmp(conn->purpose, "transactions") == 0;
        transactions += transaction;
        queries += !transaction;
    }
    stores__error_set(error, STORES_ACQUIRE_TIMEOUT,
                      "waited %.1f s; %d of %d connections busy: %d transactions, %d queries, "
                      "%d lanes",
                      waited, lanes + transactions + queries, pool->size, transactions, queries,
                      lanes);
    if (wait->parked) {
        strcpy(error->hint, "other statements about the same table wait on the connections that"
                            " it may take: for a lock on it, perhaps");
    } else if (pool->counts[STORES__PG_CONNECTING] > 0) {
        strcpy(error->hint, pool->common.on_connect == NULL
                                ? "a connection is being opened, and the server does not answer"
                                : "a connection is being opened, and the server does not answer, or"
                                  " on_connect takes so long");
    }
}

static void wait_timed_out(struct stores__timer *timer) {
    struct stores__pg_wait *wait = STORES__CONTAINER(timer, struct stores__pg_wait, timer);
    const struct stores__pg_pool *pool = wait->pool;
    stores_error error;
    if (stores__pg_open_count(pool) == 0 && pool->last_error.code != STORES_OK) {
        error = pool->last_error;
    } else {
        explain_timeout(wait, &error);
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

bool stores__pool_enqueue(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
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
        return false;
    }
    if (pool->max_waiters > 0 && pool->lane_waiting + pool->checkout_waiting >= pool->max_waiters &&
        !stores__pg_has_idle(pool)) {
        stores__error_set(&error, STORES_POOL_FULL, "%d calls wait for a connection already",
                          pool->lane_waiting + pool->checkout_waiting);
        wait->failed(wait, &error);
        return false;
    }
    if (!stores__timer_set(pool->timers, &wait->timer, wait->since + pool->acquire_timeout_ms)) {
        stores__error_set(&error, STORES_NO_MEMORY, "no memory to wait for a connection");
        wait->failed(wait, &error);
        return false;
    }
    wait->waiting = true;
    if (place == STORES__PG_CHECKED_OUT) {
        queue_checkout(pool, wait);
        pool->checkout_waiting++;
    } else {
        stores__list_append(&pool->lane_waits, &wait->link);
        pool->lane_waiting++;
    }
    return true;
}

void stores__pg_unwait(struct stores__pg_wait *wait) {
    if (wait->waiting) stores__pool_leave_queue(wait);
}

void stores__pool_fail_waits(struct stores__pg_pool *pool, const stores_error *error) {
    struct stores__list failed;
    stores__list_init(&failed);
    stores__list_move(&pool->lane_waits, &failed);
    stores__list_move(&pool->checkout_waits, &failed);
    stores__list_move(&pool->parked_waits, &failed);
    while (!stores__list_empty(&failed)) {
        struct stores__pg_wait *wait = STORES__CONTAINER(failed.next, struct stores__pg_wait, link);
        stores__pool_leave_queue(wait);
        wait->failed(wait, error);
    }
}

/* ---- Parked -------------------------------------------------------------------------------- */

void stores__pool_park(struct stores__pg_wait *wait) {
    struct stores__pg_pool *pool = wait->pool;
    stores__list_remove(&wait->link);
    stores__list_append(&pool->parked_waits, &wait->link);
    wait->parked = true;
    pool->parked++;
}

void stores__pool_unpark_all(struct stores__pg_pool *pool) {
    pool->unpark = false;
    /* they came before those that wait now */
    while (!stores__list_empty(&pool->parked_waits)) {
        struct stores__pg_wait *wait = STORES__CONTAINER(pool->parked_waits.prev,
                                                         struct stores__pg_wait, link);
        stores__list_remove(&wait->link);
        wait->parked = false;
        pool->parked--;
        stores__list_prepend(wait->place == STORES__PG_CHECKED_OUT ? &pool->checkout_waits
                                                                   : &pool->lane_waits,
                             &wait->link);
    }
}

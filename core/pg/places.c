/*
 * Where connections are: each in the list of its place, and one function moves it.
 *
 *   CONNECTING --> IDLE --> WRITING, CHECKED_OUT --> IDLE
 *                  IDLE --> READING <--> STALLED
 *                           READING --> IDLE
 *   ASIDE, and from every other one --> CLOSING, which nothing leaves but by gone()
 */
#include "pg/pool_internal.h"

int stores__pg_open_count(const struct stores__pg_pool *pool) {
    return pool->counts[STORES__PG_IDLE] + pool->counts[STORES__PG_READING] +
           pool->counts[STORES__PG_STALLED] + pool->counts[STORES__PG_WRITING] +
           pool->counts[STORES__PG_CHECKED_OUT];
}

struct stores__pg_conn *stores__pool_first(const struct stores__pg_pool *pool,
                                           enum stores__pg_place place) {
    const struct stores__list *list = &pool->places[place];
    return stores__list_empty(list) ? NULL
                                    : STORES__CONTAINER(list->next, struct stores__pg_conn, link);
}

struct stores__pg_conn *stores__pool_first_free(const struct stores__pg_pool *pool) {
    const struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->next; at != idle; at = at->next) {
        struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
        if (conn->in_flight == 0) return conn;
    }
    return NULL;
}

bool stores__pg_has_idle(const struct stores__pg_pool *pool) {
    return stores__pool_first_free(pool) != NULL;
}

/* What a topic has of the pool ends with the place that it had it for. */
static void leave_topics(struct stores__pg_conn *conn) {
    if (conn->blamed != NULL) conn->blamed->stalled--;
    if (conn->topic != NULL) {
        --*(conn->place == STORES__PG_READING ? &conn->topic->lanes : &conn->topic->checked_out);
    }
    if (conn->blamed != NULL || conn->topic != NULL) conn->pool->unpark = true;
    conn->blamed = conn->topic = NULL;
    conn->suspect = NULL;
}

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

void stores__pool_check_closed(struct stores__pg_pool *pool) {
    if (!pool->closing) return;
    for (int place = 0; place < STORES__PG_PLACES; place++) {
        if (pool->counts[place] > 0) return;
    }
    pool->closed(pool->arg);
}

void stores__pool_gone(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    assert(conn->place == STORES__PG_CLOSING);
    stores__list_remove(&conn->link);
    pool->counts[STORES__PG_CLOSING]--;
    conn->gone = true;
    if (!conn->held) free(conn);
    stores__pool_check_closed(pool);
}

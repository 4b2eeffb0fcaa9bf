/*
 * Reading lanes: which of them serves what, and those that do not answer. One statement may wait
 * for a lock (DDL on its table), its backend or the network may hang, and what stands behind it on
 * its lane hangs with it. A lane that owes an answer and is silent for some looks of the pool is
 * STALLED: what may be asked again goes elsewhere, and its late answers to nobody. Statements about
 * one table may stall so many lanes and no more; who comes after them waits on those, or is parked,
 * and does not stand in the way of others. So it is with finds that share no lane, of a view.
 */
#include "pg/pool_internal.h"

enum {
    LANE_DEPTH = 8, /* requests in flight on one lane before another one is opened */
    SHARE = 2, /* lanes that statements about one table may stall; where there are three at least */
    SELECT_SHARE_FROM = 4, /* in a pool of so many, the selects of one table leave one to others */
    /* A lock, or a slow view, is waited for, a backend that hangs is not. A lane that had just said
     * that it lives waits for a lock; of another one nobody knows: what it does not answer for so
     * long is asked again on another connection, later each time. */
    PATIENCE_FIRST_MS = 5 * 1000,
    PATIENCE_MOST_MS = 40 * 1000,
    SHY_MS = 1000 /* a table whose lane had to go for others asks for the next one after so long */
};

static struct stores__pg_conn *lane_at(struct stores__list *at) {
    return STORES__CONTAINER(at, struct stores__pg_conn, link);
}

/* ---- Choosing -------------------------------------------------------------------------------- */

static int lane_share(const struct stores__pg_pool *pool) {
    return pool->limit > SHARE ? SHARE : 1;
}

static bool is_stuck(const struct stores__pg_pool *pool, const struct stores__pg_topic *topic) {
    return topic != NULL &&
           (topic->stalled >= lane_share(pool) || uv_now(pool->loop) < topic->shy_until);
}

static struct stores__pg_conn *best_of(struct stores__pg_pool *pool, enum stores__pg_place place,
                                       const struct stores__pg_topic *topic) {
    struct stores__pg_conn *best = NULL;
    struct stores__list *lanes = &pool->places[place];
    bool apart = topic != NULL && topic->stalled > 0;
    for (struct stores__list *at = lanes->next; at != lanes; at = at->next) {
        struct stores__pg_conn *conn = lane_at(at);
        if (conn->in_flight >= LANE_DEPTH || uv_now(pool->loop) >= conn->retire_at) continue;
        if (!stores__pg_is_up(conn)) continue; /* its requests hear of the loss, and come here */
        /* its session is somebody's (stores__pg_keep_lane) */
        if (place == STORES__PG_READING && conn->foreign) continue;
        /* who has stalled one lane gets no company on the next one */
        if (place == STORES__PG_READING && conn->suspect != (apart ? topic : NULL)) continue;
        if (place == STORES__PG_STALLED && conn->blamed != topic) continue;
        if (best == NULL || conn->in_flight < best->in_flight) best = conn;
    }
    return best;
}

/* Each of its finds would take another lane, as many as there are. One more is opened where so many
 * wait as would share one, but for one that others find. */
static bool has_its_lanes(const struct stores__pg_pool *pool,
                          const struct stores__pg_topic *topic) {
    int most = lane_share(pool) + pool->parked / LANE_DEPTH;
    if (most >= pool->limit && pool->limit > 1) most = pool->limit - 1;
    return topic != NULL && topic->lanes + topic->stalled >= most;
}

struct stores__pg_conn *stores__pool_lane(struct stores__pg_pool *pool,
                                          const struct stores__pg_topic *topic) {
    if (is_stuck(pool, topic)) return best_of(pool, STORES__PG_STALLED, topic);
    return has_its_lanes(pool, topic) ? NULL : best_of(pool, STORES__PG_READING, topic);
}

void stores__pg_keep_lane(struct stores__pg_conn *conn, struct stores__pg_topic *topic) {
    stores__pg_foreign(conn, NULL);
    if (conn->pool->pooler || conn->place != STORES__PG_READING || conn->topic != NULL) return;
    conn->topic = topic;
    topic->lanes++;
}

bool stores__pool_must_park(const struct stores__pg_wait *wait) {
    const struct stores__pg_pool *pool = wait->pool;
    const struct stores__pg_topic *topic = wait->topic;
    if (topic == NULL) return false;
    if (wait->place == STORES__PG_READING) {
        return is_stuck(pool, topic) || has_its_lanes(pool, topic);
    }
    return wait->place == STORES__PG_CHECKED_OUT && pool->limit >= SELECT_SHARE_FROM &&
           topic->checked_out + topic->stalled >= pool->limit - 1;
}

/* ---- Stalling -------------------------------------------------------------------------------- */

static void stall(struct stores__pg_conn *conn) {
    struct stores__pg_topic *topic = stores__pg_stuck_on(conn);
    bool proven = conn->suspect != NULL;
    stores__pool_move(conn, STORES__PG_STALLED);
    conn->proven = proven;
    conn->stalled_at = uv_now(conn->pool->loop);
    conn->blamed = topic;
    if (topic != NULL) topic->stalled++;
    conn->pool->doubted_at = conn->stalled_at; /* if it is the network, it is not this one alone */
    /* what waits for the lock itself gains nothing by waiting elsewhere, where it may stall no
     * more */
    stores__pg_forsake(conn, is_stuck(conn->pool, topic) ? topic : NULL);
}

void stores__pool_heard(struct stores__pg_conn *conn) {
    conn->silent = 0;
    if (conn->place == STORES__PG_STALLED) stores__pool_move(conn, STORES__PG_READING);
}

/* A statement about it was answered: lanes that are silent are so for another reason. */
void stores__pool_absolve(struct stores__pg_conn *conn, struct stores__pg_topic *topic) {
    struct stores__pg_pool *pool = conn->pool;
    struct stores__list *lanes = &pool->places[STORES__PG_STALLED];
    for (struct stores__list *at = lanes->next; at != lanes; at = at->next) {
        if (lane_at(at)->blamed == topic) lane_at(at)->blamed = NULL;
    }
    topic->stalled = 0;
    topic->shy_until = topic->patience_ms = 0;
    pool->unpark = true;
}

/* What a lane is silent about may be of no use to anybody by now. */
void stores__pg_forget_topic(struct stores__pg_pool *pool, const struct stores__pg_topic *topic) {
    static const enum stores__pg_place lanes[] = {STORES__PG_READING, STORES__PG_STALLED};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        struct stores__list *list = &pool->places[lanes[i]];
        for (struct stores__list *at = list->next; at != list; at = at->next) {
            if (lane_at(at)->blamed == topic) lane_at(at)->blamed = NULL;
            if (lane_at(at)->suspect == topic) lane_at(at)->suspect = NULL;
            if (lane_at(at)->topic == topic) lane_at(at)->topic = NULL;
        }
    }
}

/* ---- Giving up ------------------------------------------------------------------------------- */

/* Its backend may wait for a lock for as long as it likes: so it is canceled as well as left. */
static void give_up(struct stores__pg_conn *conn) {
    stores__pg_blame_silence(conn);
    stores__pg_cancel(conn);
    stores__pg_discard(conn);
}

static uint64_t patience(const struct stores__pg_topic *topic) {
    return topic->patience_ms > PATIENCE_FIRST_MS ? topic->patience_ms : PATIENCE_FIRST_MS;
}

static bool must_go(struct stores__pg_conn *conn) {
    const struct stores__pg_pool *pool = conn->pool;
    struct stores__pg_topic *topic = conn->blamed;
    uint64_t silent = uv_now(pool->loop) - conn->stalled_at;
    if (stores__pg_is_wanted(conn)) {
        /* the server ends a statement by itself; one that does not is not there any more */
        if (conn->proven) {
            return silent >= pool->common.params.statement_timeout_ms + STORES__PG_GRACE_MS;
        }
        if (silent < (topic ? patience(topic) : STORES__PG_GRACE_MS)) return false;
        if (topic == NULL) return true;
        topic->patience_ms = 2 * patience(topic);
        if (topic->patience_ms > PATIENCE_MOST_MS) topic->patience_ms = PATIENCE_MOST_MS;
        return true;
    }
    return silent >= STORES__PG_GRACE_MS || (pool->lane_waiting + pool->checkout_waiting > 0 &&
                                             stores__pg_open_count(pool) >= pool->limit);
}

void stores__pool_look_at_lanes(struct stores__pg_pool *pool) {
    struct stores__list *lanes = &pool->places[STORES__PG_STALLED];
    for (struct stores__list *at = lanes->next, *next; at != lanes; at = next) {
        next = at->next;
        if (stores__pg_is_up(lane_at(at)) && must_go(lane_at(at))) give_up(lane_at(at));
    }
    struct stores__list *reading = &pool->places[STORES__PG_READING], busy;
    stores__list_init(&busy);
    /* what a stalled lane sends elsewhere must not change the list that is walked along */
    stores__list_move(reading, &busy);
    while (!stores__list_empty(&busy)) {
        struct stores__pg_conn *conn = lane_at(busy.next);
        stores__list_remove(&conn->link);
        stores__list_append(reading, &conn->link);
        bool owes = conn->in_flight > 0 && stores__pg_is_up(conn);
        if (owes && ++conn->silent >= STORES__POOL_SILENT_LOOKS) stall(conn);
    }
}

/* Others wait, no connection is left for them, and none can be opened: the lane that has been
 * silent for longest goes. Its statements are asked again when the others had their turn. */
void stores__pool_evict_lane(struct stores__pg_pool *pool) {
    struct stores__list *lanes = &pool->places[STORES__PG_STALLED];
    struct stores__pg_conn *oldest = NULL;
    if (pool->lane_waiting + pool->checkout_waiting <= pool->parked) return;
    if (stores__pg_open_count(pool) < pool->limit || pool->counts[STORES__PG_IDLE] > 0) return;
    for (struct stores__list *at = lanes->next; at != lanes; at = at->next) {
        struct stores__pg_conn *conn = lane_at(at);
        if (!stores__pg_is_up(conn)) continue;
        if (oldest == NULL || conn->stalled_at < oldest->stalled_at) oldest = conn;
    }
    if (oldest == NULL) return;
    if (oldest->blamed != NULL) oldest->blamed->shy_until = uv_now(pool->loop) + SHY_MS;
    give_up(oldest);
}

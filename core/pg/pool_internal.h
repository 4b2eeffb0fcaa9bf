/*
 * pool_internal.h - the pool as its own files see it, each of which calls those above it alone:
 *
 *   places.c     where connections are, and the one that moves them
 *   waits.c      who waits for one
 *   lanes.c      those that many share, and what is done about one that does not answer
 *   grow.c       opening them
 *   idle.c       those that nobody uses
 *   aside.c      those beside the pool
 *   watch.c      looks at what is silent, from time to time
 *   pool.c       who gets which
 *   pool_life.c  opening, closing, and what connections tell
 *
 * Upwards goes pool->serve alone.
 */
#ifndef STORES_PG_POOL_INTERNAL_H
#define STORES_PG_POOL_INTERNAL_H

#include "pg/pool.h"

/* ---- places.c -------------------------------------------------------------------------------- */

/* The only way from one place to another. */
void stores__pool_move(struct stores__pg_conn *conn, enum stores__pg_place place);
/* The one that came last; NULL: none. */
struct stores__pg_conn *stores__pool_first(const struct stores__pg_pool *pool,
                                           enum stores__pg_place place);
/* An idle connection that is neither asked whether it lives nor reset. */
struct stores__pg_conn *stores__pool_first_free(const struct stores__pg_pool *pool);
/* The last handle of a closed one is gone (a hook). */
void stores__pool_gone(struct stores__pg_conn *conn);
/* Tells the engine when the last connection of a closing pool is gone. */
void stores__pool_check_closed(struct stores__pg_pool *pool);

/* ---- waits.c --------------------------------------------------------------------------------- */

/* False: it cannot wait, and its failed() was called. */
bool stores__pool_enqueue(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
                          enum stores__pg_place place, const char *purpose);
void stores__pool_leave_queue(struct stores__pg_wait *wait);
void stores__pool_fail_waits(struct stores__pg_pool *pool, const stores_error *error);
void stores__pool_park(struct stores__pg_wait *wait);
void stores__pool_unpark_all(struct stores__pg_pool *pool);
/* How many wait in the queues, without those that are parked. */
static inline int stores__pool_queued(const struct stores__pg_pool *pool) {
    return pool->lane_waiting + pool->checkout_waiting - pool->parked;
}

/* ---- lanes.c --------------------------------------------------------------------------------- */

/* A lane for a statement on this topic; NULL: none has room. */
struct stores__pg_conn *stores__pool_lane(struct stores__pg_pool *pool,
                                          const struct stores__pg_topic *topic);
/* Its topic has as many connections as it may. */
bool stores__pool_must_park(const struct stores__pg_wait *wait);
/* How many looks in a row a connection may be silent. A count of looks and not a time: a process
 * that was paused has heard nothing either. */
enum { STORES__POOL_LOOK_MS = 150, STORES__POOL_SILENT_LOOKS = 3 };
void stores__pool_look_at_lanes(struct stores__pg_pool *pool);
void stores__pool_evict_lane(struct stores__pg_pool *pool);
void stores__pool_heard(struct stores__pg_conn *conn); /* a hook */
void stores__pool_absolve(struct stores__pg_conn *conn,
                          struct stores__pg_topic *topic); /* a hook */

/* ---- grow.c ---------------------------------------------------------------------------------- */

/* A time +-10 %. */
uint64_t stores__pool_jitter(uint64_t ms);
/* Opens another connection where that is allowed now. */
void stores__pool_grow(struct stores__pg_pool *pool);
/* Begins the back-off; where no connection is open, all who wait fail. */
void stores__pool_attempt_failed(struct stores__pg_pool *pool, const stores_error *error);
void stores__pool_retry(struct stores__timer *timer); /* the back-off is over */
/* Starts to connect, in that place; the target is taken. NULL: no memory, or no socket. */
struct stores__pg_conn *stores__pool_connect(struct stores__pg_pool *pool,
                                             struct stores__pg_target *target,
                                             enum stores__pg_place place);
/* Whether a connection that failed so may be opened at once without start-up options; otherwise the
 * error gets its hint where that was the reason. */
bool stores__pool_unoption(const struct stores__pg_conn *conn, stores_error *error);

/* ---- idle.c ---------------------------------------------------------------------------------- */

/* What an idle connection is good for, which may have been idle for long. */
enum stores__pool_fitness {
    STORES__POOL_FIT,
    STORES__POOL_DOUBTFUL, /* it is asked first whether it lives */
    STORES__POOL_SPENT
};
enum stores__pool_fitness stores__pool_fitness(struct stores__pg_conn *conn);
/* Asks it whether it lives, and what its database says of itself. */
void stores__pool_ping(struct stores__pg_conn *conn);
/* It was given back in a pool that is too busy for anybody to have looked what the database says of
 * itself. */
void stores__pool_look_busy(struct stores__pg_conn *conn);
/* How many are being asked, and may still answer any moment. */
int stores__pool_asked(const struct stores__pg_pool *pool);
void stores__pool_idle_init(struct stores__pg_pool *pool);
void stores__pool_read_only(struct stores__pg_conn *conn); /* a hook */

/* ---- aside.c --------------------------------------------------------------------------------- */

/* Hooks of a connection beside the pool. */
void stores__pool_aside_ready(struct stores__pg_conn *conn);
void stores__pool_aside_failed(struct stores__pg_conn *conn, const stores_error *error);
void stores__pool_aside_lost(struct stores__pg_conn *conn);
void stores__pool_asides_close(struct stores__pg_pool *pool);

/* ---- watch.c --------------------------------------------------------------------------------- */

/* Somebody waits: looks from time to time who is silent. */
void stores__pool_watch(struct stores__pg_pool *pool);
void stores__pool_look(struct stores__timer *timer);

/* ---- pool.c ---------------------------------------------------------------------------------- */

/* Gives idle connections to those who wait, and opens another one where that is not enough. */
void stores__pool_serve(struct stores__pg_pool *pool);
void stores__pool_drained(struct stores__pg_conn *conn); /* a hook */
void stores__pool_was_reset(struct stores__pg_conn *conn); /* a hook */

#endif

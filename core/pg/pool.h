/*
 * pool.h - which connection serves what. A connection is in exactly one list, and one function
 * moves it. Who needs one waits here, with a deadline, first come first served among its kind;
 * where connections are scarce the two kinds take turns.
 *
 * A lane that does not answer takes nothing more, but what waits for the same (lanes.c).
 *
 *   lanes      serve statements that the engine built: a reading lane is shared by several requests
 *              in flight, a writing lane belongs to one segment from BEGIN to COMMIT.
 *   checkouts  belong to one transaction, or to one call that may take long.
 */
#ifndef STORES_PG_POOL_H
#define STORES_PG_POOL_H

#include "base/latency.h"
#include "pg/conn.h"

struct stores__pg_wait {
    struct stores__list link;
    struct stores__timer timer; /* acquire_timeout */
    struct stores__pg_pool *pool;
    enum stores__pg_place place; /* READING, WRITING or CHECKED_OUT */
    const char *purpose; /* static: what a message calls it */
    uint64_t since;
    bool waiting, parked;
    bool urgent; /* set before: who waits holds a connection that nobody gets before */
    struct stores__pg_topic *topic; /* set before: what it is for; NULL: nothing others share */
    /* Exactly one of them comes, once; granted may come inside stores__pg_acquire. */
    void (*granted)(struct stores__pg_wait *wait, struct stores__pg_conn *conn);
    void (*failed)(struct stores__pg_wait *wait, const stores_error *error);
};

struct stores__pg_pool {
    uv_loop_t *loop;
    struct stores__timers *timers;
    struct stores__pg_common common; /* what its connections know of each other */
    int size, limit; /* limit: size, or less while the server has no room for more */
    int max_waiters;
    bool pooler, closing;
    uint64_t connect_timeout_ms, acquire_timeout_ms, idle_ms, age_ms, ping_ms, reap_ms;
    int min_idle;

    struct stores__list places[STORES__PG_PLACES];
    int counts[STORES__PG_PLACES];
    struct stores__list lane_waits, checkout_waits;
    int lane_waiting, checkout_waiting; /* those that are parked among them */
    struct stores__list parked_waits; /* their topic has stalled as many lanes as it may */
    int parked;
    bool unpark; /* one of them may go on now */
    bool lanes_next; /* whose turn it is at a connection that both want */

    struct stores__list asides; /* struct stores__pg_aside: connections beside the pool */
    struct stores__pg_resolve *resolving; /* one attempt to connect at a time */
    struct stores__timer retry, reaper;
    struct stores__timer watch; /* looks at what is silent, while somebody waits for it */
    uint64_t doubted_at; /* a connection was lost: those not heard of since are asked first */
    uint64_t looked_at; /* when a database was asked last what it says of itself */
    uint64_t renewed_at; /* when a server that refuses writes had the pool renewed */
    int failures; /* in a row: the back-off */
    stores_error last_error;
    uint64_t next_serial;

    /* Somebody may be served now: for those who find it out, and are not who serves. */
    void (*serve)(struct stores__pg_pool *pool);

    /* To the engine, from the loop. */
    void *arg;
    void (*crowded)(void *arg); /* somebody waits, and no other connection may be opened */
    void (*connected)(void *arg, const struct stores__pg_conn *conn);
    void (*dropped)(void *arg); /* a connection that was up is lost; inside what found out */
    void (*closed)(void *arg);
};

bool stores__pg_pool_open(struct stores__pg_pool *pool, uv_loop_t *loop,
                          struct stores__timers *timers, const stores_config *config,
                          stores_error *error);
/* In a child of a fork, before it is closed: nothing that closing does reaches the server. */
void stores__pg_pool_deafen(struct stores__pg_pool *pool, int deaf);
/* Fails who waits, closes what is open; closed(arg) when the last handle is gone. */
void stores__pg_pool_close(struct stores__pg_pool *pool);
void stores__pg_pool_free(struct stores__pg_pool *pool);

/* Asks for a connection; wait is the caller's until granted or failed. */
void stores__pg_acquire(struct stores__pg_pool *pool, struct stores__pg_wait *wait,
                        enum stores__pg_place place, const char *purpose);
/* Leaves the queue; harmless for one that does not wait. */
void stores__pg_unwait(struct stores__pg_wait *wait);
/* Gives back a WRITING or CHECKED_OUT connection. One that is not idle is closed, never reused. */
void stores__pg_release(struct stores__pg_conn *conn);
/* Closes a connection that is good for nothing any more. */
void stores__pg_discard(struct stores__pg_conn *conn);
/* Closes a connection that will not be idle within that time, for nobody waits any more for what it
 * does; its holder hears of it as of a loss. */
void stores__pg_give_up_in(struct stores__pg_conn *conn, uint64_t ms);
/* What somebody's function may leave in the session of this lane is taken back once it has drained:
 * nobody joins it before that, and its topic has few such lanes at a time. */
void stores__pg_keep_lane(struct stores__pg_conn *conn, struct stores__pg_topic *topic);
/* The topic is over: no call waits for it, nor has a connection for it. */
void stores__pg_forget_topic(struct stores__pg_pool *pool, const struct stores__pg_topic *topic);
/* Has the connections of a lower serial replaced, so that the next ones tell who the server is
 * now. */
void stores__pg_pool_renew(struct stores__pg_pool *pool, uint64_t before);
/* What a call that asks for a connection now would wait for. */
enum stores__phase stores__pg_wait_phase(const struct stores__pg_pool *pool);
/* Whether a connection can be granted at once. */
bool stores__pg_has_idle(const struct stores__pg_pool *pool);
/* Connections that are open, without those that connect. */
int stores__pg_open_count(const struct stores__pg_pool *pool);

#endif

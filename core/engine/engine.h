/* engine.h - the engine as its own files see it. */
#ifndef STORES_ENGINE_H
#define STORES_ENGINE_H

#include <sys/types.h>

#include "base/flake.h"
#include "engine/op.h"
#include "engine/breaker.h"
#include "pg/pool.h"

/* Every figure that is counted by the engine itself; the names are those of stats(). */
#define STORES__COUNTERS(X)                                                                        \
    X(calls)                                                                                       \
    X(timeouts)                                                                                    \
    X(hits)                                                                                        \
    X(negative_hits)                                                                               \
    X(misses)                                                                                      \
    X(hints_found)                                                                                 \
    X(hints_missed)                                                                                \
    X(leases_granted)                                                                              \
    X(leases_refused)                                                                              \
    X(lease_waits)                                                                                 \
    X(fills)                                                                                       \
    X(fills_refused)                                                                               \
    X(intents)                                                                                     \
    X(settles_published)                                                                           \
    X(settles_deleted)                                                                             \
    X(settles_resolved)                                                                            \
    X(turns_started)                                                                               \
    X(turns_ended)                                                                                 \
    X(bypassed)                                                                                    \
    X(redis_refused)                                                                               \
    X(segments)                                                                                    \
    X(segment_writes)                                                                              \
    X(segment_retries)                                                                             \
    X(selects)                                                                                     \
    X(read_retries)                                                                                \
    X(commits)                                                                                     \
    X(rollbacks)                                                                                   \
    X(unknown_outcomes)

struct stores__counters {
#define STORES__X(name) uint64_t name;
    STORES__COUNTERS(STORES__X)
#undef STORES__X
};

/* What becomes of an engine, in this order (close.c moves it). */
enum stores__life {
    STORES__OPEN,
    STORES__LEFT, /* closed in a child of a fork */
    STORES__PARTING, /* links and connections close */
    STORES__UNWINDING, /* handles of libuv close */
    STORES__CLOSED /* nothing of it is on the loop */
};

struct stores__part;
struct stores__names;
struct stores__cache;
struct stores__replicas;
struct stores__writes;
struct stores__ears;

/* Work that is done once at the end of the tick, however often it was asked for. */
struct stores__flush {
    struct stores__list link;
    void (*run)(struct stores__flush *flush);
};

struct stores_engine {
    uv_loop_t *loop;
    bool owns_loop;
    enum stores__life life;
    int left; /* PARTING, UNWINDING: what has to close before the next state */
    uint64_t process; /* that made it */
    bool in_child; /* a child of a fork has met it */
    struct stores__list parents; /* in a child: what was ready at the fork, and is told there */
    stores_config config; /* its strings are not kept: each part copied what it needs */
    struct stores__timers timers;
    struct stores__pg_pool pool;
    const struct stores__part *parts; /* what stands above the engine (part.h), lowest first */
    int part_count;
    int flush_first, flush_end; /* those that gather something are among these */
    struct stores__flake flake;
    struct stores__breaker breaker;
    bool met; /* a server */
    struct stores__pg_shard shard; /* what its database said it is */
    int64_t clock_ms; /* its clock, since 1970, at clock_heard_ns (uv_hrtime); 0: not told */
    uint64_t clock_heard_ns;
    struct stores__spares spare_ops;
    struct stores__spares spare_reads; /* of one row each (read/reads.c) */
    struct stores__counters counters;
    struct stores__latency latency;
    bool timed; /* ops keep where their time goes */
    uint64_t burst_ns; /* the time for all that completes just now; 0: each looks for itself */

    uv_prepare_t prepare; /* the end of a tick; referenced while an op is pending, and only then */
    uv_check_t check; /* after the poll: callbacks of what completed in it */
    uv_idle_t idle; /* active for one turn after callbacks ran before the poll: it must not block */
    struct stores__list ready;
    struct stores__list pending; /* every op that has not completed */
    size_t pending_count; /* ops that are not done */
    size_t live_ops; /* ops that are not freed */
    struct stores__list
        flushes; /* struct stores__flush: who has something to send at the tick's end */
    struct stores__list txs; /* open transactions */
    uint64_t chance; /* in the names of their savepoints: a caller of SQL has names, too */
    int starved; /* looks in a row at which each connection waited for one more (write/starve.c) */
    struct stores__ears *ears; /* listen.c; NULL: nobody ever listened */
    struct stores__list tables;
    struct stores__list tables_unused; /* of them, the longest unused first (table.c) */
    int table_count;
    struct stores__flush tables_flush; /* frees those that are too many */
    uint64_t facts_serial; /* counts questions to the catalog (names/facts.c) */
    struct stores__list epochs; /* of tables, by oid (cache/epoch.c); tables go before them */

    /* What the parts keep of an engine: what is in there is theirs. */
    struct stores__cache *cache; /* NULL: the engine does not cache. No more is asked from below. */
    struct stores__replicas *replicas; /* NULL: there are none. The same. */
    struct stores__names *names;
    struct stores__writes *writes;

    void (*closed)(void *arg);
    void *closed_arg;
};

/* Asks for the flush at the end of this tick. */
static inline void stores__flush_at_end(stores_engine *engine, struct stores__flush *flush) {
    if (stores__list_empty(&flush->link)) stores__list_append(&engine->flushes, &flush->link);
}

static inline uint64_t stores__now(const stores_engine *engine) {
    return uv_now(engine->loop);
}

static inline bool stores__closing(const stores_engine *engine) {
    return engine->life != STORES__OPEN;
}

/* Says something to the host's log. */
void stores__log(stores_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* It is: true. */
bool stores__engine_in_child(stores_engine *engine);
/* Whether this process is a child of the one that made the engine: nothing of it may be touched,
 * for its sockets, and the descriptor of its loop, are the parent's. */
static inline bool stores__engine_forked(stores_engine *engine) {
    return engine->process != stores__process() && stores__engine_in_child(engine);
}
/* The loop is not to wait before the next end of a tick. */
void stores__engine_wake(stores_engine *engine);
/* The first and the last pending op hold and free the loop. */
void stores__engine_hold(stores_engine *engine);
void stores__engine_let_go(stores_engine *engine);
/* The engine closes: listeners do not try again (listen.c). */
void stores__listen_stop_all(stores_engine *engine);
void stores__listen_free(stores_engine *engine);
/* How many listeners there are, and how many of them the server has confirmed. */
void stores__listen_figures(const stores_engine *engine, size_t *listeners, size_t *confirmed);
/* Starts the handles that end a tick (engine.c). False: nothing is on the loop. */
bool stores__engine_start(stores_engine *engine, stores_error *error);
/* A connection is ready: by its server's clock ids are made from now on (clock.c). */
void stores__clock_told(stores_engine *engine, const struct stores__pg_conn *conn);
/* Closing: the pool, or a part, is gone (close.c). */
void stores__engine_parted(void *engine);
/* An op was freed; the last one of a closed engine takes the engine with it. */
void stores__engine_op_gone(stores_engine *engine);

#endif

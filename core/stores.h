/*
 * stores.h - the header of libstores: PostgreSQL jsonb documents behind a Redis cache that never
 * lies. C11; libuv's header is not needed. It includes stores_config.h, what an engine is made of,
 * stores_replica.h, stores_error.h, stores_inspect.h and stores_tx.h, which stand beside it.
 *
 * How it works. An engine lives on one libuv loop and belongs to one thread. A call gives an op;
 * the op completes exactly once, from the loop, never inside the call that started it; then its
 * callback runs, once. What the op holds (documents, rows, the error) stays valid until
 * stores_op_free. All times are in milliseconds. All strings that go in are copied unless a
 * function says otherwise; lengths are in bytes; text is UTF-8.
 *
 * Ids are the signed 64-bit primary keys of rows (id bigint primary key, value jsonb).
 */
#ifndef STORES_H
#define STORES_H

#include "stores_config.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STORES_VERSION "0.1.0"
/* The version of the library that runs, as STORES_VERSION was when it was built; static. */
STORES_API const char *stores_version(void);

typedef struct stores_engine stores_engine;
typedef struct stores_op stores_op;
typedef struct stores_tx stores_tx;

/* ---- Engines ------------------------------------------------------------------------------ */

/* Makes an engine; nothing is connected until the first call needs it (Redis: at once, in the
 * background). NULL: *error, which may be NULL, says why. Free it with stores_engine_close. */
STORES_API stores_engine *stores_engine_new(const stores_config *config, stores_error *error);

/* Fails what is pending with `closed`, rolls back what is open, writes out what is queued, closes
 * every handle; then calls closed(arg) from the loop, after which the engine is gone. Ops that were
 * not freed yet stay valid. Calls on a closing engine complete with `closed`; those of a
 * transaction that is kept until the engine is gone are done at once, without a callback. An engine
 * with a loop of its own turns it here, until it is gone, and may not be closed from inside a
 * callback.
 *
 * In a child of a fork an engine of the parent's takes no call: each completes with `forked`, when
 * stores_pump or stores_wait is called. Closing it there lets go of it, and leaves the parent's
 * connections alone. Its loop must not be turned by the child. */
STORES_API void stores_engine_close(stores_engine *engine, void (*closed)(void *arg), void *arg);

/* In a child of a fork: lets go of the parent's engine for good. Its descriptors are closed here,
 * so that the connections end when the parent's do; the servers are told nothing, what runs there
 * goes on, and the parent notices nothing. Calls that were under way are done with `forked`; no
 * callback runs; ops and transactions that the child still has are to be freed as ever, listeners
 * are gone. A loop that is the host's is first made the child's by uv_loop_fork; what the engine
 * has on it goes with its next turns, and with it the engine. False, and nothing was done: this
 * process made the engine, or it was being closed, or there is no descriptor left. */
STORES_API bool stores_engine_forget(stores_engine *engine);

/* The loop, for hosts that turn it themselves (uv_run). */
STORES_API struct uv_loop_s *stores_engine_loop(stores_engine *engine);
/* For hosts with a poll loop of their own: wait for this descriptor to be readable, at most so
 * many milliseconds (-1: for ever), then call stores_pump, which never waits. */
STORES_API int stores_backend_fd(stores_engine *engine);
STORES_API int stores_backend_timeout(stores_engine *engine);
/* Turns the loop a few times at most: where stores_backend_timeout says 0 after it, there is
 * more. */
STORES_API void stores_pump(stores_engine *engine);
/* Turns the loop, waiting, until the op is done. Not from inside a callback; the op's own callback
 * must not free it. */
STORES_API void stores_wait(stores_engine *engine, stores_op *op);
/* Sends what the calls since the last turn have queued, without waiting for the loop. */
STORES_API void stores_flush(stores_engine *engine);
/* Between two of many writes, while the loop does not turn: takes what servers have answered to
 * those that are under way, and sends what follows. Callbacks run in here. Never waits; not from
 * inside a callback. */
STORES_API void stores_glance(stores_engine *engine);

/* ---- Calls -------------------------------------------------------------------------------- */

typedef void (*stores_cb)(stores_op *op, void *arg);

/* How one call is made. */
typedef struct stores_call {
    size_t size;
    uint64_t timeout_ms; /* 0: the engine's */
    bool no_cache; /* neither read from the cache nor publish to it; intents are placed anyway */
    stores_tx *inside; /* the caller holds it, and will not end it before this call is over; NULL */
    stores_cb cb; /* runs once, from the loop; may free the op and may start others. Also of a call
                   * that is refused for its size */
    void *arg;
    stores_read read;
    const char *after_token; /* of stores_token, here or elsewhere; NULL. One of other servers has
                              * the primary asked */
    uint64_t no_hold; /* not 0: it neither reads rows that are held in memory nor keeps any there */
} stores_call;

#define STORES_CALL_INIT STORES_SIZED(stores_call)

/* Text parameters of a statement; a NULL value is SQL's NULL. */
typedef struct stores_params {
    size_t size;
    int count;
    const char *const *values;
} stores_params;

#define STORES_PARAMS_INIT STORES_SIZED(stores_params)

typedef enum stores_change_kind {
    STORES_INSERT = 0, /* fails with `duplicate` where the id is taken */
    STORES_UPDATE = 1, /* replaces the document; affected 0 where no row has the id */
    STORES_UPSERT = 2,
    STORES_DELETE = 3,
    /* value = expr, an SQL expression over `value`, $1 (the id) and $2.. (params) */
    STORES_MODIFY = 4
} stores_change_kind;

typedef struct stores_change {
    size_t size;
    stores_change_kind kind;
    bool want_document; /* keep the row as it is after the change; MODIFY always does */
    const char *table;
    int64_t id;
    const char *json; /* the document, NUL-terminated; not for DELETE and MODIFY */
    const char *expected; /* UPDATE: only where the row still holds this text, which a read gave;
                             affected is 0 elsewhere. NULL: whatever it holds */
    const char *expr;
    const stores_params *params; /* for MODIFY: $2 and on; for condition; NULL: none */
    const char *etag; /* only where the row's text has this etag (stores_op_etag); affected is 0
                         where it has another one, or no row has the id. NULL: whatever it holds.
                         An UPSERT then inserts nothing. Not for INSERT, nor beside expected */
    const char *condition; /* UPDATE, DELETE, MODIFY: only where this SQL expression over `value` is
                              true; affected is 0 elsewhere. Its parameters are params: $3 and on
                              of an UPDATE, $2 and on of a DELETE, of a MODIFY those of expr. Not
                              beside expected and etag. NULL: whatever the row holds */
} stores_change;

#define STORES_CHANGE_INIT STORES_SIZED(stores_change)

typedef struct stores_query_options {
    size_t size;
    bool autocommit; /* run as it comes, in no transaction: for statements that refuse one */
    bool readonly; /* the statement writes nothing: spares the question, and the server checks; but
                    * inside a transaction that writes, or autocommit, the caller alone vouches for
                    * it */
    bool simple; /* several statements in one text; no parameters */
    int invalidates_count;
    const char *const *invalidates; /* tables that it writes, instead of asking; NULL: ask */
} stores_query_options;

#define STORES_QUERY_OPTIONS_INIT STORES_SIZED(stores_query_options)

/*
 * Every one of these gives an op that completes later, or NULL only where memory ran out. What
 * the arguments get wrong is an error of the op, not of the call.
 */
STORES_API stores_op *stores_find(stores_engine *engine, const stores_call *call, const char *table,
                                  int64_t id);
STORES_API stores_op *stores_find_many(stores_engine *engine, const stores_call *call,
                                       const char *table, const int64_t *ids, size_t count);
/* Hints are for rows that are looked for by something else than their id, of which one row has at
 * most: a key, any bytes, leads to the id of the row that had it last. They are in Redis, of all
 * processes that share the cache, for as long as its `ttl`, and each may be lost, old, or wrong.
 *
 * find_hinted reads the row that the hint leads to as stores_find does. What it finds counts where
 * the caller sees that the row has the key; otherwise PostgreSQL is to be asked, whose word alone
 * it is that no row has it. affected: 1 where there was a hint, also to a row that is not there; 0
 * where there was none, or Redis was not asked. */
STORES_API stores_op *stores_find_hinted(stores_engine *engine, const stores_call *call,
                                         const char *table, const char *key, size_t len);
/* What PostgreSQL said: id, the row that has the key now; NULL: none has, and the hint is removed.
 * It goes to Redis with what else the tick sends; nobody hears of what becomes of it, and where the
 * engine has not met the table, or Redis cannot be reached, nothing is done. */
STORES_API void stores_hint(stores_engine *engine, const char *table, const char *key, size_t len,
                            const int64_t *id);
STORES_API stores_op *stores_write(stores_engine *engine, const stores_call *call,
                                   const stores_change *change);
/* Rows of this table, by the name as calls write it, are held in the memory of this process from
 * now on, where there is a cache: reads of them cost no round trip, and are no older for that. The
 * first reads begin it, in the background. Writers of all processes wait for those who hold rows of
 * it. False: no memory, or it is no name. */
STORES_API bool stores_hold(stores_engine *engine, const char *table);
/* A row in that memory, valid until the engine is called again or its loop turns. The slot is a
 * number from 1 on, as small as there are rows, which no other one has as long as this one is
 * there. The marks are the caller's, to know it again: 0 in a row that was read anew. */
enum { STORES_HELD_MARKS = 2 };
typedef struct stores_held {
    size_t size;
    const char *text;
    size_t len;
    uint32_t *marks;
    uint64_t slot;
} stores_held;

#define STORES_HELD_INIT STORES_SIZED(stores_held)

/* 1: the row; 0: there is no such row; -1: it is not known here, and stores_find is to be asked,
 * which keeps it; or held->size is none. */
STORES_API int stores_held_find(stores_engine *engine, const char *table, int64_t id,
                                stores_held *held);
/* The slots that rows had, and none has now; how many. Valid until the engine is called again. */
STORES_API size_t stores_held_free_slots(const stores_engine *engine, const uint32_t **slots);
/* Who held rows and did not let go of them, so that a write waited for the end of a lease: the last
 * of them, as <host>:<process>:<chance>, and /<ms> where its leases do not last a second; "":
 * nobody. And why rows that are to be held are not, in
 * the words of a server; "": they are. Both valid up to the next turn of the loop. */
STORES_API const char *stores_held_waited(const stores_engine *engine);
STORES_API const char *stores_held_refused(const stores_engine *engine);
/* A SELECT that only reads; %T in the text is replaced by the quoted name of the table. */
STORES_API stores_op *stores_select(stores_engine *engine, const stores_call *call,
                                    const char *table, const char *sql,
                                    const stores_params *params);
STORES_API stores_op *stores_query(stores_engine *engine, const stores_call *call, const char *sql,
                                   const stores_params *params,
                                   const stores_query_options *options);
/* After a write that Stores did not see: of one row (id), or of the whole table (id NULL). Of a
 * partition or a view, whose own rows are not cached, the tables behind it are told, as a whole. */
STORES_API stores_op *stores_invalidate(stores_engine *engine, const stores_call *call,
                                        const char *table, const int64_t *id);

/* Whether it succeeded or failed already. */
STORES_API bool stores_op_done(const stores_op *op);
/* NULL: it succeeded (or is not done). Lives as long as the op. */
STORES_API const stores_error *stores_op_error(const stores_op *op);
/* Documents of find, find_many (in the order of the ids) and of changes. */
STORES_API size_t stores_op_document_count(const stores_op *op);
/* False where there is no such row. text is not NUL-terminated and lives as long as the op; id may
 * be NULL. */
STORES_API bool stores_op_document(const stores_op *op, size_t index, int64_t *id,
                                   const char **text, size_t *len);
enum { STORES_ETAG_SIZE = 33 };
/* The etag of a document: 32 lower-case hex digits of its stored text, the same whether it came
 * from the cache or from PostgreSQL, which gives it as md5(value::text). False where there is no
 * such row. */
STORES_API bool stores_op_etag(const stores_op *op, size_t index, char etag[STORES_ETAG_SIZE]);
/* Whether a text is the etag of a document: the digits, as they were given. */
STORES_API bool stores_is_etag(const char *text, size_t len);
/* Rows that were changed (changes, queries). */
STORES_API int64_t stores_op_affected(const stores_op *op);
/* UPSERT: the row was not there before. */
STORES_API bool stores_op_inserted(const stores_op *op);
/* Of a change: the id of its row as it is now, which is another one than was asked for where a
 * trigger of the table rewrites it. */
STORES_API int64_t stores_op_id(const stores_op *op);
/* Rows of select and query: of the last statement that gave rows. */
STORES_API int stores_op_rows(const stores_op *op);
STORES_API int stores_op_columns(const stores_op *op);
STORES_API const char *stores_op_column(const stores_op *op, int column);
STORES_API uint32_t stores_op_column_type(const stores_op *op, int column); /* pg_type oid */
/* NULL: SQL's NULL. NUL-terminated text; len may be NULL. */
STORES_API const char *stores_op_value(const stores_op *op, int row, int column, size_t *len);
/* Where the answer came from: 'c' the cache, 'p' PostgreSQL, 'r' a replica of it, '-' nowhere
 * yet. */
STORES_API char stores_op_source(const stores_op *op);
/* Where the seconds of a done op went, where the engine was asked to keep that. */
typedef struct stores_times {
    size_t size;
    unsigned retries; /* how often its statement, or the segment that it was in, ran again */
    double queue, connect, redis, postgres;
} stores_times;

#define STORES_TIMES_INIT STORES_SIZED(stores_times)

/* Zeros where it was not asked to; retries are always counted. False: times->size is none. */
STORES_API bool stores_op_times(const stores_op *op, stores_times *times);
STORES_API void stores_time_calls(stores_engine *engine, bool on);
/* Frees a done op, or abandons a pending one: its callback never runs, and what it had not sent
 * yet is not sent. NULL is allowed. */
STORES_API void stores_op_free(stores_op *op);

/* ---- Documents that are past ------------------------------------------------------------- */

/* Documents of the tables of this name have, at the path of count names, the time at which they are
 * past: a number of seconds since 1970, or a text of RFC 3339 in UTC. None stays in the cache for
 * longer; what is past, and comes from PostgreSQL, for no longer than that a row is not there. Who
 * reads it sees to it that it is past. The name as calls write it; it counts for later calls, and
 * replaces what was said before; count 0 takes it back. False: no memory, or it is no name. */
STORES_API bool stores_expires(stores_engine *engine, const char *table, const char *const *path,
                               size_t count);

/* ---- LISTEN ------------------------------------------------------------------------------- */

typedef struct stores_listener stores_listener;

/* Listens to a channel, on a connection that all channels of the engine share, beside its pool; it
 * is opened again when it is lost. notified
 * runs from the loop: with a payload; or with channel NULL after a loss, when it listens again and
 * may have missed some. It must not call the engine. The listener keeps the loop alive. NULL: no
 * memory, or a channel name that is empty or longer than 63 bytes. Stop it with stores_unlisten,
 * before the engine is closed. */
STORES_API stores_listener *
stores_listen(stores_engine *engine, const char *channel,
              void (*notified)(void *arg, const char *channel, const char *payload), void *arg);
/* Done when the server has confirmed that it listens, or has refused to: then the op fails, and the
 * listener goes on trying until it is stopped. */
STORES_API stores_op *stores_listening(stores_listener *listener, const stores_call *call);
/* Whether a pooler answered it, by the key that it gave for cancels. One in transaction mode
 * confirms a LISTEN, of which nothing will ever be heard: it has sessions of the server for a
 * statement. */
STORES_API bool stores_listener_pooled(const stores_listener *listener);
STORES_API void stores_unlisten(stores_listener *listener);

/* ---- Ids, shards, figures ----------------------------------------------------------------- */

/* A new flake id, of the engine's own shard; strictly increasing in this process, and by the clock
 * of the server, where it has been met. 0: that clock is out of the range of ids. */
STORES_API int64_t stores_generate_id(stores_engine *engine);
/* Milliseconds since 1970 by the clock of the server, once it has been met; by our own before. */
STORES_API int64_t stores_unix_ms(const stores_engine *engine);
/* Whether a connection was there, and told the time. */
STORES_API bool stores_has_met(const stores_engine *engine);
/* Waits until one is there, without a round trip of its own. */
STORES_API stores_op *stores_meet(stores_engine *engine, const stores_call *call);
/* Milliseconds since 1970 of an id, and the smallest id of such a time; 22-bit layout. */
STORES_API int64_t stores_flake_time(int64_t id);
STORES_API int64_t stores_flake_at(int64_t unix_ms);
/* The same for engines with `simpleflake`. */
STORES_API int64_t stores_simpleflake_time(int64_t id);
STORES_API int64_t stores_simpleflake_at(int64_t unix_ms);
/* Reads a canonical signed 64-bit decimal. False: *error (may be NULL) says what is wrong. */
STORES_API bool stores_id_parse(const char *text, size_t len, int64_t *id, stores_error *error);
/* The true modulo of the signed id: -1 of 4 is 3. -1 where count is not positive. */
STORES_API int stores_shard_of(int64_t id, int count);

/* What PostgreSQL answered to one statement of the engine; valid inside of the callback alone. */
typedef struct stores_statement {
    size_t size;
    const char *sql; /* as it was sent: parameters are $1 and on, and their values are not told */
    uint64_t connection; /* a number; the statements of one transaction have the same */
    int64_t rows; /* that it gave, or else changed */
    stores_code code; /* STORES_OK, or why it failed */
    char sqlstate[8]; /* "" where PostgreSQL said nothing */
    double queue; /* seconds from sending to the answer of the one before it on its connection */
    double postgres; /* seconds from then on to its own answer */
} stores_statement;

typedef void (*stores_statement_cb)(void *arg, const stores_statement *statement);
/* Calls fn from the loop for each statement that ended; NULL: no more. In the callback no call may
 * be started. */
STORES_API void stores_watch_statements(stores_engine *engine, stores_statement_cb fn, void *arg);

/* Calls figure(name, value) for every figure of the engine; names are static. */
STORES_API void stores_stats(stores_engine *engine,
                             void (*figure)(void *arg, const char *name, double value), void *arg);

/* Calls verb for each verb with its histogram: counts[i] calls took at most bounds[i] seconds and
 * more than the bound before it (the last bucket has no bound), sum seconds all of them
 * together. */
STORES_API void stores_latency(stores_engine *engine,
                               void (*verb)(void *arg, const char *name, const uint64_t *counts,
                                            const double *bounds, int buckets, double sum),
                               void *arg);

/* Why rows are not cached, or other processes not told of writes, just now, for a human: Redis is
 * away, refuses what it is asked (in its own words), or may evict. "": they are. Valid up to the
 * next turn of the loop. */
STORES_API const char *stores_redis_trouble(const stores_engine *engine);
/* Calls turning(table, ms, writers) for every table whose epoch this engine knows to be turning (or
 * that waits for Redis to be turned): since how many ms, and the virtual ids of the transactions
 * that are waited for, as PostgreSQL writes an array ("{3/12,4/7}"). Reads of such a table come
 * from PostgreSQL. */
STORES_API void stores_turning(stores_engine *engine,
                               void (*turning)(void *arg, const char *table, uint64_t ms,
                                               const char *writers),
                               void *arg);

/* Calls uncached(table, why) for every table that this engine has met and keeps nothing of in the
 * cache; why: "a view", "a foreign table", "temporary", "unlogged", "row security", "a rule", "a
 * partition" (its rows are cached as those of its parent), "a child" or "children" (by INHERITS),
 * "no right to read" (of the role). */
STORES_API void stores_uncached(stores_engine *engine,
                                void (*uncached)(void *arg, const char *table, const char *why),
                                void *arg);

/* Unlinks the rows of dead epochs, of all tables under the engine's prefix, by SCAN; nobody reads
 * them, but intents under them have no lifetime. op's affected: how many were unlinked. */
STORES_API stores_op *stores_sweep(stores_engine *engine, const stores_call *call);

#ifdef __cplusplus
}
#endif

#include "stores_inspect.h"
#include "stores_tx.h"

#endif

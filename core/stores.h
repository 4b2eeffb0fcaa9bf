/*
 * stores.h - the one header of libstores: PostgreSQL jsonb documents behind a Redis cache that
 * never lies. C11, no other header of the project is needed, and libuv's is not needed either.
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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
/* A struct of the library, zero but for its size. */
template <typename Struct> inline Struct stores_sized() {
    Struct made = Struct();
    made.size = sizeof made;
    return made;
}

extern "C" {
#endif

#if defined(STORES_STATIC)
#define STORES_API
#else
#define STORES_API __attribute__((visibility("default")))
#endif

#define STORES_VERSION "0.1.0"
/* The version of the library that runs, as STORES_VERSION was when it was built; static. */
STORES_API const char *stores_version(void);

struct uv_loop_s;
typedef struct stores_engine stores_engine;
typedef struct stores_op stores_op;
typedef struct stores_tx stores_tx;

/* ---- Structs that grow ------------------------------------------------------------------------ */

/*
 * A struct that a caller makes begins with its size: `stores_call call = STORES_CALL_INIT`, or
 * `stores_call call = {.size = sizeof call, .cb = done}`. Zero in any other field asks for its
 * default. Structs grow at their end alone, and so a program and a library of two versions of one
 * SOVERSION understand each other: to a newer library all beyond the program's size is zero; an older
 * one refuses what is set beyond what it knows. A size that no version has, as 0, is refused too:
 * all of it with `invalid_argument`, by the struct's name.
 *
 * Those that the library makes begin with their size as well: a field that lies beyond it is not
 * there.
 */
#ifdef __cplusplus
#define STORES_SIZED(type) stores_sized<type>()
#else
#define STORES_SIZED(type)                                                                         \
    { .size = sizeof(type) }
#endif

/* ---- Errors ------------------------------------------------------------------------------- */

/*
 * Every code there is: X(ENUM, number, name, http status, retryable, text). The enum, the names that
 * Lua sees and the table of the docs are made from this list. Numbers never move, here or in the
 * enums below: what is new takes the next one, and what goes leaves a gap.
 */
#define STORES_ERRORS(X)                                                                           \
    X(INVALID_ARGUMENT, 1, "invalid_argument", 400, 0, "an argument is not what the call takes")   \
    X(INVALID_OPTION, 2, "invalid_option", 400, 0, "an option is unknown or has a wrong value")    \
    X(INVALID_ID, 3, "invalid_id", 400, 0, "an id is not a signed 64-bit decimal string")          \
    X(INVALID_TABLE, 4, "invalid_table", 400, 0, "a table name cannot be read")                    \
    X(INVALID_DOCUMENT, 5, "invalid_document", 400, 0, "a value cannot be stored as it is")        \
    X(ID_MISMATCH, 6, "id_mismatch", 400, 0, "the document's own id is not the row's")             \
    X(EMPTY_CRITERIA, 7, "empty_criteria", 400, 0, "criteria that would match every row")          \
    X(WRONG_SHARD, 8, "wrong_shard", 400, 0, "the id belongs to another shard")                    \
    X(NOT_FOUND, 9, "not_found", 404, 0, "no row has this id")                                     \
    X(TABLE_NOT_FOUND, 10, "table_not_found", 404, 0, "the table is not there")                    \
    X(DUPLICATE, 11, "duplicate", 409, 0, "a unique constraint refuses the row")                   \
    X(CONSTRAINT, 12, "constraint", 409, 0, "a constraint refuses the row")                        \
    X(PATH_BLOCKED, 13, "path_blocked", 409, 0, "a value in the way of the path is not an object") \
    X(NOT_A_DOCUMENT, 14, "not_a_document", 409, 0, "the row's value is not an object")            \
    X(TOO_LARGE, 15, "too_large", 413, 0, "more than PostgreSQL, or jsonb, can hold")              \
    X(UNREADABLE, 16, "unreadable", 409, 0, "a stored value is none that Lua can hold")            \
    X(UNSUPPORTED, 17, "unsupported", 400, 0, "not possible in this place or with this build")     \
    X(FOREIGN_COROUTINE, 18, "foreign_coroutine", 500, 0,                                          \
      "a call in a coroutine of somebody else")                                                    \
    X(FORKED, 19, "forked", 500, 0, "the engine belongs to the process that made it")              \
    X(CLOSED, 20, "closed", 503, 0, "the store is closed")                                         \
    X(TX_BUSY, 21, "tx_busy", 500, 0, "the transaction is in use by another coroutine")            \
    X(TX_ENDED, 22, "tx_ended", 500, 0, "the transaction is over")                                 \
    X(SELF_DEADLOCK, 23, "self_deadlock", 500, 0, "the call would wait for its own coroutine")     \
    X(ACQUIRE_TIMEOUT, 24, "acquire_timeout", 503, 1, "no connection became free in time")         \
    X(POOL_FULL, 25, "pool_full", 503, 1, "too many calls wait for a connection")                  \
    X(TIMEOUT, 26, "timeout", 504, 1, "the call did not end within its deadline")                  \
    X(CANCELED, 27, "canceled", 503, 1, "the statement was canceled")                              \
    X(CONNECT_FAILED, 28, "connect_failed", 503, 1, "PostgreSQL cannot be reached")                \
    X(AUTH_FAILED, 29, "auth_failed", 500, 0, "PostgreSQL refuses the user or the database")       \
    X(CONNECTION_LOST, 30, "connection_lost", 503, 1, "the connection to PostgreSQL was lost")     \
    X(SERIALIZATION, 31, "serialization", 409, 1, "a concurrent transaction was in the way")       \
    X(DEADLOCK, 32, "deadlock", 409, 1, "a deadlock was broken by ending this statement")          \
    X(LOCK_TIMEOUT, 33, "lock_timeout", 503, 1, "a lock was not granted in time")                  \
    X(READ_ONLY, 34, "read_only", 503, 1, "the server does not take writes")                       \
    X(SERVER_FULL, 35, "server_full", 507, 1, "the server has no disk, memory or other room left") \
    X(QUERY_FAILED, 36, "query_failed", 500, 0, "PostgreSQL refuses the statement")                \
    X(CACHE_FAILURE, 37, "cache_failure", 503, 1, "Redis cannot take the intent of this write")    \
    X(ABANDONED, 38, "abandoned", 500, 0, "the caller went away")                                  \
    X(MIGRATION_CHANGED, 39, "migration_changed", 409, 0, "a migration that ran was edited")       \
    X(MIGRATION_FAILED, 40, "migration_failed", 500, 0, "a migration failed")                      \
    X(NO_MEMORY, 41, "no_memory", 500, 0, "memory ran out")                                        \
    X(INTERNAL, 42, "internal", 500, 0, "a defect in Stores")

typedef enum stores_code {
    STORES_OK = 0,
#define STORES_X(NAME, number, name, http, retryable, text) STORES_##NAME = number,
    STORES_ERRORS(STORES_X)
#undef STORES_X
} stores_code;

/* What became of the work of a call that failed. */
typedef enum stores_outcome {
    STORES_OUTCOME_NONE = 0, /* nothing was done */
    STORES_OUTCOME_COMMITTED = 1, /* it was done, and stays */
    STORES_OUTCOME_UNKNOWN = 2 /* the server may have done it */
} stores_outcome;

/* One error. Fixed room, so that making one cannot fail half-way; longer text is cut. */
typedef struct stores_error {
    size_t size;
    stores_code code;
    stores_outcome outcome;
    bool retryable; /* the same call may succeed later; never true where outcome is not NONE */
    int shard; /* -1 where there are none */
    char sqlstate[8]; /* "" where PostgreSQL said nothing */
    char message[512]; /* no password and no document value is ever in here */
    char detail[512]; /* what the server added; may quote values of the call */
    char hint[256];
    char constraint[64];
    char table[264]; /* as SQL writes it: "schema"."table" */
} stores_error;

#define STORES_ERROR_INIT STORES_SIZED(stores_error)

/* The name of a code ("not_found"), static. "ok" for STORES_OK, "internal" for what is none. */
STORES_API const char *stores_code_name(stores_code code);
/* The HTTP status that says the same as the code, 200 for STORES_OK. */
STORES_API int stores_code_http(stores_code code);
/* "none", "committed" or "unknown", static; "unknown" for what is none of them. */
STORES_API const char *stores_outcome_name(stores_outcome outcome);

/* ---- Engines ------------------------------------------------------------------------------ */

typedef enum stores_cache_failure {
    STORES_CACHE_FAILURE_BYPASS = 0, /* commit, remember the tables, turn them when Redis is back */
    STORES_CACHE_FAILURE_ERROR = 1 /* refuse the write before its row is touched */
} stores_cache_failure;

/*
 * TLS to Redis, of version 1.2 at least. The server's certificate has to be valid and for the name or
 * the address that was asked for. Files are PEM, and are read again by the next connection where they
 * have changed.
 */
typedef struct stores_tls {
    size_t size;
    bool no_verify; /* anybody may be the server: who is between the two reads and changes all */
    const char *ca; /* the authorities: a file, or a folder that was rehashed; NULL: the system's */
    const char *cert; /* the certificate of this client, with those that lead to its authority */
    const char *key; /* its key, not encrypted; NULL: in the file of cert */
    const char *server_name; /* what is asked for (SNI) and expected instead of the host */
} stores_tls;

#define STORES_TLS_INIT STORES_SIZED(stores_tls)

/*
 * What an engine is made of. What is zero has the default that stands beside it; strings are copied
 * by stores_engine_new.
 */
typedef struct stores_config {
    size_t size;
    struct uv_loop_s
        *loop; /* the host's loop, which must outlive the engine; NULL: one of its own */

    /* libpq's connection keywords and values, ended by a NULL key; "url" is one more of them. */
    const char *const *pg_keys;
    const char *const *pg_values;
    int poolsize; /* 10 */
    int max_waiters; /* 0: no limit */
    bool transaction_pooler; /* a PgBouncer in transaction mode stands before the server */
    uint64_t connect_timeout_ms; /* libpq's connect_timeout, where something says one; else 10 s */
    uint64_t statement_timeout_ms; /* 30 s, or what PGOPTIONS or a service say */
    uint64_t acquire_timeout_ms; /* 5 s */
    int min_idle; /* connections that stay open although nobody needs them; 0 */
    uint64_t idle_timeout_ms; /* an idle connection is closed after it: 60 s */
    uint64_t max_age_ms; /* a connection is not used again after it, +-10 %: 30 min */
    uint64_t ping_after_ms; /* an idle connection is asked whether it lives: 30 s */
    const char *on_connect; /* SQL that every new connection runs first; NULL */
    uint64_t timeout_ms; /* of a whole call: 30 s */

    bool no_cache; /* Redis is never spoken to */
    const char *redis_host; /* "127.0.0.1" */
    int redis_port; /* 6379 */
    const char *redis_path; /* a unix socket, instead of host and port */
    const char *redis_username, *redis_password;
    int redis_db;
    uint64_t redis_timeout_ms; /* 50 ms of silence while an answer is due */
    uint64_t redis_connect_timeout_ms; /* 1 s */
    const char *prefix; /* NULL: stores1:<system identifier>/<oid of the database>/ */
    uint64_t ttl_ms; /* 10 min, +-10 % */
    uint64_t negative_ttl_ms; /* 10 s */
    stores_cache_failure on_cache_failure;
    bool unsafe_eviction; /* take leases although the server may evict intents */

    bool no_segments; /* every write a transaction of its own */
    bool simpleflake; /* ids with 23 low bits */
    int shard_id, shard_count; /* count 0: no shards */

    /* What a person should know, said once for each cause; never called with values of documents.
     * May be NULL. Runs inside the loop: it must not call the engine. */
    void (*log)(void *arg, const char *text);
    void *log_arg;

    /* An idle link to Redis is asked so often whether it lives, while the loop is turned: 30 s;
     * UINT64_MAX: never. */
    uint64_t redis_keepalive_ms;
    const stores_tls *redis_tls; /* NULL: what goes to Redis is not encrypted */

    /* Sentinels, "host:port" each, ended by NULL, who are asked at each connect where Redis is, in
     * place of redis_host, redis_port and redis_path. */
    const char *const *redis_sentinels;
    const char *redis_master; /* the name that they know it by; there is none by default */
    const char *sentinel_username, *sentinel_password; /* what they want to hear, not Redis */
    const stores_tls *sentinel_tls; /* what goes to them; NULL: it is not encrypted */

    /* Nodes of a cluster, "host:port" each, ended by NULL, in place of redis_host, redis_port and
     * redis_path: one that answers tells of the rest. A cluster behind one address needs them not. */
    const char *const *redis_cluster;
} stores_config;

#define STORES_CONFIG_INIT STORES_SIZED(stores_config)

/* Makes an engine; nothing is connected until the first call needs it (Redis: at once, in the
 * background). NULL: *error, which may be NULL, says why. Free it with stores_engine_close. */
STORES_API stores_engine *stores_engine_new(const stores_config *config, stores_error *error);

/* Fails what is pending with `closed`, rolls back what is open, writes out what is queued, closes
 * every handle; then calls closed(arg) from the loop, after which the engine is gone. Ops that were
 * not freed yet stay valid. Calls on a closing engine complete with `closed`; those of a transaction
 * that is kept until the engine is gone are done at once, without a callback. An engine with a loop of
 * its own turns it here, until it is gone, and may not be closed from inside a callback.
 *
 * In a child of a fork an engine of the parent's takes no call: each completes with `forked`, when
 * stores_pump or stores_wait is called. Closing it there lets go of it, and leaves the parent's
 * connections alone. Its loop must not be turned by the child. */
STORES_API void stores_engine_close(stores_engine *engine, void (*closed)(void *arg), void *arg);

/* In a child of a fork: lets go of the parent's engine for good. Its descriptors are closed here, so that
 * the connections end when the parent's do; the servers are told nothing, what runs there goes on, and
 * the parent notices nothing. Calls that were under way are done with `forked`; no callback runs; ops and
 * transactions that the child still has are to be freed as ever, listeners are gone. A loop that is the
 * host's is first made the child's by uv_loop_fork; what the engine has on it goes with its next turns,
 * and with it the engine. False, and nothing was done: this process made the engine, or it was being
 * closed, or there is no descriptor left. */
STORES_API bool stores_engine_forget(stores_engine *engine);

/* The loop, for hosts that turn it themselves (uv_run). */
STORES_API struct uv_loop_s *stores_engine_loop(stores_engine *engine);
/* For hosts with a poll loop of their own: wait for this descriptor to be readable, at most so
 * many milliseconds (-1: for ever), then call stores_pump, which never waits. */
STORES_API int stores_backend_fd(stores_engine *engine);
STORES_API int stores_backend_timeout(stores_engine *engine);
/* Turns the loop a few times at most: where stores_backend_timeout says 0 after it, there is more. */
STORES_API void stores_pump(stores_engine *engine);
/* Turns the loop, waiting, until the op is done. Not from inside a callback; the op's own callback must
 * not free it. */
STORES_API void stores_wait(stores_engine *engine, stores_op *op);
/* Sends what the calls since the last turn have queued, without waiting for the loop. */
STORES_API void stores_flush(stores_engine *engine);

/* ---- Calls -------------------------------------------------------------------------------- */

typedef void (*stores_cb)(stores_op *op, void *arg);

/* How one call is made. */
typedef struct stores_call {
    size_t size;
    uint64_t timeout_ms; /* 0: the engine's */
    bool
        no_cache; /* neither read from the cache nor publish to it; intents are placed all the same */
    stores_tx *inside; /* the caller holds it, and will not end it before this call is over; NULL */
    stores_cb cb; /* runs once, from the loop; may free the op and may start others. Also of a call
                   * that is refused for its size */
    void *arg;
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
    const stores_params *params; /* for MODIFY: $2 and on; NULL: none */
} stores_change;

#define STORES_CHANGE_INIT STORES_SIZED(stores_change)

typedef struct stores_query_options {
    size_t size;
    bool autocommit; /* run as it comes, in no transaction: for statements that refuse one */
    bool readonly; /* the statement writes nothing: spares the question, and the server checks; but
                    * inside a transaction that writes, or autocommit, the caller alone vouches for it */
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
STORES_API stores_op *stores_write(stores_engine *engine, const stores_call *call,
                                   const stores_change *change);
/* A SELECT that only reads; %T in the text is replaced by the quoted name of the table. */
STORES_API stores_op *stores_select(stores_engine *engine, const stores_call *call,
                                    const char *table, const char *sql,
                                    const stores_params *params);
STORES_API stores_op *stores_query(stores_engine *engine, const stores_call *call, const char *sql,
                                   const stores_params *params,
                                   const stores_query_options *options);
/* After a write that Stores did not see: of one row (id), or of the whole table (id NULL). */
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
/* Rows that were changed (changes, queries). */
STORES_API int64_t stores_op_affected(const stores_op *op);
/* UPSERT: the row was not there before. */
STORES_API bool stores_op_inserted(const stores_op *op);
/* Of a change: the id of its row as it is now, which is another one than was asked for where a trigger
 * of the table rewrites it. */
STORES_API int64_t stores_op_id(const stores_op *op);
/* Rows of select and query: of the last statement that gave rows. */
STORES_API int stores_op_rows(const stores_op *op);
STORES_API int stores_op_columns(const stores_op *op);
STORES_API const char *stores_op_column(const stores_op *op, int column);
STORES_API uint32_t stores_op_column_type(const stores_op *op, int column); /* pg_type oid */
/* NULL: SQL's NULL. NUL-terminated text; len may be NULL. */
STORES_API const char *stores_op_value(const stores_op *op, int row, int column, size_t *len);
/* Where the answer came from: 'c' the cache, 'p' PostgreSQL, '-' nowhere yet. */
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

/* ---- Transactions ------------------------------------------------------------------------- */

typedef enum stores_isolation {
    STORES_READ_COMMITTED = 0,
    STORES_REPEATABLE_READ = 1,
    STORES_SERIALIZABLE = 2
} stores_isolation;

typedef struct stores_tx_options {
    size_t size;
    stores_isolation isolation;
    bool readonly;
    bool session; /* a pinned connection without BEGIN, for what outlives transactions (locks); it
                   * is closed afterwards */
    bool close; /* the connection is closed afterwards, for what no reset of a session takes back */
    uint64_t timeout_ms; /* how long it may take: the server ends one that is idle for longer, whose
                          * client is gone without a word. 0: as long as a call of the engine */
} stores_tx_options;

#define STORES_TX_OPTIONS_INIT STORES_SIZED(stores_tx_options)

/*
 * A transaction takes its connection at its first op and gives it back at commit or rollback. One
 * op at a time: another one meanwhile completes with `tx_busy`. NULL: no memory.
 */
STORES_API stores_tx *stores_tx_new(stores_engine *engine, const stores_tx_options *options);
/* Reads the row in the transaction; lock: FOR UPDATE. Never through the cache. */
STORES_API stores_op *stores_tx_find(stores_tx *tx, const stores_call *call, const char *table,
                                     int64_t id, bool lock);
STORES_API stores_op *stores_tx_find_many(stores_tx *tx, const stores_call *call, const char *table,
                                          const int64_t *ids, size_t count);
/* commit: commit right after it, in the same op (the op is done when the server said COMMIT). */
STORES_API stores_op *stores_tx_write(stores_tx *tx, const stores_call *call,
                                      const stores_change *change, bool commit);
STORES_API stores_op *stores_tx_select(stores_tx *tx, const stores_call *call, const char *table,
                                       const char *sql, const stores_params *params);
STORES_API stores_op *stores_tx_query(stores_tx *tx, const stores_call *call, const char *sql,
                                      const stores_params *params,
                                      const stores_query_options *options);
/* Savepoints are named by their depth, by the transaction itself. */
STORES_API stores_op *stores_tx_savepoint(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_release(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_rollback_to(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_commit(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_rollback(stores_tx *tx, const stores_call *call);
/* Ends the use of a tx; one that is open is rolled back in the background. Does no I/O itself. */
STORES_API void stores_tx_free(stores_tx *tx);

/* ---- LISTEN ------------------------------------------------------------------------------- */

typedef struct stores_listener stores_listener;

/* Listens to a channel, on a connection that all channels of the engine share, beside its pool; it is
 * opened again when it is lost. notified
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
STORES_API void stores_unlisten(stores_listener *listener);

/* ---- Ids, shards, figures ----------------------------------------------------------------- */

/* A new flake id, of the engine's own shard; strictly increasing in this process, and by the clock of
 * the server, where it has been met. 0: that clock is out of the range of ids. */
STORES_API int64_t stores_generate_id(stores_engine *engine);
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
 * more than the bound before it (the last bucket has no bound), sum seconds all of them together. */
STORES_API void stores_latency(stores_engine *engine,
                               void (*verb)(void *arg, const char *name, const uint64_t *counts,
                                            const double *bounds, int buckets, double sum),
                               void *arg);

/* Why rows are not cached, or other processes not told of writes, just now, for a human: Redis is away,
 * refuses what it is asked (in its own words), or may evict. "": they are. Valid up to the next turn of
 * the loop. */
STORES_API const char *stores_redis_trouble(const stores_engine *engine);
/* Calls turning(table, ms, writers) for every table whose epoch this engine knows to be turning (or
 * that waits for Redis to be turned): since how many ms, and the virtual ids of the transactions that
 * are waited for, as PostgreSQL writes an array ("{3/12,4/7}"). Reads of such a table come from
 * PostgreSQL. */
STORES_API void stores_turning(stores_engine *engine,
                               void (*turning)(void *arg, const char *table, uint64_t ms,
                                               const char *writers),
                               void *arg);

/* Calls uncached(table, why) for every table that this engine has met and keeps nothing of in the
 * cache; why: "a view", "a foreign table", "temporary", "unlogged", "row security", "a rule", "a
 * partition" (its rows are cached as those of its parent), "a child" or "children" (by INHERITS). */
STORES_API void stores_uncached(stores_engine *engine,
                                void (*uncached)(void *arg, const char *table, const char *why),
                                void *arg);

/* Unlinks the rows of dead epochs, of all tables under the engine's prefix, by SCAN; nobody reads
 * them, but intents under them have no lifetime. op's affected: how many were unlinked. */
STORES_API stores_op *stores_sweep(stores_engine *engine, const stores_call *call);

#ifdef __cplusplus
}
#endif

#endif

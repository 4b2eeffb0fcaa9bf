/*
 * stores_error.h - the part of stores.h that all of it stands on: how structs grow, the codes, an
 * error. A program includes stores.h.
 */
#ifndef STORES_ERROR_H
#define STORES_ERROR_H

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

/* ---- Structs that grow ----------------------------------------------------------------------- */

/*
 * A struct that a caller makes begins with its size: `stores_call call = STORES_CALL_INIT`, or
 * `stores_call call = {.size = sizeof call, .cb = done}`. Zero in any other field asks for its
 * default. Structs grow at their end alone, and so a program and a library of two versions of one
 * SOVERSION understand each other: to a newer library all beyond the program's size is zero; an
 * older one refuses what is set beyond what it knows. A size that no version has, as 0, is refused
 * too: all of it with `invalid_argument`, by the struct's name.
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
 * Every code there is: X(ENUM, number, name, http status, retryable, text). The enum, the names
 * that Lua sees and the table of the docs are made from this list. Numbers never move, here or in
 * the enums below: what is new takes the next one, and what goes leaves a gap.
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
    X(TABLE_NOT_FOUND, 10, "table_not_found", 500, 0, "the table is not there")                    \
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
    X(INTERNAL, 42, "internal", 500, 0, "a defect in Stores")                                      \
    X(CONFLICT, 43, "conflict", 412, 0, "the row is not the one that was read")                    \
    X(NEWER_VERSION, 44, "newer_version", 409, 0, "a newer program wrote the document")            \
    X(NOT_INDEXED, 45, "not_indexed", 400, 0, "no index of a strict table serves the criteria")    \
    X(SHARD_MISMATCH, 46, "shard_mismatch", 500, 0, "the database is another shard than is said")  \
    X(NOT_MIGRATED, 47, "not_migrated", 503, 1, "the database is behind in its migrations")        \
    X(MOVED, 48, "moved", 503, 0, "the rows of the database belong to another one")

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
    int position; /* of a character in statement, from 1, where the server named one; else 0 */
    /* The SQL that PostgreSQL refused, "" where it was none of the caller's work: a verb's, or the
     * caller's own, with what the caller wrote into it. A longer one is cut, to what stands around
     * the position. */
    char statement[1024];
} stores_error;

#define STORES_ERROR_INIT STORES_SIZED(stores_error)

/* The name of a code ("not_found"), static. "ok" for STORES_OK, "internal" for what is none. */
STORES_API const char *stores_code_name(stores_code code);
/* The HTTP status that says the same as the code, 200 for STORES_OK. */
STORES_API int stores_code_http(stores_code code);
/* "none", "committed" or "unknown", static; "unknown" for what is none of them. */
STORES_API const char *stores_outcome_name(stores_outcome outcome);

#ifdef __cplusplus
}
#endif

#endif

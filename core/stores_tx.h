/*
 * stores_tx.h - explicit transactions. stores.h includes it, and says how calls are made.
 */
#ifndef STORES_TX_H
#define STORES_TX_H

#include "stores.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    /* How long it may take, from stores_tx_new on: at this deadline it is rolled back, and what is
     * asked of it from then on is `timeout`. A call that is under way ends by its own deadline, and
     * a COMMIT goes on; of a session the connection is closed. Where nobody turns the loop the
     * server ends it, soon after. 0: it has none, and the server ends one that is idle for longer
     * than a call of the engine may take. */
    uint64_t timeout_ms;
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
/* Many rows changed by one statement. */
typedef struct stores_bulk {
    size_t size;
    stores_change_kind kind; /* what becomes of them; not MODIFY */
    const char *table;
    /* %T stands for the table. It gives the rows that it changed, their ids in the first column; or
     * it is a COPY %T (..) FROM STDIN. */
    const char *sql;
    const stores_params *params; /* NULL: none */
    const char *data; /* of a COPY: what it reads, in its text format, not NUL-terminated */
    size_t len;
    const int64_t *ids; /* of a COPY: those of its rows */
    size_t id_count;
} stores_bulk;

#define STORES_BULK_INIT STORES_SIZED(stores_bulk)

/* Its rows are announced to the cache as those of stores_tx_write are, and not published; more than
 * some thousands turn the table. The op has what the statement gave, and how many rows it
 * changed. */
STORES_API stores_op *stores_tx_bulk(stores_tx *tx, const stores_call *call,
                                     const stores_bulk *bulk);
/* Savepoints are named by their depth, by the transaction itself. */
STORES_API stores_op *stores_tx_savepoint(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_release(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_rollback_to(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_commit(stores_tx *tx, const stores_call *call);
STORES_API stores_op *stores_tx_rollback(stores_tx *tx, const stores_call *call);
/* Of how many levels the server holds the locks, of which the transaction is the first, and each
 * savepoint one more: a statement that failed has given back those of the innermost, but where it
 * may have failed inside of another savepoint, of its own or of the caller's SQL. -1: it is over,
 * or will be, without its caller: it holds nothing, and no connection. */
STORES_API int stores_tx_levels(const stores_tx *tx);
/* Ends the use of a tx; one that is open is rolled back in the background. Does no I/O itself. */
STORES_API void stores_tx_free(stores_tx *tx);

#ifdef __cplusplus
}
#endif

#endif

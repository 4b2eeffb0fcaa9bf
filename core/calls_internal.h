/*
 * calls_internal.h - a call with a connection of its own as its files see it: queries.c (what
 * callers may ask, and its arguments), calls.c (how it runs and ends).
 */
#ifndef STORES_CALLS_INTERNAL_H
#define STORES_CALLS_INTERNAL_H

#include "calls.h"
#include "commit.h"

enum stores__call_step {
    CALL_WAITING, /* for a connection */
    CALL_NAMES, /* which tables `invalidates` means (autocommit) */
    CALL_TURNING, /* their epochs, before a statement that commits itself */
    CALL_BEGIN, /* before several statements in one text */
    CALL_RUNNING,
    CALL_TURNING_AGAIN, /* after it: the first turn may have ended before the statement locked */
    CALL_LOCKS, /* what did they write? */
    CALL_COMMITTING,
    CALL_ENDING /* ROLLBACK */
};

struct stores__own_call {
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
    enum stores__call_step step;
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__timer grace; /* after the op left: cancels again, and gives up */
    uint64_t grace_ends;
    struct stores__commit *commit;
    struct stores__epoch **turned; /* held */
    size_t turned_count, turns_waiting;
    struct pg_result *result;
    bool turn_failed, select;
    stores_error *error; /* NULL: none */
    unsigned char tries;
    int statement; /* index of the caller's statement in the request */
    int asked; /* index of the question which tables it wrote; -1: none */

    stores_query_options options;
    char *invalidates; /* an array of quoted names, as PostgreSQL reads it */
    char *sql, *memory;
    int count;
    const char **values;
};

void stores__call_free(struct stores__own_call *call);
/* The arguments are complete: asks for a connection. */
void stores__call_run(struct stores__own_call *call);
/* The op's leave. */
stores_outcome stores__call_leave(stores_op *op);

#endif

/*
 * calls_internal.h - a call with a connection of its own as its files see it, each calling those
 * below it: queries.c (what callers may ask, and its arguments), calls.c (how it runs and ends),
 * calls_send.c (what it sends), calls_replica.c (on a replica first), calls_results.c,
 * calls_turn.c (the tables that the caller names), call.c (its memory, its answer).
 *
 * What stands around the caller's text is its way, which is decided once. The steps of each:
 *
 *     LONE     RUNNING
 *     READS    RUNNING
 *     ASKED    RUNNING ──> COMMITTING
 *     SEVERAL  BEGIN ──> RUNNING ──> LOCKS, where there is a cache ──> COMMITTING
 *     ITSELF   NAMES ──> TURNING ──> RUNNING ──> TURNING_AGAIN; RUNNING alone where there is no
 *     name
 *
 * all of them from WAITING, where a replica may be asked first; and to ENDING where a transaction
 * is open that is not to be.
 */
#ifndef STORES_CALLS_INTERNAL_H
#define STORES_CALLS_INTERNAL_H

#include "pg/insist.h"
#include "replica/replica.h"
#include "write/arguments.h"
#include "write/commit.h"

enum stores__call_step {
    CALL_WAITING, /* for a connection */
    CALL_NAMES, /* which tables `invalidates` means (autocommit) */
    CALL_TURNING, /* their epochs, before a statement that commits itself */
    CALL_BEGIN, /* before several statements in one text */
    CALL_RUNNING,
    CALL_TURNING_AGAIN, /* after it */
    CALL_LOCKS, /* what did they write? */
    CALL_COMMITTING,
    CALL_ENDING /* ROLLBACK */
};

enum stores__call_way {
    WAY_LONE, /* nothing: a statement is a transaction by itself where nobody has to look into it;
               * behind a transaction pooler BEGIN and COMMIT around one that may leave something in
               * the session */
    WAY_READS, /* BEGIN READ ONLY before it, COMMIT behind it, in one round trip */
    WAY_ASKED, /* BEGIN before it, the question what it wrote behind it; then a commit */
    WAY_SEVERAL, /* the same, each by itself, for several statements in one text */
    WAY_ITSELF /* it runs outside of transactions: its tables are turned before it and after it */
};

struct stores__own_call {
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
    enum stores__call_step step;
    enum stores__call_way way;
    struct stores__table *table; /* of a select; held */
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__pg_insist insist; /* after the op left */
    struct stores__commit *commit;
    struct stores__epoch **turned; /* held */
    size_t turned_count, turns_waiting;
    struct stores__timer patience; /* with those who hold rows, where Redis cannot be told */
    void (*all_turned)(struct stores__own_call *call);
    struct pg_result *result;
    struct stores__asking *asking; /* WAITING: for a replica, and for no connection of ours */
    struct stores__marking marking; /* where the server is behind it, in place of one */
    void (*run)(struct stores__own_call *call); /* after it, where it gave nothing */
    bool replica, marks; /* a replica is to be tried; one was, or would have been */
    bool turn_failed, select;
    bool redis_away, turned_again; /* when leases began to be waited for; behind that, once */
    bool stray_cancel; /* the error is a cancel that was not meant for it */
    bool ended; /* an answer's tag says that the text ended the transaction */
    bool renames; /* one says that names may mean other tables now */
    bool wrote; /* one says that nobody knows which; all are turned once the server is idle */
    stores_error *error; /* NULL: none */
    char *given; /* of a select: its text before the table's name stood in it */
    unsigned char tries;
    /* Where each stands in the request of the step; -1: nowhere. */
    int statement; /* the caller's; of several in one text, which make a request, the first */
    int named; /* the question what `invalidates` means, before it */
    int named_last; /* the same behind it */
    int asked; /* the question which tables it wrote */
    struct stores__buf missing; /* what was no table before it, as lines */

    stores_query_options options;
    char *invalidates; /* an array of quoted names, as PostgreSQL reads it */
    char *sql, *memory;
    int count;
    const char **values;
};

void stores__call_free(struct stores__own_call *call);
/* Why it fails, in place of what was said before. */
void stores__call_fail(struct stores__own_call *call, stores_code code, const char *text);
/* Answers the op, where it has not left; error NULL: it succeeded. */
void stores__call_answer(struct stores__own_call *call, const stores_error *error);
/* Nothing is open: gives the connection back, has turns ended, and frees the call. */
void stores__call_close(struct stores__own_call *call);

/* Each sends the request of a step, and enters the step; who set req.result and req.done before
 * takes what comes of it (calls_send.c). The caller's text, or the BEGIN in front of several
 * statements, behind which it goes by itself: */
void stores__call_send_text(struct stores__own_call *call);
void stores__call_send_simple(struct stores__own_call *call);
/* Which tables `invalidates` means, before a statement that commits itself. */
void stores__call_ask_names(struct stores__own_call *call);
/* Which tables several statements wrote. */
void stores__call_ask_locks(struct stores__own_call *call);
/* Its results are nobody's: of req.done alone something comes. */
void stores__call_send_rollback(struct stores__own_call *call);

/* The result of each of its requests, by where it stands. */
void stores__call_took(struct stores__pg_req *req, int index, struct pg_result *result);

/* Adds the question what `invalidates` means, and gives its index; and takes the answer: last says
 * that what is no table now, and was none before, is none. */
int stores__call_add_names(struct stores__own_call *call);
void stores__call_take_names(struct stores__own_call *call, const struct pg_result *result,
                             bool last);
/* For a statement that commits itself: its connection holds a sign on each of its tables, by which
 * those who end turns see that it may still run, also when this process is dead. */
void stores__call_add_signs(struct stores__own_call *call);
/* Turns the tables of such a statement; all_turned may come at once. Where Redis was not told of
 * one, turn_failed says so; this process remembers them then. */
void stores__call_turn(struct stores__own_call *call,
                       void (*all_turned)(struct stores__own_call *call));
void stores__call_bypass_turns(struct stores__own_call *call);
/* The arguments are complete: asks for a connection. */
void stores__call_run(struct stores__own_call *call);
/* Tries a replica; run() where that does not answer. False: none is to be asked now. */
bool stores__call_try_replica(struct stores__own_call *call,
                              void (*run)(struct stores__own_call *call));
/* Behind a read that a replica might have answered: what it shows is not to be taken back. */
void stores__call_add_mark(struct stores__own_call *call);
/* The op's leave. */
stores_outcome stores__call_leave(stores_op *op);

#endif

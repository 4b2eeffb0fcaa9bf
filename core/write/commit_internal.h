/*
 * commit_internal.h - a commit as its own files see it: commit.c (its steps, and its end),
 * commit_written.c (what its transaction wrote).
 *
 * The step moves one way, by one mover in commit.c, and no file but that one frees a commit:
 *
 *     GATHER ──┬──> ASK ──┬──> TELL ──┬──> COMMIT ──┬──> FIND ──┐
 *              │          │           │             │           ├──> OVER, and freed
 *              │          ├───────────┼─────────────┼───────────┤
 *              └──────────┴───────────┴──> ROLLBACK ┴───────────┘
 *
 * ASK is left out where nothing reaches further than it says, TELL where Redis need not hear
 * anything, FIND where COMMIT was answered.
 */
#ifndef STORES_COMMIT_INTERNAL_H
#define STORES_COMMIT_INTERNAL_H

#include "replica/mark.h"
#include "write/commit.h"
#include "write/commit_status.h"
#include "write/commit_tell.h"
#include "write/settle.h"

enum stores__commit_step {
    COMMIT_GATHER, /* its owner's still */
    COMMIT_ASK, /* which tables were written? */
    COMMIT_TELL, /* Redis is told (commit_tell.h) */
    COMMIT_COMMIT,
    COMMIT_FIND, /* whether a COMMIT whose answer was lost has happened (commit_status.h) */
    COMMIT_ROLLBACK, /* commit->error says why */
    COMMIT_OVER
};

extern const char stores__commit_close_sql[];

struct stores__commit {
    stores_engine *engine;
    struct stores__pg_conn *conn;
    stores__commit_done done;
    void (*phase)(void *arg, enum stores__phase phase);
    void *arg;
    enum stores__commit_step step;

    char xid[24];
    struct stores__settle *rows; /* the named rows, and what becomes of them */
    struct stores__epoch **turns; /* held */
    size_t turn_count, turn_room;
    bool reaches, large, locks_known, no_memory;
    bool closes; /* cursors are closed before COMMIT */
    bool saves; /* a savepoint may be open */
    bool renames; /* by DDL: names that were asked for before COMMIT may mean others after it */

    uint64_t began; /* in ns of stores__held_now */
    struct stores__pg_req req;
    int asked; /* the index of the question which tables were written */
    int ended; /* that of COMMIT */
    bool answered; /* COMMIT was */
    bool unseen; /* committed, but not to be seen yet on every server: the intents stay */
    struct stores__marking marking; /* behind it: where that left the server */
    struct stores__tell tell;
    struct stores__status *status; /* NULL: nobody asks what became of it */
    stores_error *error; /* NULL: none */
};

#endif

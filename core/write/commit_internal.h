/*
 * commit_internal.h - a commit as its own files see it: commit.c (what was written, COMMIT and
 * ROLLBACK), commit_tell.c (Redis), commit_status.c (a COMMIT whose answer was lost).
 */
#ifndef STORES_COMMIT_INTERNAL_H
#define STORES_COMMIT_INTERNAL_H

#include "write/commit.h"
#include "write/settle.h"

/* In their order; STEP_ROLLBACK may come in place of STEP_COMMIT. */
enum stores__commit_step {
    STEP_LOCKS, /* which tables were written? */
    STEP_TELL, /* Redis is told */
    STEP_WAIT, /* an epoch is being set */
    STEP_COMMIT,
    STEP_ASK, /* whether a COMMIT whose answer was lost has happened */
    STEP_ROLLBACK
};

struct stores__commit {
    stores_engine *engine;
    struct stores__pg_conn *conn;
    stores__commit_done done;
    void (*phase)(void *arg, enum stores__phase phase);
    void *arg;
    enum stores__commit_step step;

    char xid[24];
    char entry[STORES__ENTRY_TEXT + 1];
    struct stores__settle *rows; /* the named rows, and what becomes of them */
    struct stores__epoch **turns; /* held */
    size_t turn_count, turn_room;
    bool reaches, locks_known, no_memory;
    struct stores__pg_wait wait;

    size_t waiting; /* answers of Redis that are to come */
    bool refused, failed; /* an epoch was another one; Redis could not be told */
    bool full; /* Redis is; it takes the intents all the same */
    bool told_again, turn_again; /* once, after the link was lost; the turns as well */
    uint64_t failures; /* of the link, when Redis was told */
    int tries;
    struct stores__timer timer;
    struct stores__pg_req req;
    int asked; /* the index of the question which tables were written */
    bool asking; /* the last answer about a lost COMMIT settled nothing */
    int status_tries;
    bool committed;
    stores_error *error; /* NULL: none */
};

/* Why it fails, in place of what was said before. */
void stores__commit_fail(struct stores__commit *commit, stores_code code, const char *text);
/* The next steps; each may be the last that its caller does, for the commit may be gone after it. */
void stores__commit_ask(struct stores__commit *commit);
void stores__commit_tell(struct stores__commit *commit);
void stores__commit_send(struct stores__commit *commit);
void stores__commit_roll_back(struct stores__commit *commit); /* commit->error says why */
void stores__commit_ask_status(struct stores__commit *commit);
void stores__commit_finish(struct stores__commit *commit);

#endif

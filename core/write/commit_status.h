/*
 * commit_status.h - what became of a COMMIT whose answer was lost: the server is asked on another
 * connection, where it is still the same run of the same server, until it says something that
 * lasts.
 */
#ifndef STORES_COMMIT_STATUS_H
#define STORES_COMMIT_STATUS_H

#include "engine/engine.h"

enum stores__found { STORES__FOUND_NOTHING, STORES__FOUND_COMMITTED, STORES__FOUND_ABORTED };

struct stores__status {
    /* given */
    stores_engine *engine;
    const char *xid;
    const char *started; /* the run of the server that was to commit it */
    /* The status may be gone after it. */
    void (*done)(struct stores__status *status, enum stores__found found);
    void *arg; /* of who gave it */

    /* its own */
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__timer timer;
    enum stores__found found;
    bool asking; /* the last answer settled nothing */
    int tries;
};

/* NULL: no memory. */
struct stores__status *stores__status_new(stores_engine *engine);
void stores__status_ask(struct stores__status *status);
/* Of one that is over, or has not asked; NULL is allowed. */
void stores__status_free(struct stores__status *status);

#endif

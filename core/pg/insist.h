/*
 * insist.h - the end of a statement whose caller has gone. The server is asked to cancel it, and
 * asked again, for a cancel that came before its statement had no effect; when the grace is over
 * the connection is discarded, whose holder hears of it as of a loss. Embedded in the holder.
 */
#ifndef STORES_PG_INSIST_H
#define STORES_PG_INSIST_H

#include "pg/pool.h"

struct stores__pg_insist {
    struct stores__timer timer;
    struct stores__pg_conn *conn; /* NULL: nobody insists */
    struct stores__timers *timers; /* the pool's */
    uint64_t ends_at;
};

/* The connection is the caller's until it ends this, or hears of the loss. */
void stores__pg_insist(struct stores__pg_insist *insist, struct stores__pg_conn *conn);
/* The statement has ended. Harmless where nobody insists. */
void stores__pg_insist_over(struct stores__pg_insist *insist);

#endif

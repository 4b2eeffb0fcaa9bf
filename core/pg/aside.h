/*
 * aside.h - a connection beside the pool, for who keeps one for good (LISTEN): it takes none of
 * poolsize, and nobody who waits for one waits for it. Embedded in its holder, who gets it by
 * ready(), and hears of its loss.
 */
#ifndef STORES_PG_ASIDE_H
#define STORES_PG_ASIDE_H

#include "pg/pool.h"

struct stores__pg_aside {
    struct stores__list link; /* pool->asides while it is wanted */
    struct stores__pg_pool *pool;
    struct stores__pg_resolve *resolving;
    struct stores__pg_conn *conn; /* NULL: there is none */
    bool up; /* ready() was called, and lost() was not */
    /* Each from the loop. After failed() and lost() it is closed, and may be opened again. */
    void (*ready)(struct stores__pg_aside *aside);
    void (*failed)(struct stores__pg_aside *aside, const stores_error *error);
    void (*lost)(struct stores__pg_aside *aside);
};

/* Starts to connect; harmless for one that is open or does. False: no memory; nothing is called. */
bool stores__pg_aside_open(struct stores__pg_pool *pool, struct stores__pg_aside *aside);
/* Closes it; nothing is called any more, but for done(LOST) of its requests. */
void stores__pg_aside_close(struct stores__pg_aside *aside);

#endif

/*
 * probe.h - whether a server is there at all. What it has begun may take as long as it likes; one
 * that is stopped, or a network that forgot us, says as little. So a new connection is opened
 * beside the pool: who greets it is there.
 */
#ifndef STORES_PG_PROBE_H
#define STORES_PG_PROBE_H

#include "pg/aside.h"

enum stores__pg_presence {
    STORES__PG_THERE, /* it greeted, or said why it does not */
    STORES__PG_SILENT, /* it was reached, or not, and said nothing */
    STORES__PG_UNTOLD /* there was no way to it, and what was begun may go on all the same */
};

/* Embedded in its holder; zero, but for done. */
struct stores__pg_probe {
    struct stores__pg_aside aside;
    struct stores__pg_pool *pool;
    struct stores__timer timer;
    uint64_t grace_ms;
    bool asks; /* it is under way */
    bool late; /* its time is up, and what was read meanwhile is looked at once more */
    void (*done)(struct stores__pg_probe *probe, enum stores__pg_presence presence);
};

/* Asks; done() comes from the loop, within that time and a quarter of it. Harmless while it asks.
 * Where there is no memory nothing is called. */
void stores__pg_probe_start(struct stores__pg_pool *pool, struct stores__pg_probe *probe,
                            uint64_t ms);
/* done() does not come any more. */
void stores__pg_probe_stop(struct stores__pg_probe *probe);

#endif

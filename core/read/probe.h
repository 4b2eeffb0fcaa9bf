/*
 * probe.h - whether what a writer did to a row is over, where the row is on another server than the
 * one that commits (Citus). The coordinator's word tells nothing: that server may commit later, or
 * have done so before. But the row's lock is there until the change is to be seen. So the lock is
 * asked for, without waiting; and, for a row that is not there yet, the place in the index, which
 * is waited for a moment. Nothing stays of either.
 */
#ifndef STORES_READ_PROBE_H
#define STORES_READ_PROBE_H

#include "engine/table.h"

struct stores__probe {
    struct stores__table *table; /* the caller's */
    int64_t id;
    void (*done)(struct stores__probe *probe, bool over);

    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__pg_conn *conn;
    int at; /* the index of its first question */
    bool free; /* nobody has the row's lock */
    bool fits; /* nobody is about to insert the row; or the table does not tell */
};

/* done() comes once. over: no writer of before has the row any more. Where the table refuses the
 * question about the index (a CHECK), and there is no row, that is not known, and taken for so: an
 * insert that is late is seen when the "no such row" of before has lapsed. */
void stores__probe_start(struct stores__probe *probe);

#endif

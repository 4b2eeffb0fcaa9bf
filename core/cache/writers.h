/*
 * writers.h - who writes to a table: those who may have used an older epoch of it, listed once, and
 * then asked about until they are over.
 *
 * Where rows of the table are on other servers (Citus), those are asked, too: a writer's locks are
 * there until it is to be seen there, which is later than the coordinator has forgotten him. One
 * that was prepared for its COMMIT there has another name since. So who was listed is waited for
 * first; and then those who are prepared by then, once.
 */
#ifndef STORES_CACHE_WRITERS_H
#define STORES_CACHE_WRITERS_H

#include "pg/conn.h"

struct stores__writers {
    char *names; /* an array, as PostgreSQL wrote it; NULL: none */
    int count;
    bool listed; /* else they are to be listed anew */
    bool late; /* those who were prepared are listed */
};

/* Adds the question to a request: who writes to the table, or which of those do so still. */
void stores__writers_ask(const struct stores__writers *writers, struct stores__pg_conn *conn,
                         struct stores__pg_req *req, uint32_t oid);
/* Takes its answer. False: it is none, or a server did not answer, and all of it is asked anew. */
bool stores__writers_take(struct stores__writers *writers, const struct pg_result *result);
/* Forgets them. */
void stores__writers_clear(struct stores__writers *writers);

#endif

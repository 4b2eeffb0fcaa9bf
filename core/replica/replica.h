/*
 * replica.h - reads on replicas: what the rooms above ask for.
 *
 * A read is tried on one replica, and either that has the answer, which is as new as the caller may
 * expect, or nothing is known and the primary is to be asked: whatever went wrong on the replica,
 * also an error of the statement, which may be for a table that has not come there yet.
 */
#ifndef STORES_REPLICA_H
#define STORES_REPLICA_H

#include "engine/op.h"
#include "replica/mark.h"

struct stores__asking;

/* What is to be read. All of it is the caller's until it is over, or was left. */
struct stores__replica_read {
    const char *sql;
    int count;
    const char *const *values;
    bool own; /* a text of somebody's, which may take long: it has a connection of its own */
    bool runs; /* of a view, or of a table with policies, whose code may leave something behind */
    /* Of the calls that it is for, ended by NULL; NULL: none has one. They are taken at once. */
    const char *const *tokens;
    uint64_t ends_at, last_ends_at; /* their first deadline, and the last, in ms of the loop */
    /* Whether it waits for a replica from now on, or for the primary, or nobody; also inside
     * stores__asking_start. With the arg of done. */
    void (*waits)(void *arg, bool at_replica);
};

enum stores__asked {
    STORES__ASKED, /* done comes once, from the loop */
    STORES__ASK_THE_PRIMARY, /* it does not come */
    STORES__ASK_NOBODY /* nor does it here: there is no memory */
};

/* Asks for it. done has the rows, which are its to free; or NULL and no error: the primary is to be
 * asked, as if this had returned so, with stores__marking_add(.., STORES__READ), for what it says
 * must not be older than what replicas said before; or NULL and an error, which is the read's. */
enum stores__asked
stores__asking_start(stores_engine *engine, const struct stores__replica_read *read,
                     void (*done)(void *arg, struct pg_result *result, const stores_error *error),
                     void *arg, struct stores__asking **asking);
/* Nobody waits for it any more; done does not come. */
void stores__asking_leave(struct stores__asking *asking);

/* The engine's part (engine/part.h). */
bool stores__replicas_open(stores_engine *engine, const stores_config *config, stores_error *error);
void stores__replicas_met(stores_engine *engine, const struct stores__pg_conn *conn);
void stores__replicas_stats(const stores_engine *engine,
                            void (*figure)(void *arg, const char *name, double value), void *arg);
void stores__replicas_deafen(stores_engine *engine, int deaf);
bool stores__replicas_close(stores_engine *engine, void (*closed)(void *engine));
void stores__replicas_free(stores_engine *engine);

#endif

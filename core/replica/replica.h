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

struct stores__attempt;

/* What is to be read. All of it is the caller's until the attempt is over, or was left. */
struct stores__replica_read {
    const char *sql;
    int count;
    const char *const *values;
    bool own; /* a text of somebody's, which may take long: it has a connection of its own */
    const char *const *tokens; /* of the calls that it is for, ended by NULL; NULL: none has one */
    uint64_t ends_at; /* the first deadline of them, in ms of the loop */
};

/* Tries it. done comes once, from the loop: with the rows, which are its to free; or with NULL: the
 * primary is to be asked, with stores__marking_add(.., STORES__READ), for what it says must not be
 * older than what replicas said before. NULL: nothing is tried, and done does not come. */
struct stores__attempt *stores__attempt_start(stores_engine *engine,
                                              const struct stores__replica_read *read,
                                              void (*done)(void *arg, struct pg_result *result),
                                              void *arg);
/* Nobody waits for it any more; done does not come. */
void stores__attempt_leave(struct stores__attempt *attempt);

/* The engine's part (engine/part.h). */
bool stores__replicas_open(stores_engine *engine, const stores_config *config, stores_error *error);
void stores__replicas_met(stores_engine *engine, const struct stores__pg_conn *conn);
void stores__replicas_stats(const stores_engine *engine,
                            void (*figure)(void *arg, const char *name, double value), void *arg);
void stores__replicas_deafen(stores_engine *engine, int deaf);
bool stores__replicas_close(stores_engine *engine, void (*closed)(void *engine));
void stores__replicas_free(stores_engine *engine);

#endif

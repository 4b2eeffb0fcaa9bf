/*
 * worker.h - what a coordinator of Citus passes on of its workers' errors: the text alone, in which
 * the names are those of shards ("users_pkey_102071"), and losses of its connections to them, which
 * are none of ours.
 */
#ifndef STORES_BASE_WORKER_H
#define STORES_BASE_WORKER_H

#include "base/base.h"

/* Whether an error is that a worker could not be reached, or was lost; context NULL: none. */
bool stores__worker_lost(const char *sqlstate, const char *message, const char *context);
/* Gives an error of class 23 that a worker raised the names of the table and the constraint, as far
 * as its message says them, which the coordinator leaves out. */
void stores__worker_names(stores_error *error, const char *message, const char *context);
/* Takes the number of a shard off a name in place. False: it has none, or was so long that Citus
 * has cut it. */
bool stores__worker_unsuffix(char *name);

#endif

/*
 * shard.h - which shard a database is: the one row of its table stores_shard, which is looked at
 * when a connection is opened, before anything is read or written. There, and not by who calls: a
 * name may lead to another server later. A database without the table costs no round trip.
 */
#ifndef STORES_PG_SHARD_H
#define STORES_PG_SHARD_H

#include "base/err.h"

struct pg_result;

enum { STORES__PG_SHARD_NAME = 128 }; /* bytes of a strategy and of a cluster, at most */

struct stores__pg_shard {
    int shard, count; /* count 0: the database is none, or says nothing */
    char strategy[STORES__PG_SHARD_NAME];
    char cluster[STORES__PG_SHARD_NAME]; /* of what is wanted: "" is any */
};

/* A column of a SELECT: true where the table is there. */
#define STORES__PG_SHARD_COLUMN "pg_catalog.to_regclass('stores_shard') IS NOT NULL"
extern const char stores__pg_shard_sql[];

/* What the engine's caller takes it for. */
void stores__pg_shard_want(struct stores__pg_shard *wanted, const stores_config *config);
void stores__pg_shard_take(struct stores__pg_shard *found, const struct pg_result *result);
/* False: the error tells what the database is, and what it is not. */
bool stores__pg_shard_fits(const struct stores__pg_shard *found,
                           const struct stores__pg_shard *wanted, bool any, const char *database,
                           stores_error *error);

#endif

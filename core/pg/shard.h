/*
 * shard.h - which shard a database is: the one row of its table stores_shard, which is looked at
 * when a connection is opened, before anything is read or written. There, and not by who calls: a
 * name may lead to another server later. A database without the table costs no round trip. From
 * time to time it is looked at again (idle.c), for it may be told while connections are open.
 *
 * The table is where search_path looks; a database that has one in another schema alone is not
 * taken for one that says nothing, for roles may differ in their search_path.
 */
#ifndef STORES_PG_SHARD_H
#define STORES_PG_SHARD_H

#include "base/err.h"

struct pg_result;

enum {
    STORES__PG_SHARD_NAME = 128, /* bytes of a strategy and of a cluster, at most */
    STORES__PG_SHARD_MARK = 320,
    STORES__PG_SHARD_WHY = 400
};

struct stores__pg_shard {
    int shard, count; /* count 0: the database is none, or says nothing */
    char strategy[STORES__PG_SHARD_NAME];
    char cluster[STORES__PG_SHARD_NAME]; /* of what is wanted: "" is any */
    /* of what is found */
    char mark[STORES__PG_SHARD_MARK]; /* STORES__PG_SHARD_COLUMN; "": there is no table */
    uint64_t said; /* a hash of its row */
    /* Of a database that is copied, or was: "read_only", which those who write are told of by its
     * tables; "moved" and "unfinished", which own no rows, and are refused. "": none of them. */
    char state[16];
    char why[STORES__PG_SHARD_WHY]; /* a word to who is refused */
};

/* What the databases of an engine have to be. */
struct stores__pg_shard_place {
    struct stores__pg_shard wanted;
    bool names_cluster; /* its caller did, and not who found it out */
    bool any; /* whichever shard they are */
    bool was_told; /* one said it: another one in its place that says nothing is not the same */
};

/* The tables of that name in the schemas of a database. */
#define STORES__PG_SHARD_TABLES                                                                    \
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"         \
    " WHERE c.relname = 'stores_shard' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"                 \
    " AND n.nspname !~ '^pg_'"

/* A column of a SELECT: whether a relation has the name of that table. Most databases have none,
 * and the question below costs a new session more than all others of its greeting together: it is
 * for those that have one, in a round trip of its own. */
#define STORES__PG_SHARD_NAMED                                                                     \
    "EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'stores_shard')"
/* A column of a SELECT: 'here', or 'elsewhere' (not in search_path), the sum of the oids of all of
 * those tables, and the name of the one that counts; NULL: there is none. */
#define STORES__PG_SHARD_COLUMN                                                                    \
    "(SELECT pg_catalog.concat_ws(' ', CASE WHEN n.nspname = ANY"                                  \
    " (pg_catalog.current_schemas(false)) THEN 'here' ELSE 'elsewhere' END,"                       \
    " pg_catalog.sum(c.oid::pg_catalog.int8) OVER (),"                                             \
    " pg_catalog.quote_ident(n.nspname) || '.stores_shard')" STORES__PG_SHARD_TABLES               \
    " ORDER BY pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname), c.oid"     \
    " LIMIT 1)"

/* What the engine's caller takes it for. */
void stores__pg_shard_want(struct stores__pg_shard_place *place, const stores_config *config);
/* Any cluster was meant: it is this one. */
void stores__pg_shard_expect(struct stores__pg_shard_place *place, const char *cluster);
/* Takes that column. True: there is a table, which is to be read. */
bool stores__pg_shard_mark(struct stores__pg_shard *found, const char *mark);
/* The statement that reads it. */
void stores__pg_shard_read(const struct stores__pg_shard *found, struct stores__buf *sql);
void stores__pg_shard_take(struct stores__pg_shard *found, const struct pg_result *result);
/* The statement that looks whether all of that is as it was, whatever the session's search_path is
 * by now, and what it says to it. */
void stores__pg_shard_ask(const struct stores__pg_shard *found, struct stores__buf *sql);
bool stores__pg_shard_holds(const struct stores__pg_shard *found, const struct pg_result *result);
/* False: the error tells what the database is, and what it is not. A store alone may open the one
 * shard of one. A table in another schema may be
 * that of another shard of the same list: then the database says nothing, and *found is so. */
bool stores__pg_shard_fits(struct stores__pg_shard *found, struct stores__pg_shard_place *place,
                           const char *database, stores_error *error);

#endif

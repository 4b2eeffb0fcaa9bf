/*
 * spread.h - where the rows of a table are, where the server is the coordinator of several (Citus):
 * a fact of the table, which is asked for with the others. Which shard has an id is a hint: one
 * that is wrong, for a shard was split or moved since, costs time and nothing else.
 */
#ifndef STORES_NAMES_SPREAD_H
#define STORES_NAMES_SPREAD_H

#include "engine/table.h"

/* Of the table that is `c` in a SELECT on such a server: "" for a local one, r for a reference
 * table, h with the least hash of each shard for one that is spread by its id, d for all others. */
#define STORES__SPREAD_COLUMN                                                                      \
    "coalesce((SELECT CASE WHEN d.partmethod = 'n' AND d.repmodel = 't' THEN 'r'"                  \
    "  WHEN d.partmethod = 'h'"                                                                    \
    "  AND pg_catalog.column_to_column_name(d.logicalrelid, d.partkey) = 'id'"                     \
    "  THEN 'h' || coalesce((SELECT pg_catalog.string_agg(s.shardminvalue, ','"                    \
    "  ORDER BY s.shardminvalue::pg_catalog.int4) FROM pg_catalog.pg_dist_shard s"                 \
    "  WHERE s.logicalrelid = d.logicalrelid), '')"                                                \
    "  WHEN d.partmethod <> 'n' OR d.colocationid <> 0 THEN 'd' ELSE '' END"                       \
    "  FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = c.oid), '')"

/* Takes what that said; NULL: nothing was asked. */
void stores__spread_take(struct stores__table *table, const char *text);
/* Which of the table's shards has an id, counted from 0; 0 where that is not known. */
size_t stores__spread_shard(const struct stores__table *table, int64_t id);
/* What PostgreSQL's hashint8 gives, by which Citus spreads rows. */
int32_t stores__spread_hash(int64_t id);

#endif

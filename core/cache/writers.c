/* writers.c - see writers.h. */
#include "cache/writers.h"

#include <stdio.h>

#include "cache/cache.h"

#define MODES                                                                                      \
    "('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',"                                \
    " 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
#define HERE                                                                                       \
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"

/* The table, and its partitions (or what inherits from it): who writes to one of those locks it
 * alone. */
#define TREE                                                                                       \
    "WITH RECURSIVE tree AS (SELECT $1::pg_catalog.oid AS oid"                                     \
    " UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid),"

/* Transactions with a writer's lock, by their virtual ids; and the sessions that run a statement
 * outside of transactions, by the sign that they hold (write/calls_turn.c). */
#define WRITERS(of)                                                                                \
    " writers AS (SELECT CASE WHEN locktype = 'relation' THEN virtualtransaction"                  \
    "  ELSE 'session ' || pid::text END AS who FROM pg_catalog.pg_locks"                           \
    " WHERE database = " HERE " AND granted"                                                       \
    " AND ((locktype = 'relation' AND relation IN (SELECT oid FROM " of ") AND mode IN " MODES ")" \
    " OR (locktype = 'advisory' AND classid = " STORES__SIGN_CLASS " AND objsubid = 2"             \
    " AND objid IN (SELECT oid FROM tree))))"

#define LISTED                                                                                     \
    " SELECT pg_catalog.array_agg(DISTINCT who)::text, pg_catalog.count(DISTINCT who) FROM "       \
    "writers"
#define ASKED " WHERE who = ANY($2::text[])"

static const char list_sql[] = TREE WRITERS("tree") LISTED;
static const char poll_sql[] = TREE WRITERS("tree") LISTED ASKED;

/* What a worker is asked, with the names of the shards as %L: a shard that is not there is none. */
#define ON_WORKER                                                                                  \
    "SELECT coalesce(pg_catalog.string_agg(DISTINCT virtualtransaction, '' ''), '''')"             \
    " FROM pg_catalog.pg_locks WHERE locktype = ''relation'' AND granted"                          \
    " AND mode NOT IN (''AccessShareLock'', ''RowShareLock'') AND database ="                      \
    " (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"      \
    " AND relation IN (SELECT pg_catalog.to_regclass(n)"                                           \
    " FROM pg_catalog.unnest(%L::text[]) n)"

#define SPREAD                                                                                     \
    TREE                                                                                           \
        " shards AS (SELECT CASE WHEN n.nspname = 'public' THEN 'public.' ELSE '' END"             \
        "  || pg_catalog.shard_name(s.logicalrelid, s.shardid) AS name FROM tree"                  \
        "  JOIN pg_catalog.pg_dist_shard s ON s.logicalrelid = tree.oid"                           \
        "  JOIN pg_catalog.pg_class c ON c.oid = tree.oid"                                         \
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace),"                             \
        " here AS (SELECT oid FROM tree UNION ALL SELECT pg_catalog.to_regclass(name) FROM "       \
        "shards),"                                                                                 \
        " told AS MATERIALIZED (SELECT w.* FROM (SELECT pg_catalog.array_agg(name)::text AS names" \
        "  FROM shards) a CROSS JOIN LATERAL pg_catalog.run_command_on_workers("                   \
        "  pg_catalog.format('" ON_WORKER "', a.names)) w WHERE a.names IS NOT NULL)," WRITERS(    \
            "here") ","                                                                            \
                    " every AS (SELECT who, who LIKE '-1/%' AS prepared FROM writers"              \
                    "  UNION ALL SELECT 'node ' || nodename || ':' || nodeport || ' ' || v, v "    \
                    "LIKE '-1/%'"                                                                  \
                    "  FROM told, pg_catalog.string_to_table(result, ' ') v WHERE success AND v "  \
                    "<> '')"
#define SPREAD_LISTED(which)                                                                       \
    " SELECT pg_catalog.array_agg(DISTINCT who)" which "::text,"                                   \
    " pg_catalog.count(DISTINCT who)" which ","                                                    \
    " coalesce((SELECT pg_catalog.bool_and(success) FROM told), true),"                            \
    " pg_catalog.array_agg(DISTINCT who) FILTER (WHERE prepared)::text,"                           \
    " pg_catalog.count(DISTINCT who) FILTER (WHERE prepared) FROM every"

static const char spread_list_sql[] = SPREAD SPREAD_LISTED("");
static const char spread_poll_sql[] = SPREAD SPREAD_LISTED(" FILTER (WHERE who = ANY($2::text[]))");

void stores__writers_ask(const struct stores__writers *writers, struct stores__pg_conn *conn,
                         struct stores__pg_req *req, uint32_t oid) {
    char text[12];
    const char *values[] = {text, writers->names};
    snprintf(text, sizeof text, "%u", oid);
    if (writers->listed) {
        stores__pg_add(conn, req, conn->citus ? spread_poll_sql : poll_sql, 2, values, true);
    } else {
        stores__pg_add(conn, req, conn->citus ? spread_list_sql : list_sql, 1, values, true);
    }
}

/* False: no memory. */
static bool keep(struct stores__writers *writers, const struct pg_result *result, int column) {
    const char *names = stores__pg_value(result, 0, column, NULL);
    const char *count = stores__pg_value(result, 0, column + 1, NULL);
    free(writers->names);
    writers->names = names ? stores__strdup(names) : NULL;
    writers->count = count ? atoi(count) : 0;
    return writers->count == 0 || writers->names != NULL;
}

bool stores__writers_take(struct stores__writers *writers, const struct pg_result *result) {
    enum { NAMES, COUNT, ALL_TOLD, PREPARED, COLUMNS = 5 };
    if (stores__pg_rows(result) != 1) return false;
    bool several = stores__pg_columns(result) == COLUMNS, polled = writers->listed;
    const char *told = several ? stores__pg_value(result, 0, ALL_TOLD, NULL) : "t";
    if (told == NULL || told[0] != 't' || !keep(writers, result, NAMES)) return false;
    writers->listed = true;
    if (!several || !polled || writers->late || writers->count > 0) return true;
    writers->late = true;
    return keep(writers, result, PREPARED);
}

void stores__writers_clear(struct stores__writers *writers) {
    free(writers->names);
    *writers = (struct stores__writers){0};
}

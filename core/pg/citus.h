/*
 * citus.h - a server that is the coordinator of several (Citus). Its word alone does not say what
 * became of a write: the server that has the row, a worker, commits before it or behind it, and the
 * way between the two may be lost. What it could not do there it tells in a WARNING, which comes
 * before the answer.
 */
#ifndef STORES_PG_CITUS_H
#define STORES_PG_CITUS_H

#include <stdbool.h>

#include "base/err.h"

struct stores__pg_conn;

/* Whether tables of the database may be spread over several servers: columns of a SELECT, false or
 * NULL where they may not. The second has the limits of a transaction (lock_timeout) sent along to
 * the workers, from now on; and has no plan made that knows no values, which Citus refuses. */
#define STORES__PG_CITUS_HAS "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')"
#define STORES__PG_CITUS_SET                                                                       \
    "pg_catalog.concat(pg_catalog.set_config('citus.propagate_set_commands', 'local', false),"     \
    " CASE pg_catalog.current_setting('plan_cache_mode') WHEN 'force_generic_plan'"                \
    " THEN pg_catalog.set_config('plan_cache_mode', 'auto', false) END)"
#define STORES__PG_CITUS_COLUMN                                                                    \
    "CASE WHEN " STORES__PG_CITUS_HAS " THEN " STORES__PG_CITUS_SET " END"
/* Of a coordinator it is 0: a worker has the same tables, and other rows of pg_class. */
#define STORES__PG_CITUS_GROUP "SELECT groupid FROM pg_catalog.pg_dist_local_group"

/* The server warned; of several warnings of a request the one that tells least stays. */
void stores__pg_citus_warned(struct stores__pg_conn *conn, const char *severity,
                             const char *sqlstate);
/* Whether the last request on the connection, its holder's, was answered with a warning: what was
 * committed is not to be seen yet everywhere. */
bool stores__pg_was_warned(const struct stores__pg_conn *conn);
/* Why a statement failed, where only the warning before it tells: a conflict on a worker. */
void stores__pg_heed(const struct stores__pg_conn *conn, stores_error *error);
/* Whether a COMMIT, or a statement that commits itself, which failed so may have been done. */
bool stores__pg_in_doubt(const struct stores__pg_conn *conn, const stores_error *error);

#endif

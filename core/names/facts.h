/*
 * facts.h - what PostgreSQL's catalog says of a table: which oid its name has, whether its rows may
 * be cached, how far a write reaches. Others change it at any time, so that it is trusted
 *   - by readers: only under the epoch that was V when it was asked (docs/cache.md, "Facts");
 *   - by writers: only where the catalog says that nothing changed since, which comes with the
 *     write's own round trip, after its statement took the lock that keeps DDL away.
 */
#ifndef STORES_FACTS_H
#define STORES_FACTS_H

#include "engine/table.h"

/* The moment at which the catalog was asked. Answers to older questions do not replace newer
 * ones. */
struct stores__facts_asked {
    uint64_t serial;
    enum stores__facts_depth depth;
    bool committed; /* what everybody sees: not a standby, nor what a transaction has made itself */
};

/* The statement that asks the catalog of the server that the engine has met; its one parameter is
 * the quoted name. It tells what there is to know of a table of that depth. */
const char *stores__facts_sql(const stores_engine *engine, enum stores__facts_depth depth);
/* The depth that the table had when it was asked for last; all, where that is in doubt. */
enum stores__facts_depth stores__facts_depth(const struct stores__table *table);
/* When the statement is sent. */
struct stores__facts_asked stores__facts_ask(stores_engine *engine, enum stores__facts_depth depth,
                                             bool committed);
/* The same of a writer, which others need not do meanwhile (stores__facts_must_ask). */
struct stores__facts_asked stores__facts_ask_to_write(struct stores__table *table,
                                                      enum stores__facts_depth depth,
                                                      bool committed);
/* Whether that was enough, or there is no such table; else another depth takes its place, by which
 * it is to be asked again. */
bool stores__facts_are_told(const struct pg_result *result, struct stores__facts_asked *asked);
/* Takes the answer, where it is enough. False: no memory, and the table is not known. */
bool stores__facts_learn(struct stores__table *table, const struct pg_result *result,
                         const struct stores__facts_asked *asked);
/* The same, of a question that is asked once: where its answer is not enough, the facts are in
 * doubt. */
bool stores__facts_take(struct stores__table *table, const struct pg_result *result,
                        struct stores__facts_asked *asked);
/* They were asked under the epoch that counts now. */
bool stores__facts_hold(const struct stores__table *table);
/* A reader that asks PostgreSQL anyway had better ask for them as well. */
bool stores__facts_are_due(const struct stores__table *table);
/* A writer asks for them before its statement: they are in doubt, or so old that what the catalog's
 * word behind the statement does not tell (an index over a function, a column that became a domain)
 * may have changed. The same all through a turn of the loop. */
bool stores__facts_must_ask(const struct stores__table *table);
/* Something changed: they are asked for before they are used again. */
void stores__facts_doubt(struct stores__table *table);

/* The statement behind a write, with its one parameter (the quoted name): the transaction's number,
 * and what tells whether the catalog has changed. */
const char *stores__facts_print_sql(const struct stores__table *table);
/* Whether that answer says that the facts are still right. */
bool stores__facts_confirm(struct stores__table *table, const struct pg_result *result);

#endif

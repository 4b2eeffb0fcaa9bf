/*
 * commit.h - the end of a transaction that wrote: from its last statement to SETTLE. The owner
 * hears the outcome of COMMIT, and the cache is told after that.
 *
 *   locks asked -> epochs turned, intents placed -> COMMIT -> done(outcome) -> SETTLE
 *
 * What Redis hears of a table that was written is decided once, behind the last statement:
 *   nothing  there is no cache, or rows of the table are not in it
 *   named    the rows that RETURNING gave get intents, and are published
 *   turned   too many rows for that; or the transaction did anything which may reach further than
 *            the rows it names (a trigger, a cascade, SQL of the caller): then every table that
 *            it locked for writing is turned, those of its named rows too, and nothing is
 *            published
 *
 * A commit belongs to its owner until stores__commit_start; from then on to itself.
 */
#ifndef STORES_COMMIT_H
#define STORES_COMMIT_H

#include "cache/cache.h"

struct stores__commit;

enum { STORES__NAMED_ROWS_MAX = 5000 }; /* of one transaction; more in one table turn it */

/* error NULL: committed. Otherwise error->outcome says what became of it. The connection is the
 * owner's again: it is idle where error is NULL or the server rolled back. */
typedef void (*stores__commit_done)(void *arg, const stores_error *error);

/* NULL: no memory. */
struct stores__commit *stores__commit_new(stores_engine *engine);
/* For one that was never started, or to take everything back. */
void stores__commit_free(struct stores__commit *commit);

/* The statement that gives the transaction's number, for the round trip of the writes, where no
 * table's facts have to be confirmed (names/facts.h); and what either of the two answered. Without
 * it no intent can be placed. */
extern const char stores__commit_xid_sql[];
/* NULL where it has none: it wrote nothing. */
extern const char stores__commit_xid_if_any_sql[];
void stores__commit_take_xid(struct stores__commit *commit, const struct pg_result *result);
/* Adds the statement that lists the tables that this transaction wrote, by its own locks, behind
 * what makes happen what waits for COMMIT, while it can still be asked which tables that wrote.
 * Gives the index of its answer, which tells the tables that are turned, as does that of another
 * statement that gives oids. */
int stores__commit_add_question(const stores_engine *engine, struct stores__pg_conn *conn,
                                struct stores__pg_req *req);
/* Behind it, where a savepoint may be open: COMMIT ends that first, and with it what keeps the rest
 * from writing. So what waits still happens before. */
void stores__commit_add_last(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* Behind a transaction pooler: adds the question which server this is, for another one may stand
 * there since the last transaction, whose rows have other keys. The last question asks it right
 * before the locks. */
void stores__commit_add_past(const stores_engine *engine, struct stores__pg_conn *conn,
                             struct stores__pg_req *req);
/* Its answer, or that of something else. On another server than before the locks are asked for
 * before COMMIT, and what was written is turned there. */
void stores__commit_take_past(struct stores__commit *commit, const struct pg_result *result);
void stores__commit_take_locks(struct stores__commit *commit, const struct pg_result *result);
void stores__commit_take_lock(struct stores__commit *commit, const struct pg_result *result,
                              int row);
/* It may have changed rows that it does not name: the locks are asked for before COMMIT. */
void stores__commit_reaches(struct stores__commit *commit);
bool stores__commit_is_reaching(const struct stores__commit *commit);
/* A savepoint may be open in it still. */
void stores__commit_saves(struct stores__commit *commit);
/* Something ran in it that was kept from writing, and may have opened a cursor WITH HOLD, which
 * would run inside of COMMIT, where nothing keeps it from that. */
void stores__commit_closes(struct stores__commit *commit);

/* A row was changed: text is what RETURNING gave, NULL for a deleted one. The blob is referenced.
 * publish false: what stands in the row is not known, or not to be shown. */
void stores__commit_row(struct stores__commit *commit, struct stores__table *table, int64_t id,
                        const char *text, size_t len, struct stores__blob *blob, bool publish);
/* Memory ran out for what has to be told to Redis: the transaction will be rolled back. */
void stores__commit_refuse(struct stores__commit *commit);
/* Whether it did. */
bool stores__commit_is_refused(const struct stores__commit *commit);
/* Whether so many rows more can be named. */
bool stores__commit_has_room(const struct stores__commit *commit, size_t count);
/* More rows of the table were changed than can be named: it is turned, and with it every other one
 * of which a row was named. */
void stores__commit_large(struct stores__commit *commit, struct stores__table *table);
/* Some of its turns are of tables that its caller named, and it may not have locked. */
void stores__commit_named(struct stores__commit *commit);
/* The table is to be turned. */
void stores__commit_turn(struct stores__commit *commit, struct stores__table *table);
/* The epochs that are to be turned, held, for the caller to let go of and to free; for who turns
 * them himself. */
struct stores__epoch **stores__commit_turns(struct stores__commit *commit, size_t *count);
/* Rows since a mark (a savepoint) are not published any more, for they were rolled back. */
size_t stores__commit_mark(const struct stores__commit *commit);
void stores__commit_rolled_back(struct stores__commit *commit, size_t mark);
/* Where Redis cannot be told and the engine is not to bypass it: false, and *error says so. */
bool stores__commit_may_write(const struct stores__table *table, stores_error *error);

/* Hears, with done's argument, what the commit waits for: Redis, or PostgreSQL. */
void stores__commit_watch(struct stores__commit *commit,
                          void (*phase)(void *arg, enum stores__phase phase));
/* Commits the transaction that is open on the connection. */
void stores__commit_start(struct stores__commit *commit, struct stores__pg_conn *conn,
                          stores__commit_done done, void *arg);

#endif

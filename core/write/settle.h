/*
 * settle.h - the rows that a transaction changed: which get an intent before COMMIT, and what is
 * published in their place after it. Owned by one commit until it is sent.
 */
#ifndef STORES_SETTLE_H
#define STORES_SETTLE_H

#include "cache/cache.h"

struct stores__settle;
struct stores__commit;

struct stores__settle *stores__settle_new(stores_engine *engine);
void stores__settle_free(struct stores__settle *settle); /* NULL is allowed */
/* Remembers a changed row; the blob is referenced. text NULL: the row is gone. */
bool stores__settle_add(struct stores__settle *settle, struct stores__table *table, int64_t id,
                        const char *text, size_t len, struct stores__blob *blob, bool publish);
size_t stores__settle_count(const struct stores__settle *settle);
/* What was added since the mark was rolled back to a savepoint. */
void stores__settle_unpublish(struct stores__settle *settle, size_t mark);
/* Takes out the tables with more than max rows, and has them turned instead. */
void stores__settle_turn_large(struct stores__settle *settle, size_t max,
                               struct stores__commit *commit,
                               void (*turn)(struct stores__commit *, struct stores__table *));

/* Calls place for every chunk of rows of one table with their keys (the epoch's key first) under
 * the epoch that is believed in now, and remembers that epoch. False: place failed. */
bool stores__settle_place(struct stores__settle *settle,
                          bool (*place)(void *arg, struct stores__table *table, const char *epoch,
                                        struct stores__args *keys, int count),
                          void *arg);
/* How long has to be waited, in ms, until nobody holds rows of the tables in memory, where Redis
 * cannot be told. */
uint64_t stores__settle_absence(const struct stores__settle *settle);
/* Whether the nodes of all tables are up. */
bool stores__settle_nodes_up(const struct stores__settle *settle);
/* Every table's epoch is known (or being turned), so that placing may be tried. */
bool stores__settle_epochs_known(const struct stores__settle *settle);
/* Redis did not take them (or it is not known which): the tables are remembered, and nothing is
 * published. A copy of the INTENT that is still on its way could come after the SETTLE of another
 * writer, and a value published for it would be older than what stands (spec/model/rows.lua). */
void stores__settle_bypass(struct stores__settle *settle);
/* The transaction is over: takes the entry out of the rows and publishes them where it committed.
 * Frees settle; what Redis answers is counted. */
void stores__settle_send(struct stores__settle *settle, const char *entry, bool committed);

#endif

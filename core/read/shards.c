/*
 * Rows of a table that Citus spreads over its workers: those of one shard travel together. One
 * statement for all of them would ask each shard for the ids of all others too, and fail for
 * everybody where one worker is down.
 */
#include "read/internal.h"

#include "names/spread.h"

/* One statement has every shard look for the ids of all; one for each shard costs the coordinator a
 * plan each. From so many looks on the latter was faster, by half and more; not where nothing else
 * is under way, for the shards of one statement are asked side by side. */
enum { FEWEST_LOOKS = 1024, ROWS_OF_SHARD = 2 };

struct placed {
    size_t shard;
    size_t at; /* where it stood, which keeps the order of those of a shard */
    struct stores__read_row *row;
};

static int by_shard(const void *left, const void *right) {
    const struct placed *a = left, *b = right;
    if (a->shard != b->shard) return a->shard < b->shard ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

bool stores__rows_group(const struct stores__table *table, struct stores__read_row **rows,
                        size_t count) {
    struct placed placed[STORES__MGET_ROWS];
    size_t shards = 1;
    bool alone = table->engine->pool.counts[STORES__PG_READING] == 0;
    if (table->shard_count < 2 || count * table->shard_count < FEWEST_LOOKS) return false;
    if (alone && count <= STORES__SELECT_ROWS) return false;
    assert(count <= STORES__MGET_ROWS);
    for (size_t i = 0; i < count; i++) {
        placed[i] = (struct placed){stores__spread_shard(table, rows[i]->id), i, rows[i]};
    }
    qsort(placed, count, sizeof *placed, by_shard);
    for (size_t i = 1; i < count; i++) shards += placed[i].shard != placed[i - 1].shard;
    if (count < ROWS_OF_SHARD * shards) return false;
    for (size_t i = 0; i < count; i++) rows[i] = placed[i].row;
    return true;
}

size_t stores__rows_of_shard(const struct stores__table *table, struct stores__read_row **rows,
                             size_t count) {
    size_t shard = stores__spread_shard(table, rows[0]->id), n = 1;
    while (n < count && stores__spread_shard(table, rows[n]->id) == shard) n++;
    return n;
}

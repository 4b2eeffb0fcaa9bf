/* shard.c - see shard.h. */
#include "base/shard.h"

#include "base/err.h"

int stores__shard_of(int64_t id, int count) {
    int rest = (int)(id % count);

    return rest < 0 ? rest + count : rest;
}

bool stores__shard_check(int64_t id, int shard, int count, stores_error *e) {
    int right;

    if (count < 2) return true;
    right = stores__shard_of(id, count);
    if (right == shard) return true;
    stores__error_set(e, STORES_WRONG_SHARD,
                      "the id %lld belongs to shard %d of %d, this is "
                      "shard %d",
                      (long long)id, right, count, shard);
    e->shard = shard;
    return false;
}

int stores_shard_of(int64_t id, int count) {
    if (count < 1) return -1;
    return stores__shard_of(id, count);
}

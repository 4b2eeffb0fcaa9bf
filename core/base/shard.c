/* shard.c - see shard.h. */
#include "base/shard.h"

int stores__shard_of(int64_t id, int count) {
    int rest = (int)(id % count);

    return rest < 0 ? rest + count : rest;
}

int stores_shard_of(int64_t id, int count) {
    if (count < 1) return -1;
    return stores__shard_of(id, count);
}

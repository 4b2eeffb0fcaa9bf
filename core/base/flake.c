/* flake.c - see flake.h. */
#include "base/flake.h"

#include "base/shard.h"

/* Ids drawn in one millisecond are this far apart at most: a million a second still keep to their
 * own millisecond, and neighbours are not guessed by counting. */
#define STEP_MAX 1024

void stores__flake_init(struct stores__flake *flake, int bits, int shard, int shard_count) {
    flake->bits = bits;
    flake->shard = shard;
    flake->shard_count = shard_count;
    flake->last = INT64_MIN;
    flake->process = stores__process();
}

bool stores__flake_next(struct stores__flake *flake, int64_t unix_ms, int64_t *id) {
    uint64_t noise = stores__random_u64(), spread = UINT64_C(1) << flake->bits;
    uint64_t process = stores__process();
    int64_t drawn, add;

    if (unix_ms < STORES__FLAKE_EPOCH) return false;
    drawn = stores__flake_at(flake->bits, unix_ms);
    if (drawn == INT64_MAX) return false;
    drawn += (int64_t)(noise % spread);
    if (drawn <= flake->last) {
        /* A child of a fork goes on from the same last id as its parent: it jumps. */
        uint64_t step = process != flake->process ? spread : STEP_MAX;
        add = 1 + (int64_t)(noise % step);
        if (flake->last > INT64_MAX - add) return false;
        drawn = flake->last + add;
    }
    if (flake->shard_count > 1) {
        add = stores__shard_of(flake->shard - drawn % flake->shard_count, flake->shard_count);
        if (drawn > INT64_MAX - add) return false;
        drawn += add;
    }
    flake->last = drawn;
    flake->process = process;
    *id = drawn;
    return true;
}

int64_t stores__flake_at(int bits, int64_t unix_ms) {
    int64_t unit = INT64_C(1) << bits, ms;

    if (unix_ms < INT64_MIN + STORES__FLAKE_EPOCH) return INT64_MIN;
    ms = unix_ms - STORES__FLAKE_EPOCH;
    if (ms > INT64_MAX / unit) return INT64_MAX;
    if (ms < INT64_MIN / unit) return INT64_MIN;
    return ms * unit;
}

int64_t stores__flake_time(int bits, int64_t id) {
    int64_t unit = INT64_C(1) << bits;

    return id / unit - (id % unit < 0) + STORES__FLAKE_EPOCH;
}

int64_t stores_flake_at(int64_t unix_ms) {
    return stores__flake_at(STORES__FLAKE_BITS, unix_ms);
}

int64_t stores_flake_time(int64_t id) {
    return stores__flake_time(STORES__FLAKE_BITS, id);
}

int64_t stores_simpleflake_at(int64_t unix_ms) {
    return stores__flake_at(STORES__SIMPLEFLAKE_BITS, unix_ms);
}

int64_t stores_simpleflake_time(int64_t id) {
    return stores__flake_time(STORES__SIMPLEFLAKE_BITS, id);
}

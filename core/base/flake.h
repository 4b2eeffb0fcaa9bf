/*
 * flake.h - ids that are made here: milliseconds since 2000-01-01T00:00:00Z above random low bits.
 *
 * Two layouts: 22 low bits, which last to 2069 in a signed 64-bit, and simpleflake's 23, which end
 * in 2034. Ids of one generator increase strictly, whatever the clock does; ids of different
 * processes may collide, seldom: then the one who meets the collision draws again.
 */
#ifndef STORES_FLAKE_H
#define STORES_FLAKE_H

#include <sys/types.h>

#include "base/base.h"

#define STORES__FLAKE_BITS 22
#define STORES__SIMPLEFLAKE_BITS 23
#define STORES__FLAKE_EPOCH INT64_C(946684800000) /* 2000-01-01T00:00:00Z in ms since 1970 */

/* A generator; owned by its engine. */
struct stores__flake {
    int bits;
    int shard, shard_count; /* ids have this true modulo; shard_count < 2: any */
    int64_t last;
    uint64_t process; /* that drew last */
};

void stores__flake_init(struct stores__flake *flake, int bits, int shard, int shard_count);
/* The next id at a time in ms since 1970. False: the time is before 2000, or no id is left. */
bool stores__flake_next(struct stores__flake *flake, int64_t unix_ms, int64_t *id);

/* The smallest id of a millisecond; at the end of the range, the nearest that there is. */
int64_t stores__flake_at(int bits, int64_t unix_ms);
/* The millisecond since 1970 that an id was made in. */
int64_t stores__flake_time(int bits, int64_t id);

#endif

/* look.c - what a link tells of itself. */
#include "redis/internal.h"

enum stores__redis_state stores__redis_state(const struct stores__redis *redis) {
    return redis->state;
}

bool stores__redis_alone(const struct stores__redis *redis) {
    return redis->alone;
}

const char *stores__redis_run_id(const struct stores__redis *redis) {
    return redis->run_id;
}

bool stores__redis_clustered(const struct stores__redis *redis) {
    return redis->clustered;
}

const struct stores__redis_stats *stores__redis_stats(const struct stores__redis *redis) {
    return &redis->stats;
}

const char *stores__redis_why(const struct stores__redis *redis) {
    return redis->why;
}

size_t stores__redis_pending(const struct stores__redis *redis) {
    return redis->count - redis->pings;
}

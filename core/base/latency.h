/*
 * latency.h - how long calls take: a histogram for each verb, always on, and where the time of one
 * call went, when somebody asked for it. Buckets double from 16 us on.
 */
#ifndef STORES_LATENCY_H
#define STORES_LATENCY_H

#include <uv.h>

#include "base/base.h"

enum { STORES__BUCKETS = 22 }; /* 16 us to 33 s, and beyond */

#define STORES__VERBS(X)                                                                           \
    X(OTHER, "other")                                                                              \
    X(FIND, "find")                                                                                \
    X(FIND_MANY, "findAllByIds")                                                                   \
    X(INSERT, "insert")                                                                            \
    X(UPDATE, "update")                                                                            \
    X(UPSERT, "upsert")                                                                            \
    X(DELETE, "delete")                                                                            \
    X(MODIFY, "patch")                                                                             \
    X(SELECT, "select")                                                                            \
    X(QUERY, "query")                                                                              \
    X(TRANSACTION, "transaction")

enum stores__verb {
#define STORES__X(NAME, name) STORES__VERB_##NAME,
    STORES__VERBS(STORES__X)
#undef STORES__X
        STORES__VERB_COUNT
};

struct stores__latency {
    uint64_t buckets[STORES__VERB_COUNT][STORES__BUCKETS];
    uint64_t sum_ns[STORES__VERB_COUNT];
};

/* Where the time of a call goes. */
enum stores__phase {
    STORES__PHASE_QUEUE, /* waits for its turn, or for a connection that others have */
    STORES__PHASE_CONNECT, /* waits while a connection is opened */
    STORES__PHASE_REDIS,
    STORES__PHASE_POSTGRES,
    STORES__PHASES
};

static inline void stores__latency_add(struct stores__latency *latency, enum stores__verb verb,
                                       uint64_t ns) {
    uint64_t us16 = ns >> 14; /* 16384 ns: the first bucket */
    int bucket = us16 == 0 ? 0 : 64 - __builtin_clzll(us16);
    if (bucket >= STORES__BUCKETS) bucket = STORES__BUCKETS - 1;
    latency->buckets[verb][bucket]++;
    latency->sum_ns[verb] += ns;
}

#endif

/*
 * watch.h - a subscription to one sentinel, which says where a master is: at first, whenever that
 * changes (+switch-master), and every few seconds, for who only listens does not know whether
 * anybody speaks.
 */
#ifndef STORES_REDIS_WATCH_H
#define STORES_REDIS_WATCH_H

#include "base/timers.h"
#include "redis/sentinel.h"

struct stores__watch;

struct stores__watch_hooks {
    /* From the loop; may close the watch. switched: it is news, of this moment. */
    void (*said)(void *arg, const struct stores__place *place, bool switched);
    /* Called once, from the loop; close it. */
    void (*lost)(void *arg);
};

/* The hooks are not copied. patience_ms: how long an answer may take. NULL: it cannot be begun, and
 * no hook is called. */
struct stores__watch *stores__watch_open(const struct stores__sentinel_terms *terms,
                                         struct stores__timers *timers,
                                         const struct stores__place *place, uint64_t patience_ms,
                                         const struct stores__watch_hooks *hooks, void *arg);
void stores__watch_deafen(struct stores__watch *watch, int deaf);
/* From now on no hook is called. NULL is allowed. */
void stores__watch_close(struct stores__watch *watch);

#endif

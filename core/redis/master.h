/*
 * master.h - where a master is, as its sentinels tell: they are asked one after the other, who
 * answered first is asked first the next time, and one of them is watched from then on. Losing that
 * one costs nothing: another is watched.
 */
#ifndef STORES_REDIS_MASTER_H
#define STORES_REDIS_MASTER_H

#include "base/timers.h"
#include "redis/sentinel.h"

struct stores__master;

struct stores__master_config {
    const char *const *sentinels; /* places as text (base/place.h), ended by NULL; at least one */
    uint64_t patience_ms; /* how long an answer may take, where nothing else says */
};

/* Called with the arg of new, from the loop, but for unknown, which ask may call too. */
struct stores__master_hooks {
    void (*found)(void *arg, const struct stores__place *place);
    void (*unknown)(void *arg, const char *why); /* no sentinel told */
    void (*moved)(void *arg); /* it is not where it was found any more */
};

/* Copies config, the strings of terms too; not the hooks. NULL: no memory, or one of the sentinels
 * is no place. */
struct stores__master *stores__master_new(const struct stores__master_config *config,
                                          const struct stores__sentinel_terms *terms,
                                          struct stores__timers *timers,
                                          const struct stores__master_hooks *hooks, void *arg);
/* Asks where it is, until a time (of uv_hrtime, in ms) at the latest, of which each sentinel has a
 * share: found, or unknown, comes once. */
void stores__master_ask(struct stores__master *master, uint64_t until);
/* Nobody waits for the answer any more. */
void stores__master_leave(struct stores__master *master);
/* What was found is no master: another sentinel is asked first the next time. */
void stores__master_doubt(struct stores__master *master);
/* What was found is one: hears of its moves, from the sentinel that told. */
void stores__master_watch(struct stores__master *master);
/* In a child of a fork: see base/deaf.h. */
void stores__master_deafen(struct stores__master *master, int deaf);
/* No hook is called any more. */
void stores__master_close(struct stores__master *master);
/* Once all that was held is released. */
void stores__master_free(struct stores__master *master);

#endif

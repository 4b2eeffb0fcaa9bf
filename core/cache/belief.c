/*
 * The epochs that an engine knows: one for each oid that somebody holds, or for which something is
 * to be done, and what this process believes of it. How a belief changes is the matter of epoch.c.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cache/epoch_internal.h"

const char *stores__epoch_text(const struct stores__table *table) {
    return table->epoch->texts.believed;
}

enum stores__epoch_state stores__epoch_state(const struct stores__table *table) {
    return table->epoch->state;
}

uint64_t stores__epoch_valid_since(const struct stores__table *table) {
    const struct stores__epoch *epoch = table->epoch;
    return epoch->state == STORES__EPOCH_VALID ? epoch->valid_since : UINT64_MAX;
}

bool stores__epoch_is_bypassed(const struct stores__table *table) {
    return table->epoch->bypasses > 0;
}

struct stores__node *stores__epoch_node(const struct stores__epoch *epoch) {
    const struct stores__cache *cache = epoch->engine->cache;
    return cache->map != NULL ? cache->map->owners[epoch->slot] : cache->node;
}

bool stores__epochs_up(const struct stores__cache *cache, struct stores__epoch *const *epochs,
                       size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!stores__node_up(stores__epoch_node(epochs[i]))) return false;
    }
    return stores__cache_up(cache);
}

bool stores__epoch_marked(const struct stores__epoch *epoch) {
    return epoch->longest > 0;
}

uint64_t stores__epoch_longest(const struct stores__epoch *epoch) {
    return epoch->longest;
}

void stores__epoch_mark(struct stores__epoch *epoch, const char *seconds) {
    uint64_t ms = seconds != NULL ? strtoull(seconds, NULL, 10) * 1000 : 0;
    if (ms > epoch->longest) epoch->longest = ms;
}

static void forget_belief(struct stores__epoch *epoch) {
    if (epoch->held != NULL) epoch->engine->cache->held_hooks->forget(epoch);
    epoch->state = STORES__EPOCH_UNKNOWN;
    epoch->texts.believed[0] = '\0';
}

void stores__epoch_void_all(stores_engine *engine) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        forget_belief(STORES__CONTAINER(at, struct stores__epoch, link));
    }
}

void stores__epoch_void_node(stores_engine *engine, const struct stores__node *node) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        if (stores__epoch_node(epoch) == node) forget_belief(epoch);
    }
}

void stores__epoch_void_slots(stores_engine *engine, unsigned first, unsigned last,
                              const struct stores__node *next) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        bool inside = epoch->slot >= first && epoch->slot <= last;
        if (inside && stores__epoch_node(epoch) != next) forget_belief(epoch);
    }
}

void stores__epoch_told(struct stores__epoch *epoch) {
    epoch->told = true;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void stores__epoch_rest(struct stores__epoch *epoch) {
    epoch->step = TURN_NONE;
    stores__writers_clear(&epoch->writers);
}

static void free_epoch(struct stores__epoch *epoch) {
    if (epoch->told && epoch->engine->cache != NULL) stores__epoch_node(epoch)->told_others = true;
    stores__timer_stop(&epoch->engine->timers, &epoch->timer);
    stores__timer_stop(&epoch->engine->timers, &epoch->resume);
    stores__epoch_rest(epoch);
    if (epoch->held != NULL) epoch->engine->cache->held_hooks->epoch_gone(epoch);
    stores__list_remove(&epoch->link);
    free(epoch);
}

/* The timer of what is owed, while nothing is. */
static void nothing_owed(struct stores__timer *timer) {
    (void)timer;
}

/* Of the keys of a table: a prefix that has braces of its own puts all tables into one. */
static unsigned slot_of(const struct stores__cache *cache, const char *tag) {
    char key[sizeof cache->prefix + 16];
    const char *prefix = cache != NULL && cache->fixed_prefix != NULL ? cache->fixed_prefix : "";
    snprintf(key, sizeof key, "%s%s", prefix, tag);
    return stores__slot_of(key, strlen(key));
}

struct stores__epoch *stores__epoch_of(stores_engine *engine, uint32_t oid) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        if (epoch->oid == oid) return stores__epoch_hold(epoch);
    }
    struct stores__epoch *epoch = calloc(1, sizeof *epoch);
    if (epoch == NULL) return NULL;
    epoch->resume.fire = nothing_owed;
    if (!stores__timer_set(&engine->timers, &epoch->resume, UINT64_MAX)) {
        free(epoch);
        return NULL;
    }
    epoch->engine = engine;
    epoch->oid = oid;
    snprintf(epoch->tag, sizeof epoch->tag, "{%" PRIu32 "}", oid);
    epoch->slot = slot_of(engine->cache, epoch->tag);
    stores__list_init(&epoch->link);
    stores__list_init(&epoch->wait.link);
    stores__list_append(&engine->epochs, &epoch->link);
    return stores__epoch_hold(epoch);
}

struct stores__epoch *stores__epoch_hold(struct stores__epoch *epoch) {
    epoch->holders++;
    return epoch;
}

void stores__epoch_let_go(struct stores__epoch *epoch) {
    if (epoch == NULL) return;
    epoch->holders--;
    if (epoch->holders == 0 && epoch->step == TURN_NONE && epoch->bypasses == 0) free_epoch(epoch);
}

void stores__epochs_free(stores_engine *engine) {
    while (!stores__list_empty(&engine->epochs)) {
        free_epoch(STORES__CONTAINER(engine->epochs.next, struct stores__epoch, link));
    }
}

void stores__epoch_stop_all(stores_engine *engine) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        stores__timer_stop(&engine->timers, &epoch->timer);
        stores__timer_stop(&engine->timers, &epoch->resume);
        stores__pg_unwait(&epoch->wait);
    }
}

/* The memory of an engine's held rows, and what is told of it. */
#include <stdio.h>

#include "cache/held.h"

#define MS UINT64_C(1000000)

enum {
    WINDOW_MS = 10 * 1000, /* over which waits are compared with writes */
    SAY_AGAIN_MS = 10 * 60 * 1000,
    MUCH = 10 /* a tenth */
};

bool stores__held_open(struct stores__cache *cache, const stores_config *config) {
    struct stores__held_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) return false;
    stores__list_init(&memory->rows);
    stores__list_init(&memory->waiting);
    memory->most = config->hold_bytes > 0 ? config->hold_bytes : STORES__HELD_BYTES;
    memory->lease_ms = config->hold_lease_ms;
    memory->window_at = stores__held_now();
    cache->memory = memory;
    return true;
}

void stores__held_close(struct stores__cache *cache) {
    if (cache->memory != NULL) free(cache->memory->free_slots);
    free(cache->memory);
    cache->memory = NULL;
}

void stores__held_refused(struct stores__cache *cache, const char *why) {
    struct stores__held_memory *memory = cache->memory;
    snprintf(memory->refused, sizeof memory->refused, "%s", why);
    if (memory->said_refused) return;
    memory->said_refused = true;
    stores__log(cache->engine, "rows are not held in memory, and read as ever: %s", why);
}

void stores__held_shorter(struct stores__cache *cache, const char *why) {
    struct stores__held_memory *memory = cache->memory;
    if (memory->said_shorter) return;
    memory->said_shorter = true;
    stores__log(cache->engine, "leases of held rows are shorter than hold_lease: %s", why);
}

unsigned stores__held_seconds(const struct stores__cache *cache) {
    return (unsigned)((cache->memory->lease_ms + 999) / 1000);
}

void stores__held_timed(struct stores__cache *cache, uint64_t ns) {
    struct stores__held_memory *memory = cache->memory;
    uint64_t now = stores__held_now();
    memory->window_ns += ns;
    if (now < memory->window_at + WINDOW_MS * MS) return;
    uint64_t waited = memory->waited_ns - memory->window_waited;
    if (waited > memory->window_ns) waited = memory->window_ns; /* some wait at the same time */
    bool much = waited > memory->window_ns / MUCH;
    if (much && (memory->said_at == 0 || now >= memory->said_at + SAY_AGAIN_MS * MS)) {
        memory->said_at = now;
        stores__log(cache->engine,
                    "writes to held tables spend %llu %% of their time waiting for those who hold "
                    "rows: a table that is written often should not be held",
                    (unsigned long long)(waited * 100 / (memory->window_ns + 1)));
    }
    memory->window_at = now;
    memory->window_waited = memory->waited_ns;
    memory->window_ns = 0;
}

void stores__held_stats(const struct stores__cache *cache,
                        void (*figure)(void *arg, const char *name, double value), void *arg) {
    const struct stores__held_memory *memory = cache->memory;
    figure(arg, "held_rows", (double)memory->count);
    figure(arg, "held_bytes", (double)memory->bytes);
    figure(arg, "held_hits", (double)memory->hits);
    figure(arg, "held_misses", (double)memory->misses);
    figure(arg, "held_leases", (double)memory->leases);
    figure(arg, "held_waits", (double)memory->waits);
    figure(arg, "held_wait_seconds", (double)memory->waited_ns / 1e9);
    figure(arg, "held_evictions", (double)memory->evicted);
}

size_t stores_held_free_slots(const stores_engine *engine, const uint32_t **slots) {
    const struct stores__held_memory *memory = engine->cache ? engine->cache->memory : NULL;
    *slots = memory != NULL ? memory->free_slots : NULL;
    return memory != NULL ? memory->free_count : 0;
}

const char *stores_held_waited(const stores_engine *engine) {
    return engine->cache != NULL ? engine->cache->memory->waited_for : "";
}

const char *stores_held_refused(const stores_engine *engine) {
    return engine->cache != NULL ? engine->cache->memory->refused : "";
}

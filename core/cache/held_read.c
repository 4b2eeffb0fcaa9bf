/* Rows of a table that is held: which replies are kept, for how long, and what is read. */
#include "cache/epoch_internal.h"
#include "cache/held.h"
#include "cache/life.h"

#define MS UINT64_C(1000000)

enum {
    LOOK_MS = 10 * 1000, /* what the table is, is looked at as often by a read as any other */
    READ_MS = 1 /* how often the sockets are read where the loop does not turn */
};

uint64_t stores__held_stir(const struct stores__table *table) {
    const struct stores__held *held = table->epoch != NULL ? table->epoch->held : NULL;
    if (held == NULL || held->step < HELD_LEARNING || held->nonce[0] == '\0') return 0;
    return stores__held_deaf(held) ? 0 : held->stir + 1;
}

/* A second, where nobody tells how long it may stay. */
static uint64_t first_life(const struct stores__table *table, const char *text, size_t len) {
    char life[24];
    stores__cache_life(table, text, len, life);
    uint64_t ms = strtoull(life, NULL, 10);
    return (ms < 1000 ? ms : 1000) * MS;
}

bool stores__held_keep(struct stores__table *table, uint64_t stir, int64_t id, const char *text,
                       size_t len) {
    if (stir == 0 || stores__held_stir(table) != stir) return false;
    return stores__held_put(table->epoch->held, id, text, len,
                            stores__held_now() + first_life(table, text, len)) != NULL;
}

void stores__held_lives(struct stores__table *table, uint64_t stir, int64_t id, int64_t ms) {
    if (ms <= 0 || stores__held_stir(table) != stir) return;
    struct stores__held_row *row = stores__held_row(table->epoch->held, id);
    if (row != NULL) row->ends = stores__held_now() + (uint64_t)ms * MS;
}

static struct stores__held *holding(const struct stores__table *table) {
    struct stores__held *held = table->epoch != NULL ? table->epoch->held : NULL;
    return held != NULL && held->step == HELD_HOLDING ? held : NULL;
}

void stores__held_listen(struct stores__table *table, uint64_t now) {
    struct stores__held *held = holding(table);
    if (held == NULL) return;
    struct stores__held_memory *memory = table->engine->cache->memory;
    if (now < memory->looked_at + READ_MS * MS) return;
    struct stores__epoch *epoch = stores__epoch_hold(held->epoch);
    struct stores__node *node = stores__epoch_node(epoch);
    memory->looked_at = now;
    stores__ear_read(node);
    if (held->asked && node->redis != NULL) stores__redis_read(node->redis);
    stores__epoch_let_go(epoch);
}

/* What is due may end with the table being nobody's. */
static struct stores__held *go_on(struct stores__table *table, struct stores__held *held) {
    struct stores__epoch *epoch = stores__epoch_hold(held->epoch);
    stores__held_go_on(held);
    stores__epoch_let_go(epoch);
    return holding(table);
}

struct stores__held_row *stores__held_find(struct stores__table *table, int64_t id, uint64_t now) {
    struct stores__held *held = holding(table);
    if (held == NULL) return NULL;
    struct stores__held_memory *memory = table->engine->cache->memory;
    held->read_at = now;
    if (now >= held->renew_at) held = go_on(table, held);
    struct stores__held_row *row = held != NULL ? stores__held_row(held, id) : NULL;
    bool served = row != NULL && now < held->looked_at + LOOK_MS * MS && now < held->lease_ends &&
                  now < row->ends && stores__held_may(held) && !stores__held_deaf(held);
    if (!served) {
        memory->misses++;
        return NULL;
    }
    memory->hits++;
    if (!row->used) row->used = true;
    return row;
}

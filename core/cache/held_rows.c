/* The memory of held rows: by id for each table, the longest unused first for all of them. */
#include <time.h>

#include "cache/epoch_internal.h"
#include "cache/held.h"

enum {
    BUCKETS_FIRST = 64,
    ROW_COST = sizeof(struct stores__held_row) + 48,
    LOOKS = 16 /* at rows, for one that was not used */
};

uint64_t stores__held_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 * 1000 * 1000 + (uint64_t)now.tv_nsec;
}

static struct stores__held_row **bucket(const struct stores__held *held, int64_t id) {
    uint64_t hash = (uint64_t)id * UINT64_C(0x9e3779b97f4a7c15);
    return &held->rows[hash >> 32 & (held->buckets - 1)];
}

struct stores__held_row *stores__held_row(const struct stores__held *held, int64_t id) {
    if (held->rows == NULL) return NULL;
    struct stores__held_row *row = *bucket(held, id);
    while (row != NULL && row->id != id) row = row->chain;
    return row;
}

static struct stores__held_memory *memory_of(const struct stores__held *held) {
    return held->epoch->engine->cache->memory;
}

/* A row that goes can always give its slot back: there is room for all that were given out. */
static bool take_slot(struct stores__held_memory *memory, uint32_t *slot) {
    if (memory->free_count > 0) {
        *slot = memory->free_slots[--memory->free_count];
        return true;
    }
    if (memory->slots == memory->slot_room) {
        uint32_t room = memory->slot_room == 0 ? BUCKETS_FIRST : memory->slot_room * 2;
        uint32_t *slots = realloc(memory->free_slots, room * sizeof *slots);
        if (slots == NULL) return false;
        memory->free_slots = slots;
        memory->slot_room = room;
    }
    *slot = ++memory->slots;
    return true;
}

static void remove_row(struct stores__held_row *row) {
    struct stores__held *held = row->held;
    struct stores__held_memory *memory = memory_of(held);
    struct stores__held_row **at = bucket(held, row->id);
    while (*at != row) at = &(*at)->chain;
    *at = row->chain;
    stores__list_remove(&row->link);
    memory->free_slots[memory->free_count++] = row->slot;
    memory->bytes -= row->len + ROW_COST;
    memory->count--;
    held->count--;
    free(row);
}

void stores__held_drop(struct stores__held *held, int64_t id) {
    struct stores__held_row *row = stores__held_row(held, id);
    if (row != NULL) remove_row(row);
}

void stores__held_drop_all(struct stores__held *held) {
    for (size_t i = 0; held->count > 0 && i < held->buckets; i++) {
        while (held->rows[i] != NULL) remove_row(held->rows[i]);
    }
}

/* Without memory for more the chains grow longer. */
static bool make_room(struct stores__held *held) {
    if (held->rows != NULL && held->count < held->buckets) return true;
    size_t buckets = held->rows == NULL ? BUCKETS_FIRST : held->buckets * 2;
    struct stores__held_row **rows = calloc(buckets, sizeof(*rows));
    struct stores__held_row **old = held->rows;
    size_t old_buckets = held->buckets;
    if (rows == NULL) return old != NULL;
    held->rows = rows;
    held->buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        for (struct stores__held_row *row = old[i], *next; row != NULL; row = next) {
            struct stores__held_row **at = bucket(held, row->id);
            next = row->chain;
            row->chain = *at;
            *at = row;
        }
    }
    free(old);
    return true;
}

/* Who was used since it was put there goes to the end once more. Where all were, a batch of rows
 * that come would walk through all of them: the loop has other work, and one that was used goes. */
static struct stores__held_row *longest_unused(struct stores__held_memory *memory) {
    for (int looks = 0;; looks++) {
        struct stores__held_row *row = STORES__CONTAINER(memory->rows.next, struct stores__held_row,
                                                         link);
        if (!row->used || looks == LOOKS) return row;
        row->used = false;
        stores__list_remove(&row->link);
        stores__list_append(&memory->rows, &row->link);
    }
}

struct stores__held_row *stores__held_put(struct stores__held *held, int64_t id, const char *text,
                                          size_t len, uint64_t ends) {
    struct stores__held_memory *memory = memory_of(held);
    size_t cost = len + ROW_COST;
    stores__held_drop(held, id);
    if (cost > memory->most || !make_room(held)) return NULL;
    while (memory->bytes + cost > memory->most) {
        remove_row(longest_unused(memory));
    }
    struct stores__held_row *row = malloc(sizeof *row + len + 1);
    if (row == NULL) return NULL;
    memset(row, 0, sizeof *row);
    if (!take_slot(memory, &row->slot)) {
        free(row);
        return NULL;
    }
    struct stores__held_row **at = bucket(held, id);
    row->held = held;
    row->id = id;
    row->ends = ends;
    row->len = len;
    row->there = text != NULL;
    if (len > 0) memcpy(row->text, text, len);
    row->text[len] = '\0';
    row->chain = *at;
    *at = row;
    stores__list_init(&row->link);
    stores__list_append(&memory->rows, &row->link);
    memory->bytes += cost;
    memory->count++;
    held->count++;
    return row;
}

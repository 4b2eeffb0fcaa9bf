/* ring.c - see ring.h. */
#include "pg/ring.h"

bool stores__pg_ring_push(struct stores__pg_ring *ring, const struct stores__pg_entry *entry) {
    if (ring->count == ring->room) {
        size_t room = ring->room ? ring->room * 2 : 16;
        struct stores__pg_entry *entries = malloc(room * sizeof *entries);
        if (entries == NULL) return false;
        for (size_t i = 0; i < ring->count; i++) entries[i] = *stores__pg_ring_at(ring, i);
        free(ring->entries);
        ring->entries = entries;
        ring->room = room;
        ring->head = 0;
    }
    ring->entries[(ring->head + ring->count++) & (ring->room - 1)] = *entry;
    return true;
}

void stores__pg_ring_free(struct stores__pg_ring *ring) {
    free(ring->entries);
    memset(ring, 0, sizeof *ring);
}

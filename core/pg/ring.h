/*
 * ring.h - what the server still owes an answer for, in the order of sending: its answers come in
 * that order, so that the first entry is whose answer is read next. An entry goes in when something
 * is sent, and out when its last answer was read, or when the connection is lost.
 */
#ifndef STORES_PG_RING_H
#define STORES_PG_RING_H

#include "pg/conn.h"

enum stores__pg_entry_kind {
    ENTRY_STATEMENT,
    ENTRY_PREPARE,
    ENTRY_INTERNAL,
    ENTRY_RESET, /* takes back what somebody's text left in the session (reset.c) */
    ENTRY_SYNC,
    ENTRY_SIMPLE
};

struct stores__pg_entry {
    struct stores__pg_req *req;
    enum stores__pg_entry_kind kind;
    int index; /* of the statement in its request; of the result in a simple query */
    bool answered; /* a result came, the NULL that ends it has not */
    bool reused; /* prepared before this request: what it was prepared for may be no more */
    bool prepared_here; /* an ENTRY_PREPARE stands right before it */
    unsigned statement; /* which prepared statement an ENTRY_PREPARE makes */
    struct stores__pg_trace *trace; /* malloc'ed; NULL: nobody is to hear of it */
};

/* Zero it to make it. */
struct stores__pg_ring {
    struct stores__pg_entry *entries; /* a power of two of room */
    size_t head, count, room;
};

/* False: no memory. */
bool stores__pg_ring_push(struct stores__pg_ring *ring, const struct stores__pg_entry *entry);
void stores__pg_ring_free(struct stores__pg_ring *ring);

/* The i-th that was sent, from 0; until the ring changes. */
static inline struct stores__pg_entry *stores__pg_ring_at(const struct stores__pg_ring *ring,
                                                          size_t i) {
    return &ring->entries[(ring->head + i) & (ring->room - 1)];
}

static inline struct stores__pg_entry *stores__pg_ring_last(const struct stores__pg_ring *ring) {
    return stores__pg_ring_at(ring, ring->count - 1);
}

/* The first one, whose trace is the caller's. */
static inline struct stores__pg_entry stores__pg_ring_pop(struct stores__pg_ring *ring) {
    struct stores__pg_entry entry = ring->entries[ring->head];
    ring->head = (ring->head + 1) & (ring->room - 1);
    ring->count--;
    return entry;
}

#endif

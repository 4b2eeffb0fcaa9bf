/*
 * spin.h - waits that keep the processor for a moment, where that is the faster way.
 */
#ifndef STORES_BINDINGS_SPIN_H
#define STORES_BINDINGS_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* Of the waits for calls of one kind: how long they took, by the way in which they waited. */
struct stores__spin {
    uint32_t waits;
    uint32_t took[2]; /* ns, of the last ones that slept at once, and of those that spun before */
    bool spins; /* the one that goes on now */
    uint64_t began;
};

/* A wait begins at now (ns, of a clock that only goes on): until when it is to spin before it
 * sleeps; 0: it is to sleep at once. */
uint64_t stores__spin_begin(struct stores__spin *spin, uint64_t now);
/* What it waited for has come. */
void stores__spin_ended(struct stores__spin *spin, uint64_t now);

#endif

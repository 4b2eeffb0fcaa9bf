/* spin.c - whether a wait for a call spins or sleeps: as the calls of its kind were faster lately.
 *
 * To sleep and to be woken costs a call that is alone more than its server's work does, and more of
 * the processor than to spin for those microseconds. Where the answer takes longer, or others need
 * the processor, it is the other way round: so both are measured, and of some waits one goes the
 * way that is not the better one, to see. Where it spins in vain, that is at most as much again as
 * the sleep would have cost (Karlin, Li, Manasse, Owicki: Empirical studies of competitive
 * spinning, SOSP 1991). */
#include "spin.h"

enum {
    SPIN_NS = 100000,
    MOST_NS = 2 * SPIN_NS, /* a wait that was longer tells no more than this */
    TRY_EACH = 64, /* waits */
    LAST = 8 /* so many waits weigh in the mean */
};

uint64_t stores__spin_begin(struct stores__spin *spin, uint64_t now) {
    bool better = spin->took[true] <= spin->took[false];
    spin->spins = ++spin->waits % TRY_EACH == 0 ? !better : better;
    spin->began = now;
    return spin->spins ? now + SPIN_NS : 0;
}

void stores__spin_ended(struct stores__spin *spin, uint64_t now) {
    uint64_t ns = now - spin->began;
    int32_t cost = ns < MOST_NS ? (int32_t)ns : MOST_NS;
    if (spin->spins && ns > SPIN_NS) cost += SPIN_NS; /* of a processor, for nothing */
    int32_t mean = (int32_t)spin->took[spin->spins];
    spin->took[spin->spins] = (uint32_t)(mean + (cost - mean) / LAST);
}

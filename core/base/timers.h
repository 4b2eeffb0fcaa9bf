/*
 * timers.h - deadlines of one engine behind a single uv_timer: a line of those that came in the
 * order of their times, as calls with one timeout do, and a binary heap of the others.
 * A timer is embedded in what it times out; neither owns anything.
 */
#ifndef STORES_TIMERS_H
#define STORES_TIMERS_H

#include <uv.h>

#include "base/base.h"

struct stores__timer {
    uint64_t at; /* uv_now milliseconds */
    size_t index; /* place in the heap plus one, or STORES__TIMER_IN_LINE; 0: not armed */
    struct stores__list link; /* of the line */
    void (*fire)(struct stores__timer *timer);
};

#define STORES__TIMER_IN_LINE SIZE_MAX

struct stores__timers {
    struct stores__list line; /* each not before the one in front of it */
    struct stores__timer **heap;
    size_t count; /* of all that are armed: the heap has room for them */
    size_t heap_count, cap;
    uv_timer_t uv;
    uint64_t process; /* that opened them */
    uint64_t armed_at; /* when uv fires; UINT64_MAX: not armed */
};

/* The uv timer is unreferenced: deadlines alone never keep a loop alive. Returns a uv error. */
int stores__timers_open(struct stores__timers *timers, uv_loop_t *loop);
/* Starts the closing of the uv timer; the memory may go when closed() was called. */
void stores__timers_close(struct stores__timers *timers, uv_close_cb closed);
/* Arms, or moves, a timer. False: no memory (the timer is then not armed); moving one that is
 * armed cannot fail. At UINT64_MAX a timer is parked: it keeps its place and never fires. */
bool stores__timer_set(struct stores__timers *timers, struct stores__timer *timer, uint64_t at);
/* The one that is due next; NULL: none is armed. */
struct stores__timer *stores__timers_first(const struct stores__timers *timers);
/* Disarms; harmless on one that is not armed. */
void stores__timer_stop(struct stores__timers *timers, struct stores__timer *timer);

static inline bool stores__timer_armed(const struct stores__timer *timer) {
    return timer->index != 0;
}

#endif

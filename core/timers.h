/*
 * timers.h - deadlines of one engine: a binary heap behind a single uv_timer.
 * A timer is embedded in what it times out; the heap owns nothing.
 */
#ifndef STORES_TIMERS_H
#define STORES_TIMERS_H

#include <uv.h>

#include "base.h"

struct stores__timer {
    uint64_t at; /* uv_now milliseconds */
    size_t index; /* place in the heap plus one; 0: not armed */
    void (*fire)(struct stores__timer *timer);
};

struct stores__timers {
    struct stores__timer **heap;
    size_t count, cap;
    uv_timer_t uv;
    uint64_t armed_at; /* when uv fires; UINT64_MAX: not armed */
};

/* The uv timer is unreferenced: deadlines alone never keep a loop alive. Returns a uv error. */
int stores__timers_open(struct stores__timers *timers, uv_loop_t *loop);
/* Starts the closing of the uv timer; the memory may go when closed() was called. */
void stores__timers_close(struct stores__timers *timers, uv_close_cb closed);
/* Arms, or moves, a timer. False: no memory (the timer is then not armed); moving one that is
 * armed cannot fail. At UINT64_MAX a timer is parked: it keeps its place and never fires. */
bool stores__timer_set(struct stores__timers *timers, struct stores__timer *timer, uint64_t at);
/* Disarms; harmless on one that is not armed. */
void stores__timer_stop(struct stores__timers *timers, struct stores__timer *timer);

static inline bool stores__timer_armed(const struct stores__timer *timer) {
    return timer->index != 0;
}

#endif

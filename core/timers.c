/*
 * timers.c - the heap of timers.h.
 *
 * A deadline is nearly always moved or removed before it is due, so the uv timer is left alone
 * as long as it fires early enough: it may fire with nothing due, and is then set to what is
 * next. While handlers run, armed_at is 0, which is early enough for everything.
 */
#include "timers.h"

static void place(struct stores__timers *timers, struct stores__timer *timer, size_t index) {
    timers->heap[index - 1] = timer;
    timer->index = index;
}

static void sift_up(struct stores__timers *timers, struct stores__timer *timer, size_t index) {
    while (index > 1 && timers->heap[index / 2 - 1]->at > timer->at) {
        place(timers, timers->heap[index / 2 - 1], index);
        index /= 2;
    }
    place(timers, timer, index);
}

static void sift_down(struct stores__timers *timers, struct stores__timer *timer, size_t index) {
    for (;;) {
        size_t child = index * 2;
        if (child > timers->count) break;
        if (child < timers->count && timers->heap[child]->at < timers->heap[child - 1]->at) child++;
        if (timers->heap[child - 1]->at >= timer->at) break;
        place(timers, timers->heap[child - 1], index);
        index = child;
    }
    place(timers, timer, index);
}

static void resift(struct stores__timers *timers, struct stores__timer *timer, size_t index) {
    if (index > 1 && timers->heap[index / 2 - 1]->at > timer->at) {
        sift_up(timers, timer, index);
    } else {
        sift_down(timers, timer, index);
    }
}

static void expire(uv_timer_t *uv);

static void arm(struct stores__timers *timers, uint64_t at, uint64_t at_least) {
    uint64_t now = uv_now(timers->uv.loop);
    uint64_t in = at > now ? at - now : 0;

    timers->armed_at = at;
    uv_timer_start(&timers->uv, expire, in > at_least ? in : at_least, 0);
}

/* Fires what was due when it began. A handler that sets its timer to now again gets the next
 * turn, or the loop would never leave this one: libuv 1.44 runs a timer of 0 ms that was started
 * in a timer callback within the same pass, hence the 1. */
static void expire(uv_timer_t *uv) {
    struct stores__timers *timers = STORES__CONTAINER(uv, struct stores__timers, uv);
    uint64_t now = uv_now(uv->loop);
    size_t left = timers->count;

    timers->armed_at = 0;
    for (; left > 0 && timers->count > 0 && timers->heap[0]->at <= now; left--) {
        struct stores__timer *timer = timers->heap[0];
        stores__timer_stop(timers, timer);
        timer->fire(timer);
    }
    timers->armed_at = UINT64_MAX;
    if (timers->count > 0 && timers->heap[0]->at != UINT64_MAX) {
        arm(timers, timers->heap[0]->at, 1);
    }
}

int stores__timers_open(struct stores__timers *timers, uv_loop_t *loop) {
    int err;

    memset(timers, 0, sizeof *timers);
    timers->armed_at = UINT64_MAX;
    err = uv_timer_init(loop, &timers->uv);
    if (err == 0) uv_unref((uv_handle_t *)&timers->uv);
    return err;
}

void stores__timers_close(struct stores__timers *timers, uv_close_cb closed) {
    while (timers->count > 0) timers->heap[--timers->count]->index = 0;
    free(timers->heap);
    timers->heap = NULL;
    timers->cap = 0;
    uv_close((uv_handle_t *)&timers->uv, closed);
}

static bool grow(struct stores__timers *timers) {
    size_t cap = timers->cap ? timers->cap * 2 : 64;
    struct stores__timer **heap = realloc(timers->heap, cap * sizeof *heap);

    if (!heap) return false;
    timers->heap = heap;
    timers->cap = cap;
    return true;
}

bool stores__timer_set(struct stores__timers *timers, struct stores__timer *timer, uint64_t at) {
    timer->at = at;
    if (timer->index) {
        resift(timers, timer, timer->index);
    } else {
        if (uv_is_closing((uv_handle_t *)&timers->uv)) return false;
        if (timers->count == timers->cap && !grow(timers)) return false;
        sift_up(timers, timer, ++timers->count);
    }
    if (at < timers->armed_at) arm(timers, at, 0);
    return true;
}

void stores__timer_stop(struct stores__timers *timers, struct stores__timer *timer) {
    size_t index = timer->index;
    struct stores__timer *last;

    if (!index) return;
    timer->index = 0;
    last = timers->heap[--timers->count];
    if (last != timer) resift(timers, last, index);
}

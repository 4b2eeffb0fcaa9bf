/*
 * timers.c - the line and the heap of timers.h. A heap alone cost each of a thousand calls in
 * flight ten steps through the memory of others.
 *
 * A deadline is nearly always moved or removed before it is due, so the uv timer is left alone
 * as long as it fires early enough: it may fire with nothing due, and is then set to what is
 * next. While handlers run, armed_at is 0, which is early enough for everything.
 */
#include "base/timers.h"

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
        if (child > timers->heap_count) break;
        if (child < timers->heap_count && timers->heap[child]->at < timers->heap[child - 1]->at)
            child++;
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
    if (timers->process != stores__process()) return; /* they are the parent's */
    uint64_t now = uv_now(uv->loop);
    size_t left = timers->count;
    struct stores__timer *timer;

    timers->armed_at = 0;
    for (; left > 0 && (timer = stores__timers_first(timers)) && timer->at <= now; left--) {
        stores__timer_stop(timers, timer);
        timer->fire(timer);
    }
    timers->armed_at = UINT64_MAX;
    timer = stores__timers_first(timers);
    if (timer && timer->at != UINT64_MAX) arm(timers, timer->at, 1);
}

int stores__timers_open(struct stores__timers *timers, uv_loop_t *loop) {
    int err;

    memset(timers, 0, sizeof *timers);
    timers->process = stores__process();
    stores__list_init(&timers->line);
    timers->armed_at = UINT64_MAX;
    err = uv_timer_init(loop, &timers->uv);
    if (err == 0) uv_unref((uv_handle_t *)&timers->uv);
    return err;
}

static struct stores__timer *in_line(struct stores__list *node) {
    return STORES__CONTAINER(node, struct stores__timer, link);
}

struct stores__timer *stores__timers_first(const struct stores__timers *timers) {
    struct stores__timer *front = stores__list_empty(&timers->line) ? NULL
                                                                    : in_line(timers->line.next);
    struct stores__timer *top = timers->heap_count ? timers->heap[0] : NULL;

    return top && (!front || top->at < front->at) ? top : front;
}

static bool grow(struct stores__timers *timers) {
    size_t cap = timers->cap ? timers->cap * 2 : 64;
    struct stores__timer **heap = realloc(timers->heap, cap * sizeof *heap);

    if (!heap) return false;
    timers->heap = heap;
    timers->cap = cap;
    return true;
}

static void take_out(struct stores__timers *timers, struct stores__timer *timer) {
    size_t index = timer->index;
    struct stores__timer *last;

    timer->index = 0;
    if (index == STORES__TIMER_IN_LINE) {
        stores__list_remove(&timer->link);
        return;
    }
    last = timers->heap[--timers->heap_count];
    if (last != timer) resift(timers, last, index);
}

static void put_into_heap(struct stores__timers *timers, struct stores__timer *timer) {
    sift_up(timers, timer, ++timers->heap_count);
}

static void put_in(struct stores__timers *timers, struct stores__timer *timer) {
    struct stores__list *line = &timers->line;

    if (timer->at == UINT64_MAX) {
        put_into_heap(timers, timer);
        return;
    }
    if (!stores__list_empty(line) && line->next == line->prev &&
        in_line(line->next)->at > timer->at) {
        /* one far ahead must not keep all others out of the line */
        struct stores__timer *far = in_line(line->next);
        take_out(timers, far);
        put_into_heap(timers, far);
    }
    if (stores__list_empty(line) || in_line(line->prev)->at <= timer->at) {
        stores__list_append(line, &timer->link);
        timer->index = STORES__TIMER_IN_LINE;
    } else {
        put_into_heap(timers, timer);
    }
}

bool stores__timer_set(struct stores__timers *timers, struct stores__timer *timer, uint64_t at) {
    if (timer->index) {
        take_out(timers, timer);
    } else {
        if (uv_is_closing((uv_handle_t *)&timers->uv)) return false;
        if (timers->count == timers->cap && !grow(timers)) return false;
        timers->count++;
    }
    timer->at = at;
    put_in(timers, timer);
    if (at < timers->armed_at) arm(timers, at, 0);
    return true;
}

void stores__timer_stop(struct stores__timers *timers, struct stores__timer *timer) {
    if (!timer->index) return;
    take_out(timers, timer);
    timers->count--;
}

void stores__timers_close(struct stores__timers *timers, uv_close_cb closed) {
    struct stores__timer *timer;

    while ((timer = stores__timers_first(timers)) != NULL) stores__timer_stop(timers, timer);
    free(timers->heap);
    timers->heap = NULL;
    timers->cap = 0;
    uv_close((uv_handle_t *)&timers->uv, closed);
}

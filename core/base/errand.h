/*
 * errand.h - blocking work in a thread of its own, which nothing waits for: not the loop, nor the
 * close of an engine, nor the end of the process, nor libuv's few threads. The thread takes no
 * signal of the host's. Embedded as the first member in what the work needs.
 *
 *   start --> run() in the thread --> told() in the loop --> free() in the loop
 *                forgotten meanwhile:                        free() in the thread
 */
#ifndef STORES_ERRAND_H
#define STORES_ERRAND_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct stores__errand {
    /* set before: */
    size_t stack_size;
    bool holds_loop; /* the loop goes on until it is told or forgotten */
    void (*run)(struct stores__errand *errand);
    void (*told)(struct stores__errand *errand); /* once, unless it is forgotten before */
    void (*free)(struct stores__errand *errand);
    void (*closed)(void *arg); /* the loop has nothing of it any more; NULL: nobody has to know */
    void *arg;

    struct stores__errand_wake *wake; /* NULL: forgotten, and the thread frees this */
    bool over; /* run() returned */
    uint64_t process; /* that the thread runs in: in a child of a fork there is none */
    pthread_mutex_t lock; /* of wake and over */
};

/* False: no memory or no thread; free() was called, and closed() was or will be. */
bool stores__errand_start(struct stores__errand *errand, uv_loop_t *loop);
/* told() is not called any more; the errand is gone for the caller, also in a child of a fork,
 * where it was the parent's. Not in told(). */
void stores__errand_forget(struct stores__errand *errand);

#endif

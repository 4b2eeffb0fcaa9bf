/*
 * threads.h - libuv's threads and fork. libuv keeps a pool of threads for what would block the
 * loop (names, cancels), and joins them when the process ends or the library is unloaded. A child
 * of fork has none of them, and would crash in its exit.
 */
#ifndef STORES_THREADS_H
#define STORES_THREADS_H

/* This process is about to give libuv's pool something to do. */
void stores__threads_used(void);

#endif

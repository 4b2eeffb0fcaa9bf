/*
 * Canceling what runs on a connection. libpq 15 can only do it by a blocking connection of its own,
 * and a server that hangs never answers there: so it is a thread's work that nothing waits for, not
 * the close of the connection, nor the end of the process, nor libuv's few threads.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "pg/wire.h"

enum {
    STACK_SIZE = 256 * 1024,
    THREADS_MOST =
        16 /* of the process; what cannot be canceled then ends by the server's own limit */
};

/* A cancel to somebody who takes connections and says nothing, as a proxy whose server is away, may
 * last for ever: those after it find no room, instead of a thread each. */
static atomic_int threads;

struct stores__pg_cancel {
    pthread_mutex_t lock;
    PGcancel *handle;
    uv_async_t *async; /* NULL: the connection was closed, and the thread frees this */
    bool over; /* the thread has done all of its work */
    uint64_t process; /* that the thread runs in: in a child of a fork there is none */
};

static void cancel_free(struct stores__pg_cancel *cancel) {
    PQfreeCancel(cancel->handle);
    pthread_mutex_destroy(&cancel->lock);
    free(cancel);
}

static void *run(void *arg) {
    struct stores__pg_cancel *cancel = arg;
    char why[256];
    PQcancel(cancel->handle, why, (int)sizeof why);
    atomic_fetch_sub(&threads, 1);
    pthread_mutex_lock(&cancel->lock);
    bool orphan = cancel->async == NULL;
    cancel->over = true;
    if (!orphan) uv_async_send(cancel->async);
    pthread_mutex_unlock(&cancel->lock);
    if (orphan) cancel_free(cancel);
    return NULL;
}

static void async_closed(uv_handle_t *handle) {
    struct stores__pg_wire *wire = handle->data;
    free(handle);
    stores__pg_handle_gone(wire);
}

/* Lets go of the cancel; the thread, if it still runs, ends it alone. */
static void let_go(struct stores__pg_wire *wire) {
    struct stores__pg_cancel *cancel = wire->cancel;
    uv_async_t *async = cancel->async;
    wire->cancel = NULL;
    bool here = cancel->process == stores__process();
    if (here) pthread_mutex_lock(&cancel->lock);
    bool over = cancel->over || !here;
    cancel->async = NULL;
    if (here) pthread_mutex_unlock(&cancel->lock);
    if (!here && !cancel->over) atomic_fetch_sub(&threads, 1);
    if (over) cancel_free(cancel);
    uv_close((uv_handle_t *)async, async_closed);
}

static void cancel_over(uv_async_t *async) {
    struct stores__pg_wire *wire = async->data;
    if (wire->cancel == NULL || wire->cancel->async != async) return;
    let_go(wire);
    if (wire->phase == WIRE_UP && wire->conn->in_flight == 0) {
        wire->conn->common->hooks->drained(wire->conn);
    }
}

/* A thread of its own, that takes no signal of the host's. */
static bool start(struct stores__pg_cancel *cancel) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&threads, 1);
    int failed = pthread_create(&thread, &attributes, run, cancel);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed != 0) atomic_fetch_sub(&threads, 1);
    return failed == 0;
}

void stores__pg_cancel(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    /* one under way already ends whatever runs */
    if (wire == NULL || wire->phase != WIRE_UP || wire->cancel != NULL) return;
    if (conn->common->deaf) return; /* what runs there is the parent's */
    if (atomic_load(&threads) >= THREADS_MOST) return;
    struct stores__pg_cancel *cancel = calloc(1, sizeof *cancel);
    uv_async_t *async = malloc(sizeof *async);
    if (cancel == NULL || async == NULL || uv_async_init(wire->loop, async, cancel_over) != 0) {
        free(cancel);
        free(async);
        return;
    }
    async->data = wire;
    uv_unref((uv_handle_t *)async);
    wire->open_handles++;
    pthread_mutex_init(&cancel->lock, NULL);
    cancel->async = async;
    cancel->process = stores__process();
    cancel->handle = PQgetCancel(wire->pg);
    wire->cancel = cancel;
    if (cancel->handle == NULL || !start(cancel)) {
        cancel->over = true;
        let_go(wire);
        return;
    }
    conn->common->stats.cancels++;
}

void stores__pg_cancel_forget(struct stores__pg_wire *wire) {
    if (wire->cancel != NULL) let_go(wire);
}

/*
 * Canceling what runs on a connection. libpq 15 can only do it by a blocking connection of its own,
 * and a server that hangs never answers there: so it is an errand that nothing waits for, not the
 * close of the connection either.
 */
#include <stdatomic.h>

#include "base/errand.h"
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
    struct stores__errand errand;
    struct stores__pg_wire *wire;
    PGcancel *handle;
    bool counted; /* among the threads */
};

static struct stores__pg_cancel *cancel_of(struct stores__errand *errand) {
    return STORES__CONTAINER(errand, struct stores__pg_cancel, errand);
}

static void send_cancel(struct stores__errand *errand) {
    struct stores__pg_cancel *cancel = cancel_of(errand);
    char why[256];
    PQcancel(cancel->handle, why, (int)sizeof why);
    cancel->counted = false;
    atomic_fetch_sub(&threads, 1);
}

static void cancel_over(struct stores__errand *errand) {
    struct stores__pg_wire *wire = cancel_of(errand)->wire;
    wire->cancel = NULL;
    if (wire->phase == WIRE_UP && wire->conn->in_flight == 0) {
        wire->conn->common->hooks->drained(wire->conn);
    }
}

static void cancel_free(struct stores__errand *errand) {
    struct stores__pg_cancel *cancel = cancel_of(errand);
    PQfreeCancel(cancel->handle);
    if (cancel->counted) atomic_fetch_sub(&threads, 1); /* no thread of this process ran it */
    free(cancel);
}

static void cancel_closed(void *arg) {
    stores__pg_handle_gone(arg);
}

int stores__pg_process(const struct stores__pg_conn *conn) {
    return conn->wire != NULL && conn->wire->pg != NULL ? PQbackendPID(conn->wire->pg) : 0;
}

void stores__pg_cancel(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    /* one under way already ends whatever runs */
    if (wire == NULL || wire->phase != WIRE_UP || wire->cancel != NULL) return;
    if (conn->common->deaf) return; /* what runs there is the parent's */
    if (atomic_load(&threads) >= THREADS_MOST) return;
    struct stores__pg_cancel *cancel = calloc(1, sizeof *cancel);
    if (cancel == NULL) return;
    cancel->errand = (struct stores__errand){.stack_size = STACK_SIZE,
                                             .run = send_cancel,
                                             .told = cancel_over,
                                             .free = cancel_free,
                                             .closed = cancel_closed,
                                             .arg = wire};
    cancel->wire = wire;
    cancel->handle = PQgetCancel(wire->pg);
    if (cancel->handle == NULL) {
        free(cancel);
        return;
    }
    wire->open_handles++;
    cancel->counted = true;
    atomic_fetch_add(&threads, 1);
    if (!stores__errand_start(&cancel->errand, wire->loop)) return;
    wire->cancel = cancel;
    conn->common->stats.cancels++;
}

void stores__pg_cancel_forget(struct stores__pg_wire *wire) {
    if (wire->cancel != NULL) stores__errand_forget(&wire->cancel->errand);
    wire->cancel = NULL;
}

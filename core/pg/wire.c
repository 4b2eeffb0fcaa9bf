/* wire.c - see wire.h: the socket, the requests that are over, and the loss of the connection. */
#include "pg/wire.h"

/* ---- The socket ------------------------------------------------------------------------------ */

void stores__pg_handle_gone(struct stores__pg_wire *wire) {
    wire->open_handles--;
    if (wire->phase != WIRE_CLOSED || wire->open_handles > 0) return;
    struct stores__pg_conn *conn = wire->conn;
    stores__pg_statements_clear(wire);
    stores__pg_target_free(wire->target);
    stores__pg_ring_free(&wire->ring);
    free(wire);
    conn->wire = NULL;
    conn->common->hooks->gone(conn);
}

static void poll_closed(uv_handle_t *handle) {
    struct stores__pg_wire *wire = handle->data;
    free(handle);
    stores__pg_handle_gone(wire);
}

void stores__pg_unwatch(struct stores__pg_wire *wire) {
    if (wire->poll == NULL) return;
    uv_poll_stop(wire->poll);
    uv_close((uv_handle_t *)wire->poll, poll_closed);
    wire->poll = NULL;
    wire->events = 0;
}

void stores__pg_watch(struct stores__pg_wire *wire, int events) {
    int fd = PQsocket(wire->pg);
    if (wire->poll != NULL && wire->fd == fd) {
        if (wire->events != events) uv_poll_start(wire->poll, events, wire->on_socket);
        wire->events = events;
        return;
    }
    stores__pg_unwatch(wire);
    uv_poll_t *poll = fd >= 0 ? malloc(sizeof *poll) : NULL;
    if (poll == NULL || uv_poll_init(wire->loop, poll, fd) != 0) {
        free(poll);
        stores__pg_break(wire);
        return;
    }
    poll->data = wire;
    wire->open_handles++;
    wire->poll = poll;
    wire->fd = fd;
    wire->events = events;
    /* what keeps a loop alive is pending ops, not connections */
    uv_unref((uv_handle_t *)poll);
    uv_poll_start(poll, events, wire->on_socket);
}

void stores__pg_flush(struct stores__pg_wire *wire) {
    int left = PQflush(wire->pg);
    if (left < 0) {
        stores__pg_break(wire);
    } else {
        stores__pg_watch(wire, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    }
}

/* ---- The end of requests, and of the connection ---------------------------------------------- */

void stores__pg_enter(struct stores__pg_wire *wire, enum stores__pg_phase phase) {
    assert(phase > wire->phase);
    wire->phase = phase;
}

void stores__pg_finish(struct stores__pg_wire *wire, struct stores__pg_req *req,
                       enum stores__pg_end end) {
    struct stores__pg_conn *conn = wire->conn;
    if (--conn->in_flight == 0) wire->behind = false;
    if (req->topic != NULL && req->topic->stalled > 0 && end == STORES__PG_SYNCED) {
        conn->common->hooks->absolved(conn, req->topic);
    }
    if (req->after_reset && conn->resetting && end == STORES__PG_SYNCED) {
        conn->reset_waiter = req;
        return;
    }
    req->done(req, end);
    if (end == STORES__PG_SYNCED && wire->phase == WIRE_UP && conn->in_flight == 0) {
        conn->common->hooks->drained(conn);
    }
}

void stores__pg_fail_pending(struct stores__pg_wire *wire) {
    PQclear(wire->prepare_error);
    wire->prepare_error = NULL;
    memset(&wire->copy, 0, sizeof wire->copy); /* whose it is hears of the loss, and frees it */
    while (wire->ring.count > 0) {
        struct stores__pg_entry entry = stores__pg_ring_pop(&wire->ring);
        stores__pg_trace_lost(wire, &entry);
        free(entry.trace);
        if (entry.kind == ENTRY_SYNC || entry.kind == ENTRY_SIMPLE) {
            stores__pg_finish(wire, entry.req, STORES__PG_LOST);
        }
    }
}

static void tell_loss(struct stores__timer *timer) {
    struct stores__pg_wire *wire = STORES__CONTAINER(timer, struct stores__pg_wire, timer);
    wire->open_handles++;
    stores__pg_fail_pending(wire);
    if (wire->phase == WIRE_BROKEN) wire->conn->common->hooks->lost(wire->conn);
    stores__pg_handle_gone(wire);
}

void stores__pg_break(struct stores__pg_wire *wire) {
    if (wire->phase == WIRE_BROKEN || wire->phase == WIRE_CLOSED) return;
    if (wire->phase == WIRE_UP) wire->conn->common->hooks->dropped(wire->conn);
    stores__pg_enter(wire, WIRE_BROKEN);
    stores__pg_unwatch(wire);
    stores__timer_stop(wire->timers, &wire->timer);
    wire->timer.fire = tell_loss;
    /* without memory for the timer the deadlines of those who wait end their calls */
    stores__timer_set(wire->timers, &wire->timer, uv_now(wire->loop));
}

void stores__pg_connect_failed(struct stores__pg_wire *wire, const stores_error *error) {
    stores__timer_stop(wire->timers, &wire->timer);
    wire->conn->common->hooks->failed(wire->conn, error);
}

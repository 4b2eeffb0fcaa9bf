/*
 * Leaving a server that owes answers. To a pooler a session is free as soon as the server says that
 * it is idle. PgBouncer 1.18 does not count what was sent behind that: where its client is gone by
 * then, the next one gets the answers. So whoever sent a request behind another one (a reset behind
 * a COMMIT, reads on a lane) waits a moment for the answers before it says goodbye. Nobody hears of
 * them.
 */
#include "pg/wire.h"

enum { LEAVE_MS = 2000 }; /* a server that hangs is left all the same */

static void life_closed(uv_handle_t *handle) {
    stores__pg_handle_gone(handle->data);
}

void stores__pg_end(struct stores__pg_wire *wire) {
    wire->owed = 0;
    stores__timer_stop(wire->timers, &wire->timer);
    stores__pg_unwatch(wire);
    PQfinish(wire->pg);
    wire->pg = NULL;
    uv_close((uv_handle_t *)&wire->life, life_closed);
}

static void waited_enough(struct stores__timer *timer) {
    stores__pg_end(STORES__CONTAINER(timer, struct stores__pg_wire, timer));
}

size_t stores__pg_leave_owes(const struct stores__pg_wire *wire) {
    size_t owed = 0;
    if (wire->phase != WIRE_UP || !wire->behind) return 0;
    for (size_t i = 0; i < wire->ring.count; i++) {
        owed += stores__pg_ring_at(&wire->ring, i)->kind == ENTRY_SYNC;
    }
    return owed;
}

/* False: there is nothing more to come. */
static bool read_on(struct stores__pg_wire *wire) {
    bool ended = false; /* a NULL ends a statement; one more, all of them */
    while (wire->owed > 0 && !PQisBusy(wire->pg)) {
        PGresult *result = PQgetResult(wire->pg);
        ExecStatusType status = PQresultStatus(result);
        if (result == NULL && ended) return false;
        ended = result == NULL;
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC) wire->owed--;
        if (stores__pg_is_copy(status)) return false;
    }
    return wire->owed > 0;
}

static void no_notice(void *arg, const PGresult *result) {
    (void)arg;
    (void)result;
}

static void on_leaving(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct stores__pg_wire *wire = stores__pg_wire_of(poll, status);
    if (wire == NULL) return;
    bool readable = status == 0 && PQconsumeInput(wire->pg);
    int left = readable ? PQflush(wire->pg) : -1;
    if (left < 0 || !read_on(wire)) {
        stores__pg_end(wire);
        return;
    }
    stores__pg_watch(wire, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    if (wire->poll == NULL) stores__pg_end(wire);
}

bool stores__pg_leave(struct stores__pg_wire *wire, size_t owed) {
    int left = PQflush(wire->pg);
    wire->owed = owed;
    wire->on_socket = on_leaving;
    PQsetNoticeReceiver(wire->pg, no_notice, NULL);
    wire->timer.fire = waited_enough;
    if (left < 0 || !read_on(wire)) return false;
    if (!stores__timer_set(wire->timers, &wire->timer, uv_now(wire->loop) + LEAVE_MS)) return false;
    stores__pg_watch(wire, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    return wire->poll != NULL;
}

#include "pg/wire.h"

#include <poll.h>
#include <stdio.h>

/* ---- The socket ------------------------------------------------------------------------------ */

void stores__pg_handle_gone(struct stores__pg_wire *wire) {
    wire->open_handles--;
    if (wire->phase != WIRE_CLOSED || wire->open_handles > 0) return;
    struct stores__pg_conn *conn = wire->conn;
    stores__pg_statements_clear(wire);
    stores__pg_target_free(wire->target);
    free(wire->ring);
    free(wire);
    conn->wire = NULL;
    stores__pg_pool_gone(conn);
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

static void process(struct stores__pg_wire *wire);

static void on_socket(uv_poll_t *poll, int status, int events) {
    struct stores__pg_wire *wire = poll->data;
    if (wire->timers->process != stores__process()) return; /* the socket is the parent's */
    if (status < 0) wire->events = 0; /* libuv has stopped watching */
    if (wire->phase == WIRE_CLOSED) {
        stores__pg_leave_step(wire, status);
        return;
    }
    if (wire->phase == WIRE_CONNECTING) {
        stores__pg_connect_step(wire);
        return;
    }
    if (wire->phase != WIRE_UP && wire->phase != WIRE_GREETING) return;
    if (status < 0) {
        /* libpq's read finds out what is wrong: at first it may give the server's last words, and the
         * end only when it reads again */
        events = UV_READABLE;
        stores__pg_watch(wire, UV_READABLE);
        if (wire->phase == WIRE_BROKEN) return;
    }
    /* reading goes on while writing, or both sides could wait for each other */
    if (wire->conn->silent > 0 || wire->conn->place == STORES__PG_STALLED) {
        stores__pool_heard(wire->conn);
    }
    if ((events & UV_READABLE) && !PQconsumeInput(wire->pg)) {
        process(wire);
        if (wire->phase != WIRE_CLOSED) stores__pg_break(wire);
        return;
    }
    if (events & UV_WRITABLE) {
        int left = PQflush(wire->pg);
        if (left < 0) {
            stores__pg_break(wire);
            return;
        }
        if (left == 0) stores__pg_watch(wire, UV_READABLE);
    }
    process(wire);
}

void stores__pg_watch(struct stores__pg_wire *wire, int events) {
    int fd = PQsocket(wire->pg);
    if (wire->poll != NULL && wire->fd == fd) {
        if (wire->events != events) uv_poll_start(wire->poll, events, on_socket);
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
    uv_poll_start(poll, events, on_socket);
}

static void flush(struct stores__pg_wire *wire) {
    int left = PQflush(wire->pg);
    if (left < 0) {
        stores__pg_break(wire);
    } else {
        stores__pg_watch(wire, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    }
}

/* ---- What the server owes -------------------------------------------------------------------- */

bool stores__pg_push(struct stores__pg_wire *wire, const struct stores__pg_entry *entry) {
    if (wire->count == wire->room) {
        size_t room = wire->room ? wire->room * 2 : 16;
        struct stores__pg_entry *ring = malloc(room * sizeof *ring);
        if (ring == NULL) return false;
        for (size_t i = 0; i < wire->count; i++) {
            ring[i] = wire->ring[(wire->head + i) & (wire->room - 1)];
        }
        free(wire->ring);
        wire->ring = ring;
        wire->room = room;
        wire->head = 0;
    }
    wire->ring[(wire->head + wire->count++) & (wire->room - 1)] = *entry;
    return true;
}

static struct stores__pg_entry *head(struct stores__pg_wire *wire) {
    return wire->count ? &wire->ring[wire->head] : NULL;
}

static struct stores__pg_entry *last(struct stores__pg_wire *wire) {
    return &wire->ring[(wire->head + wire->count - 1) & (wire->room - 1)];
}

static struct stores__pg_entry pop(struct stores__pg_wire *wire) {
    struct stores__pg_entry entry = wire->ring[wire->head];
    wire->head = (wire->head + 1) & (wire->room - 1);
    wire->count--;
    return entry;
}

static void deliver(struct stores__pg_req *req, int index, PGresult *result) {
    if (req->result != NULL) {
        req->result(req, index, result);
    } else {
        PQclear(result);
    }
}

static void finish(struct stores__pg_wire *wire, struct stores__pg_req *req,
                   enum stores__pg_end end) {
    struct stores__pg_conn *conn = wire->conn;
    if (--conn->in_flight == 0) wire->behind = false;
    if (req->topic != NULL && req->topic->stalled > 0 && end == STORES__PG_SYNCED) {
        stores__pool_absolve(conn->pool, req->topic);
    }
    if (req->after_reset && conn->resetting && end == STORES__PG_SYNCED) {
        conn->reset_waiter = req;
        return;
    }
    req->done(req, end);
    if (end == STORES__PG_SYNCED && wire->phase == WIRE_UP && conn->in_flight == 0) {
        stores__pg_pool_drained(conn);
    }
}

static bool is_copy(const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* What stands before a statement for its sake, and failed, is why the statement will be skipped. */
static void keep_error(struct stores__pg_wire *wire, PGresult *result) {
    if (PQresultStatus(result) == PGRES_COMMAND_OK ||
        (PQresultStatus(result) == PGRES_PIPELINE_ABORTED && wire->prepare_error != NULL)) {
        PQclear(result);
        return;
    }
    PQclear(wire->prepare_error);
    wire->prepare_error = result;
}

static void take_prepare(struct stores__pg_wire *wire, const struct stores__pg_entry *entry,
                         PGresult *result) {
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        stores__pg_statement_drop(wire, entry->statement);
    keep_error(wire, result);
}

static void take_statement(struct stores__pg_wire *wire, const struct stores__pg_entry *entry,
                           PGresult *result) {
    if (entry->prepared_here && wire->prepare_error != NULL) {
        /* the caller is to hear why its statement failed, not that it was skipped */
        if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED) {
            PQclear(result);
            result = wire->prepare_error;
        } else {
            PQclear(wire->prepare_error);
        }
        wire->prepare_error = NULL;
    }
    stores__pg_trace_answer(wire, entry, result);
    entry->req->stale = stores__pg_statement_is_stale(wire, entry, result);
    if (PQresultStatus(result) == PGRES_FATAL_ERROR && !entry->req->readonly) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        if (sqlstate != NULL && strcmp(sqlstate, "25006") == 0)
            stores__pg_pool_read_only(wire->conn);
    }
    deliver(entry->req, entry->index, result);
}

/* libpq gives the beginning of a COPY again and again until somebody copies. Who asked for one hears
 * that it is not possible; a server that begins one by itself is none. */
static bool take_copy(struct stores__pg_wire *wire, struct stores__pg_entry *entry,
                      PGresult *result) {
    if (entry->kind == ENTRY_STATEMENT || entry->kind == ENTRY_SIMPLE) {
        struct stores__pg_entry copy = *entry;
        entry->trace = NULL;
        take_statement(wire, &copy, result);
        free(copy.trace);
    } else {
        PQclear(result);
    }
    stores__pg_break(wire);
    return false;
}

/* A statement without BEGIN commits at the Sync, and may fail there: a deferred constraint. Its
 * request hears that as a second result of its last statement; the Sync itself is still to come. */
static bool take_sync_error(struct stores__pg_entry *entry, PGresult *result) {
    struct stores__pg_req *req = entry->req;
    if (PQresultErrorField(result, PG_DIAG_SQLSTATE) ==
        NULL) { /* libpq's own: the connection broke */
        PQclear(result);
        return false;
    }
    entry->answered = true;
    req->stale = false;
    if (req->added > 0) {
        deliver(req, req->added - 1, result);
    } else {
        PQclear(result);
    }
    return true;
}

/* A result, or the NULL that ends the results of a statement. False: nothing more for now. */
static bool take(struct stores__pg_wire *wire, PGresult *result) {
    struct stores__pg_entry *entry = head(wire);
    if (result == NULL) {
        if (!entry->answered) {
            /* libpq had no memory for a result: nothing more would come for this statement */
            if (PQstatus(wire->pg) == CONNECTION_OK) stores__pg_break(wire);
            return false;
        }
        if (entry->kind == ENTRY_SYNC) {
            entry->answered = false;
            return true;
        }
        /* several statements have no Sync: without a connection nobody knows how many were done */
        if (entry->kind == ENTRY_SIMPLE && PQstatus(wire->pg) == CONNECTION_BAD) return false;
        struct stores__pg_entry over = pop(wire);
        if (over.kind != ENTRY_SIMPLE) return true;
        free(over.trace);
        if (!PQenterPipelineMode(wire->pg)) stores__pg_break(wire);
        finish(wire, over.req, STORES__PG_SYNCED);
        return true;
    }
    if (is_copy(result)) return take_copy(wire, entry, result);
    if (entry->kind == ENTRY_SYNC && PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
        return take_sync_error(entry, result);
    }
    entry->answered = true;
    switch (entry->kind) {
    case ENTRY_SYNC: {
        struct stores__pg_entry over = pop(wire);
        PQclear(result);
        finish(wire, over.req, STORES__PG_SYNCED);
        break;
    }
    case ENTRY_PREPARE: take_prepare(wire, entry, result); break;
    case ENTRY_INTERNAL: keep_error(wire, result); break;
    case ENTRY_RESET: stores__pg_reset_took(wire, result); break;
    case ENTRY_SIMPLE: {
        struct stores__pg_entry copy = *entry;
        entry->index++;
        take_statement(wire, &copy, result);
        break;
    }
    default: {
        struct stores__pg_entry copy = *entry; /* the callee may send, and move the ring */
        entry->trace = NULL;
        take_statement(wire, &copy, result);
        free(copy.trace);
    }
    }
    return true;
}

static void tell_notifications(struct stores__pg_wire *wire) {
    while (wire->phase == WIRE_UP) {
        PGnotify *notify = PQnotifies(wire->pg);
        if (notify == NULL) return;
        if (wire->conn->notified) wire->conn->notified(wire->conn, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

static void process(struct stores__pg_wire *wire) {
    wire->open_handles++; /* a callback may close the connection: the wire stays until we return */
    while ((wire->phase == WIRE_UP || wire->phase == WIRE_GREETING) && wire->count > 0) {
        if (PQisBusy(wire->pg)) break;
        if (!take(wire, PQgetResult(wire->pg))) break;
    }
    if (wire->count == 0 && wire->phase == WIRE_UP)
        PQisBusy(wire->pg); /* parses what came unasked */
    tell_notifications(wire);
    if (wire->phase == WIRE_UP || wire->phase == WIRE_GREETING) {
        if (PQstatus(wire->pg) == CONNECTION_BAD) stores__pg_break(wire);
    }
    stores__pg_handle_gone(wire);
}

/* ---- Loss and close -------------------------------------------------------------------------- */

static void fail_pending(struct stores__pg_wire *wire) {
    PQclear(wire->prepare_error);
    wire->prepare_error = NULL;
    while (wire->count > 0) {
        struct stores__pg_entry entry = pop(wire);
        stores__pg_trace_lost(wire, &entry);
        free(entry.trace);
        if (entry.kind == ENTRY_SYNC || entry.kind == ENTRY_SIMPLE) {
            finish(wire, entry.req, STORES__PG_LOST);
        }
    }
}

static void tell_loss(struct stores__timer *timer) {
    struct stores__pg_wire *wire = STORES__CONTAINER(timer, struct stores__pg_wire, timer);
    wire->open_handles++;
    fail_pending(wire);
    if (wire->phase == WIRE_BROKEN) stores__pg_pool_lost(wire->conn);
    stores__pg_handle_gone(wire);
}

void stores__pg_break(struct stores__pg_wire *wire) {
    if (wire->phase == WIRE_BROKEN || wire->phase == WIRE_CLOSED) return;
    if (wire->phase == WIRE_UP) stores__pg_pool_dropped(wire->conn);
    wire->phase = WIRE_BROKEN;
    stores__pg_unwatch(wire);
    stores__timer_stop(wire->timers, &wire->timer);
    wire->timer.fire = tell_loss;
    /* without memory for the timer the deadlines of those who wait end their calls */
    stores__timer_set(wire->timers, &wire->timer, uv_now(wire->loop));
}

void stores__pg_lose(struct stores__pg_conn *conn) {
    stores__pg_break(conn->wire);
}

void stores__pg_conn_close(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    if (wire->phase == WIRE_CLOSED) return;
    size_t owed = stores__pg_leave_owes(wire);
    wire->phase = WIRE_CLOSED;
    stores__timer_stop(wire->timers, &wire->timer);
    stores__pg_unwatch(wire);
    stores__pg_cancel_forget(wire);
    fail_pending(wire);
    if (owed == 0 || !stores__pg_leave(wire, owed)) stores__pg_end(wire);
}

/* ---- Requests -------------------------------------------------------------------------------- */

void stores__pg_begin(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    struct stores__pg_wire *wire = conn->wire;
    req->added = 0;
    req->begun_at = wire ? uv_now(wire->loop) : 0;
    req->after_reset = false;
    req->sent = false;
    req->stalled = false;
    stores__list_init(&req->link);
    if (wire == NULL || wire->pg == NULL) return;
    wire->in_error = PQtransactionStatus(wire->pg) == PQTRANS_INERROR;
}

static bool send_prepared(struct stores__pg_wire *wire, struct stores__pg_req *req, const char *sql,
                          int nparams, const char *const *values, bool *fresh) {
    unsigned generation = *stores__pg_pool_generation(wire->conn->pool);
    if (wire->generation != generation) stores__pg_statements_clear(wire);
    wire->generation = generation;
    struct stores__pg_statement *statement = stores__pg_statement_get(wire, req, sql, nparams,
                                                                      fresh);
    if (statement == NULL) return false;
    return PQsendQueryPrepared(wire->pg, statement->name, nparams, values, NULL, NULL, 0);
}

bool stores__pg_add_entry(struct stores__pg_conn *conn, struct stores__pg_req *req,
                          enum stores__pg_entry_kind kind, const char *sql, int nparams,
                          const char *const *values, bool prepare) {
    struct stores__pg_wire *wire = conn->wire;
    if (wire == NULL || (wire->phase != WIRE_UP && wire->phase != WIRE_GREETING)) return false;
    struct stores__pg_entry entry = {.req = req, .kind = kind};
    if (kind == ENTRY_STATEMENT) entry.index = req->added++;
    bool named = prepare && !wire->pooler && !wire->deallocate &&
                 stores__pg_pool_prepares(conn->pool);
    bool sent = named ? send_prepared(wire, req, sql, nparams, values, &entry.prepared_here)
                      : PQsendQueryParams(wire->pg, sql, nparams, NULL, values, NULL, NULL, 0);
    entry.reused = named && !entry.prepared_here;
    if (sent && kind == ENTRY_STATEMENT) stores__pg_trace_start(wire, &entry, sql);
    if (!sent || !stores__pg_push(wire, &entry)) {
        free(entry.trace);
        stores__pg_break(wire);
        return false;
    }
    if (kind == ENTRY_STATEMENT) stores__pg_pool_stats(conn->pool)->statements++;
    return true;
}

bool stores__pg_add(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql,
                    int nparams, const char *const *values, bool prepare) {
    return stores__pg_add_entry(conn, req, ENTRY_STATEMENT, sql, nparams, values, prepare);
}

/* The entry that ends a request. A broken wire keeps it, so that its loss is told in its turn; one
 * that was closed under its holder can tell nothing later. False: there is nothing to send. */
static bool end_request(struct stores__pg_conn *conn, struct stores__pg_req *req,
                        enum stores__pg_entry_kind kind) {
    struct stores__pg_wire *wire = conn->wire;
    struct stores__pg_entry entry = {.req = req, .kind = kind};
    if (wire == NULL || wire->phase == WIRE_CLOSED) {
        req->done(req, STORES__PG_LOST);
        return false;
    }
    if (conn->in_flight++ > 0) wire->behind = true;
    if (req != &conn->reset) stores__pg_pool_stats(conn->pool)->round_trips++;
    if (!stores__pg_push(wire, &entry)) {
        stores__pg_break(wire);
        conn->in_flight--;
        req->done(req, STORES__PG_LOST);
        return false;
    }
    if (wire->phase == WIRE_BROKEN && !stores__timer_armed(&wire->timer)) {
        stores__timer_set(wire->timers, &wire->timer, uv_now(wire->loop));
    }
    return wire->phase != WIRE_BROKEN;
}

void stores__pg_sync(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    struct stores__pg_wire *wire = conn->wire;
    if (!end_request(conn, req, ENTRY_SYNC)) return;
    req->sent = true;
    if (!PQpipelineSync(wire->pg)) {
        stores__pg_break(wire);
        return;
    }
    flush(wire);
}

void stores__pg_simple(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql) {
    struct stores__pg_wire *wire = conn->wire;
    stores__pg_begin(conn, req);
    if (!end_request(conn, req, ENTRY_SIMPLE)) return;
    stores__pg_trace_start(wire, last(wire), sql);
    req->sent = true;
    if (!PQexitPipelineMode(wire->pg) || !PQsendQuery(wire->pg, sql)) {
        stores__pg_break(wire);
        return;
    }
    flush(wire);
}

/* ---- What is known of it --------------------------------------------------------------------- */

bool stores__pg_is_up(const struct stores__pg_conn *conn) {
    return conn->wire != NULL && conn->wire->phase == WIRE_UP;
}

bool stores__pg_is_idle(const struct stores__pg_conn *conn) {
    const struct stores__pg_wire *wire = conn->wire;
    return wire != NULL && wire->phase == WIRE_UP && conn->in_flight == 0 && wire->cancel == NULL &&
           PQtransactionStatus(wire->pg) == PQTRANS_IDLE;
}

bool stores__pg_is_alive(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    if (!stores__pg_is_up(conn)) return false;
    struct pollfd socket = {.fd = PQsocket(wire->pg), .events = POLLIN};
    /* a farewell and the end behind it, or a notice that concerns nobody */
    while (poll(&socket, 1, 0) > 0) {
        if (!PQconsumeInput(wire->pg) || PQstatus(wire->pg) != CONNECTION_OK) return false;
    }
    return true;
}

bool stores__pg_stray_cancel(const struct stores__pg_conn *conn, const struct stores__pg_req *req,
                             const stores_error *error) {
    if (error->code != STORES_CANCELED || conn->wire == NULL) return false;
    return uv_now(conn->wire->loop) - req->begun_at < stores__pg_pool_statement_timeout(conn->pool);
}

/* Of a connection that was closed nothing is known, though it may still wait for the server. */
static PGTransactionStatusType status_of(const struct stores__pg_conn *conn) {
    const struct stores__pg_wire *wire = conn->wire;
    if (wire == NULL || wire->phase == WIRE_CLOSED) return PQTRANS_UNKNOWN;
    return PQtransactionStatus(wire->pg);
}

bool stores__pg_in_transaction(const struct stores__pg_conn *conn) {
    PGTransactionStatusType status = status_of(conn);
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

bool stores__pg_has_failed(const struct stores__pg_conn *conn) {
    return status_of(conn) == PQTRANS_INERROR;
}

void stores__pg_forget_statements(struct stores__pg_conn *conn) {
    ++*stores__pg_pool_generation(conn->pool);
}

bool stores__pg_stale_plan(const struct stores__pg_req *req) {
    return req->stale;
}

const char *stores__pg_parameter(const struct stores__pg_conn *conn, const char *name) {
    const char *value = conn->wire && conn->wire->pg ? PQparameterStatus(conn->wire->pg, name)
                                                     : NULL;
    return value ? value : "";
}

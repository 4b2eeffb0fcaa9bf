/* conn.c - see conn.h: what is asked of a connection, and what is known of it. */
#include "pg/wire.h"

#include <poll.h>

#include "base/deaf.h"
#include "pg/array.h"

void stores__pg_deafen(struct stores__pg_conn *conn, int deaf) {
    if (conn->wire != NULL && conn->wire->pg != NULL) {
        stores__deafen(PQsocket(conn->wire->pg), deaf);
    }
}

void stores__pg_lose(struct stores__pg_conn *conn) {
    stores__pg_break(conn->wire);
}

void stores__pg_conn_close(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    if (wire->phase == WIRE_CLOSED) return;
    size_t owed = stores__pg_leave_owes(wire);
    stores__pg_enter(wire, WIRE_CLOSED);
    stores__timer_stop(wire->timers, &wire->timer);
    stores__pg_unwatch(wire);
    stores__pg_cancel_forget(wire);
    stores__pg_fail_pending(wire);
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
    if (conn->in_flight == 0) conn->warning[0] = '\0';
    if (wire == NULL || wire->pg == NULL) return;
    wire->in_error = PQtransactionStatus(wire->pg) == PQTRANS_INERROR;
}

/* Parameters as libpq takes them: texts, or (lengths) what is in binary form. */
struct parameters {
    int count;
    const char *const *values;
    const int *lengths;
};

/* NULL: all of them are texts. */
static const int *formats_of(const struct parameters *parameters) {
    static const int binary[STORES__PG_ARRAYS_MAX] = {1, 1, 1};
    return parameters->lengths != NULL ? binary : NULL;
}

static bool send_prepared(struct stores__pg_wire *wire, struct stores__pg_req *req, const char *sql,
                          const struct parameters *parameters, bool *fresh) {
    unsigned generation = wire->conn->common->generation;
    if (wire->generation != generation) stores__pg_statements_clear(wire);
    wire->generation = generation;
    struct stores__pg_statement *statement = stores__pg_statement_get(wire, req, sql,
                                                                      parameters->count, fresh);
    if (statement == NULL) return false;
    return PQsendQueryPrepared(wire->pg, statement->name, parameters->count, parameters->values,
                               parameters->lengths, formats_of(parameters), 0);
}

static void add_entry(struct stores__pg_conn *conn, struct stores__pg_req *req,
                      enum stores__pg_entry_kind kind, const char *sql,
                      const struct parameters *parameters, bool prepare) {
    struct stores__pg_wire *wire = conn->wire;
    if (wire == NULL || (wire->phase != WIRE_UP && wire->phase != WIRE_GREETING)) return;
    struct stores__pg_entry entry = {.req = req, .kind = kind};
    if (kind == ENTRY_STATEMENT) entry.index = req->added++;
    bool named = prepare && !wire->pooler && !wire->deallocate && !conn->common->shares_sessions;
    bool sent = named
                    ? send_prepared(wire, req, sql, parameters, &entry.prepared_here)
                    : PQsendQueryParams(wire->pg, sql, parameters->count, NULL, parameters->values,
                                        parameters->lengths, formats_of(parameters), 0);
    entry.reused = named && !entry.prepared_here;
    if (sent && kind == ENTRY_STATEMENT) stores__pg_trace_start(wire, &entry, sql);
    if (!sent || !stores__pg_ring_push(&wire->ring, &entry)) {
        free(entry.trace);
        stores__pg_break(wire);
    } else if (kind == ENTRY_STATEMENT) {
        conn->common->stats.statements++;
    }
}

void stores__pg_add_entry(struct stores__pg_conn *conn, struct stores__pg_req *req,
                          enum stores__pg_entry_kind kind, const char *sql, int nparams,
                          const char *const *values, bool prepare) {
    struct parameters parameters = {.count = nparams, .values = values};
    add_entry(conn, req, kind, sql, &parameters, prepare);
}

void stores__pg_add_arrays(struct stores__pg_conn *conn, struct stores__pg_req *req,
                           const char *sql, int count, const struct stores__buf *arrays) {
    const char *values[STORES__PG_ARRAYS_MAX];
    int lengths[STORES__PG_ARRAYS_MAX];
    assert(count <= STORES__PG_ARRAYS_MAX);
    for (int i = 0; i < count; i++) {
        values[i] = arrays[i].data;
        lengths[i] = (int)arrays[i].len;
    }
    struct parameters parameters = {.count = count, .values = values, .lengths = lengths};
    add_entry(conn, req, ENTRY_STATEMENT, sql, &parameters, true);
}

void stores__pg_add(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql,
                    int nparams, const char *const *values, bool prepare) {
    stores__pg_add_entry(conn, req, ENTRY_STATEMENT, sql, nparams, values, prepare);
}

void stores__pg_hurry(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    if (wire == NULL || wire->phase != WIRE_UP) return;
    if (!PQsendFlushRequest(wire->pg)) stores__pg_break(wire);
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
    if (req != &conn->reset) conn->common->stats.round_trips++;
    if (!stores__pg_ring_push(&wire->ring, &entry)) {
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
    stores__pg_flush(wire);
}

void stores__pg_simple(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql) {
    struct stores__pg_wire *wire = conn->wire;
    stores__pg_begin(conn, req);
    if (!end_request(conn, req, ENTRY_SIMPLE)) return;
    stores__pg_trace_start(wire, stores__pg_ring_last(&wire->ring), sql);
    req->sent = true;
    if (!PQexitPipelineMode(wire->pg) || !PQsendQuery(wire->pg, sql)) {
        stores__pg_break(wire);
        return;
    }
    stores__pg_flush(wire);
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

bool stores__pg_glance(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    if (!stores__pg_is_up(conn) || wire->poll == NULL || wire->taking) return false;
    struct pollfd socket = {.fd = wire->fd, .events = POLLIN};
    if (poll(&socket, 1, 0) <= 0) return false;
    wire->on_socket(wire->poll, 0, UV_READABLE);
    return true;
}

bool stores__pg_stray_cancel(const struct stores__pg_conn *conn, const struct stores__pg_req *req,
                             const stores_error *error) {
    if (error->code != STORES_CANCELED || conn->wire == NULL) return false;
    return uv_now(conn->wire->loop) - req->begun_at < conn->common->params.statement_timeout_ms;
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
    conn->common->generation++;
}

bool stores__pg_stale_plan(const struct stores__pg_req *req) {
    return req->stale;
}

const char *stores__pg_parameter(const struct stores__pg_conn *conn, const char *name) {
    const char *value = conn->wire && conn->wire->pg ? PQparameterStatus(conn->wire->pg, name)
                                                     : NULL;
    return value ? value : "";
}

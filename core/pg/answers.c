/*
 * Answers: what libpq has read goes to whom it belongs, which is the first entry of the ring.
 *
 *   entry                 libpq gives for it                       it leaves the ring
 *   PREPARE, INTERNAL,
 *   RESET, STATEMENT      a result (rows, an error, or aborted:    at the NULL
 *                         one before it failed), NULL
 *   SYNC                  [what failed as it committed, NULL,]     at PIPELINE_SYNC, behind which
 *                         PIPELINE_SYNC                            no NULL comes
 *   SIMPLE                [COPY_IN, behind which it is fed,]       at the NULL, and pipeline mode
 *                         a result for each of its statements,     begins again
 *                         NULL
 *
 * A NULL where no result came says that libpq had no memory for one. Whoever is told of a result
 * may send, which moves the ring, or close the connection, which the wire outlives until all is
 * told: so an entry is copied before it is told, and the phase is looked at after.
 */
#include "pg/wire.h"

static void deliver(struct stores__pg_req *req, int index, PGresult *result) {
    if (req->result != NULL) {
        req->result(req, index, result);
    } else {
        PQclear(result);
    }
}

/* ---- Results --------------------------------------------------------------------------------- */

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

/* The caller is to hear why his statement failed, not that it was skipped. */
static PGresult *explained(struct stores__pg_wire *wire, PGresult *result) {
    PGresult *why = wire->prepare_error;
    wire->prepare_error = NULL;
    bool skipped = PQresultStatus(result) == PGRES_PIPELINE_ABORTED;
    PQclear(skipped ? result : why);
    return skipped ? why : result;
}

static bool refuses_writes(const PGresult *result) {
    if (PQresultStatus(result) != PGRES_FATAL_ERROR) return false;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return sqlstate != NULL && strcmp(sqlstate, "25006") == 0;
}

/* Whether a write that was refused says something of the server. What reads on a standby is not to
 * write there; what its caller did not keep from that, as a NOTIFY, would find the primary. */
static bool is_doubted(const struct stores__pg_conn *conn, const struct stores__pg_req *req) {
    return req->kept == STORES__PG_MAY_WRITE ||
           (req->kept == STORES__PG_KEPT_BY_CALL && conn->standby);
}

enum more { LAST, MORE }; /* whether other results may come for the same entry */

static void take_statement(struct stores__pg_wire *wire, struct stores__pg_entry *entry,
                           PGresult *result, enum more more) {
    struct stores__pg_entry copy = *entry;
    struct stores__pg_req *req = copy.req;
    if (more == MORE) {
        entry->index++;
    } else {
        entry->trace = NULL; /* the copy's */
    }
    if (copy.prepared_here && wire->prepare_error != NULL) result = explained(wire, result);
    stores__pg_trace_answer(wire, &copy, result);
    req->stale = stores__pg_statement_is_stale(wire, &copy, result);
    if (is_doubted(wire->conn, req) && refuses_writes(result)) {
        wire->conn->common->hooks->read_only(wire->conn);
    }
    deliver(req, copy.index, result);
    if (more == LAST) free(copy.trace);
}

/* Who asked for a COPY hears that it is not possible; a server that begins one by itself is
 * none. */
static void take_copy(struct stores__pg_wire *wire, struct stores__pg_entry *entry,
                      PGresult *result) {
    if (entry->kind == ENTRY_STATEMENT || entry->kind == ENTRY_SIMPLE) {
        take_statement(wire, entry, result, LAST);
    } else {
        PQclear(result);
    }
    stores__pg_break(wire);
}

/* A statement without BEGIN commits at the Sync, and may fail there: a deferred constraint. Its
 * request hears that as a second result of its last statement; the Sync itself is still to come. */
static void take_sync_error(struct stores__pg_entry *entry, PGresult *result) {
    struct stores__pg_req *req = entry->req;
    entry->answered = true;
    req->stale = false;
    if (req->added > 0) {
        deliver(req, req->added - 1, result);
    } else {
        PQclear(result);
    }
}

static void take_sync(struct stores__pg_wire *wire, PGresult *result) {
    struct stores__pg_entry over = stores__pg_ring_pop(&wire->ring);
    PQclear(result);
    stores__pg_finish(wire, over.req, STORES__PG_SYNCED);
}

/* ---- Whose they are -------------------------------------------------------------------------- */

enum verdict {
    GO_ON, /* more may have been read already */
    NO_MORE /* the connection broke, or will be found to have broken */
};

static enum verdict take_result(struct stores__pg_wire *wire, PGresult *result) {
    struct stores__pg_entry *entry = stores__pg_ring_at(&wire->ring, 0);
    if (stores__pg_copy_takes(wire, result)) {
        PQclear(result);
        stores__pg_copy_feed(wire);
        return GO_ON;
    }
    if (stores__pg_is_copy(PQresultStatus(result))) {
        take_copy(wire, entry, result);
        return NO_MORE;
    }
    if (entry->kind == ENTRY_SYNC && PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
        if (PQresultErrorField(result, PG_DIAG_SQLSTATE) != NULL) {
            take_sync_error(entry, result);
            return GO_ON;
        }
        PQclear(result); /* libpq's own */
        return NO_MORE;
    }
    entry->answered = true;
    switch (entry->kind) {
    case ENTRY_PREPARE: take_prepare(wire, entry, result); break;
    case ENTRY_INTERNAL: keep_error(wire, result); break;
    case ENTRY_RESET: stores__pg_reset_took(wire, result); break;
    case ENTRY_STATEMENT: take_statement(wire, entry, result, LAST); break;
    case ENTRY_SIMPLE: take_statement(wire, entry, result, MORE); break;
    case ENTRY_SYNC: take_sync(wire, result);
    }
    return GO_ON;
}

/* The NULL behind the results of the first entry. */
static enum verdict take_end(struct stores__pg_wire *wire) {
    struct stores__pg_entry *entry = stores__pg_ring_at(&wire->ring, 0);
    if (!entry->answered) {
        /* libpq had no memory for a result: nothing more would come for this statement */
        if (PQstatus(wire->pg) == CONNECTION_OK) stores__pg_break(wire);
        return NO_MORE;
    }
    if (entry->kind == ENTRY_SYNC) {
        entry->answered = false;
        return GO_ON;
    }
    /* several statements have no Sync: without a connection nobody knows how many were done */
    if (entry->kind == ENTRY_SIMPLE && PQstatus(wire->pg) == CONNECTION_BAD) return NO_MORE;
    struct stores__pg_entry over = stores__pg_ring_pop(&wire->ring);
    if (over.kind != ENTRY_SIMPLE) return GO_ON;
    free(over.trace);
    memset(&wire->copy, 0, sizeof wire->copy);
    if (!PQenterPipelineMode(wire->pg)) stores__pg_break(wire);
    stores__pg_finish(wire, over.req, STORES__PG_SYNCED);
    return GO_ON;
}

static bool is_heard(const struct stores__pg_wire *wire) {
    return wire->phase == WIRE_UP || wire->phase == WIRE_GREETING;
}

static void take_answers(struct stores__pg_wire *wire) {
    enum verdict verdict = GO_ON;
    while (verdict == GO_ON && is_heard(wire) && wire->ring.count > 0 && !wire->copy.feeding &&
           !PQisBusy(wire->pg)) {
        PGresult *result = PQgetResult(wire->pg);
        verdict = result != NULL ? take_result(wire, result) : take_end(wire);
    }
}

static void take_notifications(struct stores__pg_wire *wire) {
    if (wire->ring.count == 0 && wire->phase == WIRE_UP) PQisBusy(wire->pg); /* parses them */
    while (wire->phase == WIRE_UP) {
        PGnotify *notify = PQnotifies(wire->pg);
        if (notify == NULL) return;
        if (wire->conn->notified) wire->conn->notified(wire->conn, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

static void take_all(struct stores__pg_wire *wire) {
    wire->open_handles++; /* who is told may close the connection: the wire stays until we return */
    wire->taking = true;
    take_answers(wire);
    take_notifications(wire);
    wire->taking = false;
    if (is_heard(wire) && PQstatus(wire->pg) == CONNECTION_BAD) stores__pg_break(wire);
    stores__pg_handle_gone(wire);
}

/* ---- The socket ------------------------------------------------------------------------------ */

void stores__pg_on_answer(uv_poll_t *poll, int status, int events) {
    struct stores__pg_wire *wire = stores__pg_wire_of(poll, status);
    if (wire == NULL) return;
    struct stores__pg_conn *conn = wire->conn;
    if (status < 0) {
        /* libpq's read finds out what is wrong: at first it may give the server's last words, and
         * the end only when it reads again */
        events = UV_READABLE;
        stores__pg_watch(wire, UV_READABLE);
        if (wire->phase == WIRE_BROKEN) return;
    }
    if (events & UV_READABLE) conn->common->heard_at = uv_now(wire->loop);
    if (conn->silent > 0 || conn->place == STORES__PG_STALLED) conn->common->hooks->heard(conn);
    if ((events & UV_READABLE) && !PQconsumeInput(wire->pg)) {
        take_all(wire);
        if (wire->phase != WIRE_CLOSED) stores__pg_break(wire);
        return;
    }
    /* reading goes on while writing, or both sides could wait for each other */
    if (events & UV_WRITABLE) {
        int left = PQflush(wire->pg);
        if (left < 0) {
            stores__pg_break(wire);
            return;
        }
        if (left == 0 && wire->copy.feeding) {
            stores__pg_copy_feed(wire);
        } else if (left == 0) {
            stores__pg_watch(wire, UV_READABLE);
        }
    }
    take_all(wire);
}

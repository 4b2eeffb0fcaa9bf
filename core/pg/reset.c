/* What a text of somebody left in a session is taken back before anybody else gets the connection.
 * That is DISCARD ALL, but for the engine's own prepared statements, which stay: on one core 60 us
 * of the server instead of 30, where preparing them again would take it milliseconds. A session
 * starts with what stands in the startup packet, or is set by a statement where that is refused,
 * and with on_connect: RESET ALL brings the first back, and the others run again. */
#include "pg/citus.h"
#include "pg/wire.h"

/* Settings first, for a text may have left a limit that these would meet. RESET ROLE as well, for a
 * role may come with a role of its own (ALTER ROLE .. SET role), which the line before it drops. */
static const char *const reset_sql[] = {"RESET ALL",        "SET SESSION AUTHORIZATION DEFAULT",
                                        "RESET ROLE",       "CLOSE ALL",
                                        "UNLISTEN *",       "DISCARD TEMP",
                                        "DISCARD SEQUENCES"};

/* Ends locks of the session, and counts prepared statements: PREPARE makes those from SQL, the
 * protocol those of the engine. */
#define LEFT_SQL(more)                                                                             \
    "SELECT pg_catalog.pg_advisory_unlock_all(), pg_catalog.count(*) "                             \
    "FILTER (WHERE from_sql) AS made,"                                                             \
    " pg_catalog.count(*) FILTER (WHERE NOT from_sql) AS own" more                                 \
    " FROM pg_catalog.pg_prepared_statements"
static const char left_sql[] = LEFT_SQL("");
static const char left_check_sql[] = LEFT_SQL(", " STORES__PG_CHECK_SQL);

static int count_of(const PGresult *result, const char *column) {
    return atoi(PQgetvalue(result, 0, PQfnumber(result, column)));
}

void stores__pg_reset_took(struct stores__pg_wire *wire, PGresult *result) {
    struct stores__pg_conn *conn = wire->conn;
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK && PQfnumber(result, "made") >= 0) {
        /* made by the text, or dropped by it */
        bool differs = count_of(result, "made") > 0 ||
                       count_of(result, "own") < wire->statement_count;
        if (differs && !wire->pooler) wire->deallocate = true;
    } else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        conn->reset_failed = true;
        /* behind the text that failed, for it shares its Sync: it is taken back with the ROLLBACK
         * that comes, or when the holder gives the connection back */
        if (wire->pooler && !conn->resetting) conn->foreign = true;
        PQclear(wire->prepare_error); /* why one of them could not be prepared concerns nobody */
        wire->prepare_error = NULL;
    }
    PQclear(result);
}

static void add_all(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    for (size_t i = 0; i < sizeof reset_sql / sizeof *reset_sql; i++) {
        stores__pg_add_entry(conn, req, ENTRY_RESET, reset_sql[i], 0, NULL, true);
    }
    const char *settings = conn->common->params.settings;
    if (settings != NULL) stores__pg_add_entry(conn, req, ENTRY_RESET, settings, 0, NULL, true);
    if (conn->citus && !conn->wire->pooler) {
        stores__pg_add_entry(conn, req, ENTRY_RESET, "SELECT " STORES__PG_CITUS_SET, 0, NULL, true);
    }
    const char *last = stores__pg_checks_client(conn->wire) ? left_check_sql : left_sql;
    stores__pg_add_entry(conn, req, ENTRY_RESET, last, 0, NULL, true);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void reset_over(struct stores__pg_req *req, enum stores__pg_end end);

/* What its request did is done, also where the connection was lost since. */
static void tell_waiter(struct stores__pg_conn *conn) {
    struct stores__pg_req *waiter = conn->reset_waiter;
    conn->reset_waiter = NULL;
    conn->resetting = false;
    if (waiter != NULL) waiter->done(waiter, STORES__PG_SYNCED);
}

/* The pool may give the connection to somebody at once, behind whose text it is reset again: its
 * waiter, and that it is being reset, are of that one then. */
static void is_over(struct stores__pg_conn *conn) {
    struct stores__pg_req *waiter = conn->reset_waiter;
    conn->reset_waiter = NULL;
    conn->resetting = false;
    conn->common->hooks->was_reset(conn);
    if (waiter != NULL) waiter->done(waiter, STORES__PG_SYNCED);
}

static void took_on_connect(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, reset);
    stores_error error;
    (void)index;
    if (!stores__pg_result_ok(result, &error)) conn->reset_failed = true;
    stores__pg_result_free(result);
}

static void set_up_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, reset);
    if (end == STORES__PG_LOST) {
        tell_waiter(conn);
    } else {
        is_over(conn);
    }
}

/* The same that a new session is given behind on_connect. */
static void pin(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, reset);
    if (end == STORES__PG_LOST || conn->reset_failed) {
        set_up_over(req, end);
        return;
    }
    req->result = NULL;
    req->done = set_up_over;
    stores__pg_begin(conn, req);
    stores__pg_add_entry(conn, req, ENTRY_RESET, stores__pg_session_pins, 0, NULL, false);
    stores__pg_sync(conn, req);
}

static void deallocate(struct stores__pg_conn *conn) {
    struct stores__pg_wire *wire = conn->wire;
    wire->deallocate = false;
    stores__pg_statements_clear(wire);
    stores__pg_begin(conn, &conn->reset);
    stores__pg_add_entry(conn, &conn->reset, ENTRY_RESET, "DEALLOCATE ALL", 0, NULL, false);
    stores__pg_sync(conn, &conn->reset);
}

/* What it stood behind may have failed in a transaction that it was to commit: then the server
 * takes nothing back before a ROLLBACK, which it would warn of where there is none. */
static void send_all(struct stores__pg_conn *conn, bool rollback) {
    struct stores__pg_req *req = &conn->reset;
    conn->reset_failed = false;
    stores__pg_begin(conn, req);
    conn->wire->in_error = false; /* the transaction is over by then */
    if (rollback) stores__pg_add_entry(conn, req, ENTRY_RESET, "ROLLBACK", 0, NULL, true);
    add_all(conn, req);
    stores__pg_sync(conn, req);
}

static void reset_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, reset);
    if (end == STORES__PG_LOST) { /* the pool hears of it itself */
        tell_waiter(conn);
        return;
    }
    conn->silent = 0;
    const char *on_connect = conn->common->on_connect;
    if (conn->reset_failed && stores__pg_has_failed(conn)) {
        send_all(conn, true);
    } else if (conn->reset_failed) {
        is_over(conn);
    } else if (conn->wire->deallocate) {
        deallocate(conn);
    } else if (on_connect != NULL) {
        req->result = took_on_connect;
        req->done = pin;
        stores__pg_simple(conn, req, on_connect);
    } else {
        is_over(conn);
    }
}

void stores__pg_reset(struct stores__pg_conn *conn) {
    if (!stores__pg_is_up(conn)) return;
    conn->foreign = false;
    conn->resetting = true;
    conn->reset.result = NULL;
    conn->reset.done = reset_over;
    conn->common->stats.resets++;
    send_all(conn, false);
}

void stores__pg_foreign(struct stores__pg_conn *conn, const char *sql) {
    struct stores__pg_wire *wire = conn->wire;
    struct stores__sql_known known = {.effect = STORES__SQL_ROWS};
    if (sql != NULL) known = stores__sql_know(&conn->common->texts, sql);
    if (known.effect == STORES__SQL_NOTHING) return;
    conn->foreign = true;
    if (known.effect == STORES__SQL_ROWS) return;
    conn->texts++;
    /* what it drops is not to be missed by the engine's statements behind it */
    if (wire != NULL && known.drops_statements) {
        wire->deallocate = !wire->pooler;
        stores__pg_statements_clear(wire);
    }
}

void stores__pg_sync_last(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    bool foreign = conn->foreign && stores__pg_is_up(conn);
    if (foreign && conn->wire->pooler) {
        /* the next request may reach another server: this one is the pooler's up to the Sync */
        conn->foreign = false;
        add_all(conn, req);
        foreign = false;
    }
    if (foreign && conn->resetting) foreign = false;
    req->after_reset = foreign && conn->texts > 0;
    stores__pg_sync(conn, req);
    if (foreign) stores__pg_reset(conn);
}

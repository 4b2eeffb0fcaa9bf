/* What a call with a connection of its own sends, step by step. */
#include "write/calls_internal.h"

#include "sql/effect.h"

static void enter(struct stores__own_call *call, enum stores__call_step step) {
    call->step = step;
    call->statement = call->named = call->named_last = call->asked = call->marking.index = -1;
}

/* The request of a step: what it adds is found by where it stands. */
static void begin(struct stores__own_call *call, enum stores__call_step step) {
    enter(call, step);
    stores__pg_begin(call->conn, &call->req);
}

void stores__call_ask_names(struct stores__own_call *call) {
    begin(call, CALL_NAMES);
    call->named = stores__call_add_names(call);
    stores__commit_add_past(call->engine, call->conn, &call->req);
    stores__call_add_signs(call);
    stores__pg_sync(call->conn, &call->req);
}

void stores__call_send_simple(struct stores__own_call *call) {
    enter(call, CALL_RUNNING);
    call->statement = 0;
    stores__pg_simple(call->conn, &call->req, call->sql);
}

static const char *begin_text(const struct stores__own_call *call) {
    return call->options.readonly ? "BEGIN READ ONLY" : "BEGIN";
}

/* BEGIN is sent by itself, for what comes behind it is no pipeline. */
static void send_begin(struct stores__own_call *call) {
    begin(call, CALL_BEGIN);
    stores__pg_add(call->conn, &call->req, begin_text(call), 0, NULL, false);
    if (call->invalidates != NULL) call->named = stores__call_add_names(call);
    stores__pg_sync(call->conn, &call->req);
}

/* Behind a transaction pooler what a text leaves in a session, a lock of it above all, can be taken
 * back only while the pooler keeps the server for us: where it fails, in its transaction. Whoever
 * asks for none may call what refuses to run in one. */
static bool is_kept_open(const struct stores__own_call *call) {
    const struct stores__pg_conn *conn = call->conn;
    struct stores__pg_pool *pool = &call->engine->pool;
    return pool->pooler && conn->foreign && !conn->citus && call->way != WAY_ITSELF &&
           stores__sql_know(&pool->common.texts, call->sql).stands_anywhere;
}

/* The question which tables were written. What the caller says of it is added to the answer, and
 * does not replace it: a cascade or a trigger may reach further than he knows. */
static void add_question(struct stores__own_call *call) {
    if (call->invalidates != NULL) call->named_last = stores__call_add_names(call);
    call->asked = stores__commit_add_question(call->engine, call->conn, &call->req);
}

static void send_statement(struct stores__own_call *call) {
    struct stores__pg_req *req = &call->req;
    bool told = call->way == WAY_READS || call->way == WAY_ASKED; /* of tables that it names */
    bool opened = told || is_kept_open(call);
    begin(call, CALL_RUNNING);
    if (opened) stores__pg_add(call->conn, req, begin_text(call), 0, NULL, false);
    if (told && call->invalidates != NULL) call->named = stores__call_add_names(call);
    call->statement = req->added;
    stores__pg_add(call->conn, req, call->sql, call->count, call->values, false);
    stores__call_add_mark(call);
    if (call->way == WAY_ASKED) {
        add_question(call);
        stores__pg_sync(call->conn, req);
        return;
    }
    if (opened) stores__pg_add(call->conn, req, "COMMIT", 0, NULL, false);
    stores__pg_sync_last(call->conn, req);
}

void stores__call_send_text(struct stores__own_call *call) {
    stores__pg_foreign(call->conn, call->sql);
    if (call->table != NULL && call->table->runs) stores__pg_foreign(call->conn, NULL);
    if (call->way == WAY_SEVERAL) {
        send_begin(call);
    } else if (call->options.simple) {
        stores__call_send_simple(call);
    } else {
        send_statement(call);
    }
}

void stores__call_ask_locks(struct stores__own_call *call) {
    begin(call, CALL_LOCKS);
    add_question(call);
    if (stores__sql_mentions(call->sql, "savepoint")) {
        stores__commit_add_last(call->conn, &call->req);
    }
    stores__pg_sync(call->conn, &call->req);
}

void stores__call_send_rollback(struct stores__own_call *call) {
    call->req.result = NULL;
    stores__pg_give_up_in(call->conn, STORES__PG_GRACE_MS); /* nobody's deadline ends it any more */
    begin(call, CALL_ENDING);
    stores__pg_add(call->conn, &call->req, "ROLLBACK", 0, NULL, true);
    stores__pg_sync_last(call->conn, &call->req);
}

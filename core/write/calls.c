/*
 * Calls that take a connection of their own, for they may take long: selects, and queries whose
 * writes nobody can name. One deadline covers waiting, running and reading; a caller that leaves has
 * its statement canceled on the server, and the connection counts until it is idle again.
 */
#include "write/calls_internal.h"

#include <stdio.h>

#include "names/names.h"
#include "sql/effect.h"

enum { LOST_TRIES = 1 }; /* runs of what only reads, after the first one */

/* ---- The end --------------------------------------------------------------------------------- */

void stores__call_free(struct stores__own_call *call) {
    stores__pg_insist_over(&call->insist);
    stores__commit_free(call->commit);
    stores__table_let_go(call->table);
    if (call->result != NULL) stores__pg_result_free(call->result);
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_let_go(call->turned[i]);
    free(call->turned);
    free(call->invalidates);
    stores__buf_free(&call->missing);
    free(call->sql);
    free(call->memory);
    free(call->values);
    stores__error_free(call->error);
    free(call);
}

/* Why it fails, in place of what was said before. */
void stores__call_fail(struct stores__own_call *call, stores_code code, const char *text) {
    stores__error_free(call->error);
    call->error = stores__error_new(code, "%s", text);
}

void stores__call_answer(struct stores__own_call *call, const stores_error *error) {
    stores_op *op = call->op;
    if (op == NULL) return;
    call->op = NULL;
    if (error != NULL) {
        if (error->code == STORES_TABLE_NOT_FOUND) stores__table_forget_names(call->engine);
        stores__op_fail(op, error);
        return;
    }
    op->result = call->result;
    call->result = NULL;
    op->source = 'p';
    if (op->result != NULL) op->affected = stores__pg_affected(op->result);
    stores__op_finish(op);
}

void stores__call_close(struct stores__own_call *call) {
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_end_turn(call->turned[i]);
    if (call->conn != NULL) stores__pg_release(call->conn);
    stores__call_free(call);
}

static void ended(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* a connection that is not idle is closed by the pool */
    stores__call_close(STORES__CONTAINER(req, struct stores__own_call, req));
}

static void send_end(struct stores__own_call *call, const char *sql) {
    call->step = CALL_ENDING;
    call->req.result = NULL;
    call->req.done = ended;
    stores__pg_give_up_in(call->conn, STORES__PG_GRACE_MS); /* nobody's deadline ends it any more */
    stores__pg_begin(call->conn, &call->req);
    stores__pg_add(call->conn, &call->req, sql, 0, NULL, true);
    stores__pg_sync_last(call->conn, &call->req);
}

void stores__call_end_failed(struct stores__own_call *call, const stores_error *error) {
    stores__call_answer(call, error);
    if (call->conn != NULL && stores__pg_in_transaction(call->conn)) {
        send_end(call, "ROLLBACK");
    } else {
        stores__call_close(call);
    }
}

static void committed(void *arg, const stores_error *error) {
    struct stores__own_call *call = arg;
    call->commit = NULL;
    stores__call_answer(call, error);
    stores__call_close(call);
}

/* ---- Running --------------------------------------------------------------------------------- */

/* It was said to read only, outside of a transaction that could keep it from writing. */
static bool wrote_unasked(const struct stores__own_call *call, int index, const char *tag) {
    if (!call->options.autocommit || !call->options.readonly || call->step != CALL_RUNNING) {
        return false;
    }
    if (call->options.simple) return stores__sql_several_write(call->sql, tag);
    return index == call->statement && stores__sql_tag_writes(tag);
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__own_call *call = STORES__CONTAINER(req, struct stores__own_call, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (call->error == NULL && error.code != STORES_OK) {
            stores__pg_explain_read_only(req, &error);
            call->error = stores__error_dup(&error);
            call->stray_cancel = stores__pg_stray_cancel(call->conn, req, &error);
        }
        stores__pg_result_free(result);
        return;
    }
    bool simple = call->step == CALL_RUNNING && call->options.simple;
    if (wrote_unasked(call, index, stores__pg_tag(result))) stores__turn_all(call->engine);
    if (simple && stores__sql_tag_controls(stores__pg_tag(result))) call->ended = true;
    if (call->invalidates != NULL && call->commit != NULL &&
        (index == call->named || index == call->named_last)) {
        stores__call_take_names(call, result, index == call->named_last);
    } else if (index == call->asked && call->commit != NULL) {
        stores__commit_take_locks(call->commit, result);
    } else if (simple || index == call->statement) {
        /* of several statements the last one that gave rows counts, else the last one */
        bool keep = call->result == NULL || stores__pg_has_rows(result) ||
                    !stores__pg_has_rows(call->result);
        if (keep) {
            if (call->result != NULL) stores__pg_result_free(call->result);
            call->result = result;
            return;
        }
    }
    stores__pg_result_free(result);
}

/* A statement that commits itself may have done part of its work, or all of it. */
static void end_failed(struct stores__own_call *call) {
    /* of several statements some may have been committed by their own COMMIT, before the failure */
    bool ended = call->error != NULL && call->step == CALL_RUNNING && call->options.simple &&
                 (call->options.autocommit ? call->result != NULL
                                           : !stores__pg_in_transaction(call->conn));
    if (ended && call->error->code != STORES_CONNECTION_LOST) {
        if (!call->options.autocommit) stores__turn_all(call->engine);
        stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    }
    if (call->options.autocommit && call->turned_count > 0 && call->step == CALL_RUNNING) {
        stores__call_turn(call, CALL_TURNING_AGAIN);
    } else {
        stores__call_end_failed(call, call->error);
    }
}

/* No COMMIT of ours follows the statement: what the server does of it stays. It is done when the
 * connection is idle again, and no sooner: a result alone comes before the commit. */
static bool commits_itself(const struct stores__own_call *call) {
    if (call->step != CALL_RUNNING || call->select || call->options.readonly) return false;
    return call->options.autocommit || (call->commit == NULL && !call->options.simple);
}

/* What only reads, and lost its connection or was canceled by somebody else, runs once more, on
 * another connection. */
static bool run_again(struct stores__own_call *call) {
    bool reads = call->select || call->options.readonly;
    if (!reads || call->op == NULL || stores__closing(call->engine) || call->tries >= LOST_TRIES) {
        return false;
    }
    struct stores__pg_conn *conn = call->conn;
    call->tries++;
    call->conn = NULL;
    call->op->retries++;
    stores__error_free(call->error);
    call->error = NULL;
    stores__pg_release(conn);
    stores__call_run(call);
    return true;
}

static bool lost(struct stores__own_call *call, enum stores__pg_end end) {
    if (end != STORES__PG_LOST) {
        bool stray = call->error != NULL && call->stray_cancel;
        return call->step == CALL_RUNNING && stray && run_again(call);
    }
    if (call->error == NULL || call->error->code != STORES_CONNECTION_LOST) {
        stores__call_fail(call, STORES_CONNECTION_LOST,
                          "the connection was lost while the statement ran");
    }
    if (run_again(call)) return true;
    if (commits_itself(call) && call->req.sent) {
        stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    }
    end_failed(call);
    return true;
}

static void over(struct stores__pg_req *req, enum stores__pg_end end);

/* The question which tables were written. What the caller says of it is added to the answer, and does
 * not replace it: a cascade or a trigger may reach further than he knows. */
static void add_question(struct stores__own_call *call) {
    if (call->invalidates != NULL) call->named_last = stores__call_add_names(call);
    call->asked = stores__commit_add_question(call->conn, &call->req);
}

static void ask_locks(struct stores__own_call *call) {
    call->step = CALL_LOCKS;
    stores__pg_begin(call->conn, &call->req);
    add_question(call);
    stores__pg_sync(call->conn, &call->req);
}

/* The transaction is open and the statement has run: what it wrote is known, or was not asked. */
static void end_transaction(struct stores__own_call *call) {
    struct stores__commit *commit = call->commit ? call->commit : stores__commit_new(call->engine);
    if (commit == NULL) {
        stores__call_fail(call, STORES_NO_MEMORY, "no memory for a COMMIT");
        stores__call_end_failed(call, call->error);
        return;
    }
    call->commit = NULL;
    call->step = CALL_COMMITTING;
    stores__commit_start(commit, call->conn, committed, call);
}

static void send_simple(struct stores__own_call *call) {
    call->step = CALL_RUNNING;
    call->statement = 0;
    call->asked = call->named = call->named_last = -1;
    stores__pg_simple(call->conn, &call->req, call->sql);
}

/* A text of the caller ended our transaction, and perhaps began another one. */
static void was_ended(struct stores__own_call *call) {
    stores__turn_all(call->engine);
    stores__call_fail(call, STORES_UNSUPPORTED,
                      "the statements ended the transaction that they ran in");
    stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    stores__call_end_failed(call, call->error);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__own_call *call = STORES__CONTAINER(req, struct stores__own_call, req);
    stores__pg_insist_over(&call->insist);
    if (lost(call, end)) return;
    if (call->error != NULL) {
        end_failed(call);
        return;
    }
    /* the caller left: what a transaction did is not kept, what was not sent yet is not sent */
    if (call->op == NULL && (!call->options.autocommit || call->step == CALL_NAMES)) {
        stores__call_end_failed(call, NULL);
        return;
    }
    switch (call->step) {
    case CALL_NAMES: stores__call_turn_first(call); break;
    case CALL_BEGIN: send_simple(call); break;
    case CALL_RUNNING:
        if (call->options.autocommit && call->turned_count > 0) {
            stores__call_turn(call, CALL_TURNING_AGAIN);
        } else if (call->options.autocommit) {
            stores__call_answer(call, NULL);
            stores__call_close(call);
        } else if (!stores__pg_in_transaction(call->conn)) {
            /* one statement that was its own transaction, or the text ended ours */
            if (call->options.simple) {
                was_ended(call);
            } else {
                stores__call_answer(call, NULL);
                stores__call_close(call);
            }
        } else if (call->ended) {
            was_ended(call);
        } else if (call->commit != NULL && call->options.simple) {
            ask_locks(call);
        } else {
            end_transaction(call);
        }
        break;
    case CALL_LOCKS: end_transaction(call); break;
    default: stores__call_end_failed(call, call->error);
    }
}

static const char *begin_text(const struct stores__own_call *call) {
    return call->options.readonly ? "BEGIN READ ONLY" : "BEGIN";
}

void stores__call_send(struct stores__own_call *call) {
    struct stores__pg_conn *conn = call->conn;
    struct stores__pg_req *req = &call->req;
    /* a text of which it is not known that it only reads is kept from writing by the server */
    bool transaction = !call->options.autocommit && (!call->select || call->options.readonly);
    stores__pg_foreign(conn, call->sql);
    req->result = took;
    req->done = over;
    if (call->options.simple) {
        if (!transaction) {
            send_simple(call);
            return;
        }
        call->step = CALL_BEGIN;
        call->statement = -1;
        stores__pg_begin(conn, req);
        stores__pg_add(conn, req, begin_text(call), 0, NULL, false);
        if (call->invalidates != NULL) call->named = stores__call_add_names(call);
        stores__pg_sync(conn, req);
        return;
    }
    /* a lone statement is a transaction by itself where nobody has to look into it */
    bool opened = transaction && (call->commit != NULL || call->options.readonly);
    call->step = CALL_RUNNING;
    call->named = -1;
    stores__pg_begin(conn, req);
    if (opened) stores__pg_add(conn, req, begin_text(call), 0, NULL, false);
    if (opened && call->invalidates != NULL) call->named = stores__call_add_names(call);
    call->statement = req->added;
    stores__pg_add(conn, req, call->sql, call->count, call->values, false);
    if (opened && call->options.readonly) {
        stores__pg_add(conn, req, "COMMIT", 0, NULL, false);
    } else if (opened) {
        add_question(call);
    }
    if (opened && !call->options.readonly) {
        stores__pg_sync(conn, req);
    } else {
        stores__pg_sync_last(conn, req);
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__own_call *call = STORES__CONTAINER(wait, struct stores__own_call, wait);
    call->conn = conn;
    if (call->op != NULL) stores__op_phase(call->op, STORES__PHASE_POSTGRES);
    stores__error_free(call->error);
    call->error = NULL;
    call->asked = call->named = call->named_last = -1;
    call->req.result = took;
    call->req.done = over;
    call->req.readonly = call->options.readonly;
    if (call->options.autocommit && call->invalidates != NULL && call->commit != NULL) {
        call->step = CALL_NAMES;
        stores__pg_begin(conn, &call->req);
        call->named = stores__call_add_names(call);
        stores__call_add_signs(call);
        stores__pg_sync(conn, &call->req);
        return;
    }
    stores__call_send(call);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__own_call *call = STORES__CONTAINER(wait, struct stores__own_call, wait);
    stores__call_answer(call, error);
    stores__call_free(call);
}

void stores__call_run(struct stores__own_call *call) {
    call->step = CALL_WAITING;
    if (call->op != NULL) stores__op_phase(call->op, stores__pg_wait_phase(&call->engine->pool));
    call->wait.urgent = call->op != NULL && !stores__list_empty(&call->op->inside_link);
    call->wait.granted = granted;
    call->wait.failed = refused;
    stores__pg_acquire(&call->engine->pool, &call->wait, STORES__PG_CHECKED_OUT, "queries");
}

stores_outcome stores__call_leave(stores_op *op) {
    struct stores__own_call *call = op->stage;
    call->op = NULL;
    switch (call->step) {
    case CALL_WAITING:
        stores__pg_unwait(&call->wait);
        stores__call_free(call);
        return STORES_OUTCOME_NONE;
    case CALL_COMMITTING:
        stores__pg_give_up_in(call->conn, STORES__PG_GRACE_MS);
        return STORES_OUTCOME_UNKNOWN;
    case CALL_TURNING_AGAIN:
        return call->error != NULL ? call->error->outcome : STORES_OUTCOME_COMMITTED;
    case CALL_ENDING:
    case CALL_TURNING: return STORES_OUTCOME_NONE;
    default: break;
    }
    stores__pg_insist(&call->insist, call->conn);
    return commits_itself(call) ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
}

/*
 * Calls that take a connection of their own, for they may take long: selects, and queries whose
 * writes nobody can name. One deadline covers waiting, running and reading; a caller that leaves has
 * its statement canceled on the server, and the connection counts until it is idle again.
 */
#include "calls.h"

#include <stdio.h>

#include "commit.h"

enum { GRACE_MS = 5000, LOST_TRIES = 1 };

enum call_step {
    CALL_WAITING, /* for a connection */
    CALL_NAMES, /* which tables `invalidates` means (autocommit) */
    CALL_TURNING, /* their epochs, before a statement that commits itself */
    CALL_BEGIN, /* before several statements in one text */
    CALL_RUNNING,
    CALL_TURNING_AGAIN, /* after it: the first turn may have ended before the statement locked */
    CALL_LOCKS, /* what did they write? */
    CALL_COMMITTING,
    CALL_ENDING /* ROLLBACK */
};

struct call {
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
    enum call_step step;
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__timer grace;
    struct stores__commit *commit;
    struct stores__table **turned;
    size_t turned_count, turns_waiting;
    struct pg_result *result;
    bool failed, turn_failed, select;
    stores_error error;
    unsigned char tries;
    int statement; /* index of the caller's statement in the request */

    stores_query_options options;
    char *invalidates; /* an array of quoted names, as PostgreSQL reads it */
    char *sql, *memory;
    int count;
    const char **values;
};

/* The tables of a list of names, in the form of stores__commit_locks_sql. */
static const char names_sql[] =
    "WITH RECURSIVE tree AS ("
    " SELECT pg_catalog.to_regclass(x)::pg_catalog.oid AS oid FROM pg_catalog.unnest($1::text[]) x"
    " UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN tree ON i.inhrelid = tree.oid)"
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid,"
    " c.relkind IN ('r', 'p') AND c.relpersistence <> 't', false, false"
    " FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/* ---- Arguments ------------------------------------------------------------------------------- */

bool stores__params_fit(stores_op *op, const stores_params *params) {
    if (params == NULL || (params->count >= 0 && params->count <= 65535)) return true;
    stores__op_failf(op, STORES_INVALID_ARGUMENT, "PostgreSQL takes 65535 parameters at most");
    return false;
}

char *stores__params_copy(const stores_params *params, const char ***values) {
    struct stores__buf buf = {0};
    int count = params ? params->count : 0;
    *values = calloc((size_t)count + 1, sizeof **values);
    stores__buf_add(&buf, "", 1);
    for (int i = 0; i < count; i++) {
        if (params->values[i])
            stores__buf_add(&buf, params->values[i], strlen(params->values[i]) + 1);
    }
    if (*values == NULL || buf.failed) {
        free(*values);
        *values = NULL;
        stores__buf_free(&buf);
        return NULL;
    }
    const char *at = buf.data + 1;
    for (int i = 0; i < count; i++) {
        (*values)[i] = params->values[i] ? at : NULL;
        if (params->values[i]) at += strlen(at) + 1;
    }
    return buf.data;
}

static bool copy_names(struct call *call, const stores_query_options *options,
                       stores_error *error) {
    struct stores__buf buf = {0};
    char quoted[STORES__TABLE_NAME_MAX];
    stores__buf_str(&buf, "{");
    for (int i = 0; i < options->invalidates_count; i++) {
        if (!stores__table_parse(options->invalidates[i], quoted, sizeof quoted, error)) {
            stores__buf_free(&buf);
            return false;
        }
        stores__buf_str(&buf, i ? ",\"" : "\"");
        for (const char *c = quoted; *c; c++) {
            if (*c == '"' || *c == '\\') stores__buf_str(&buf, "\\");
            stores__buf_add(&buf, c, 1);
        }
        stores__buf_str(&buf, "\"");
    }
    stores__buf_str(&buf, "}");
    const char *text = stores__buf_text(&buf);
    call->invalidates = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    if (call->invalidates == NULL)
        stores__error_set(error, STORES_NO_MEMORY, "no memory for names");
    return call->invalidates != NULL;
}

/* ---- The end --------------------------------------------------------------------------------- */

static void call_free(struct call *call) {
    stores__timer_stop(&call->engine->timers, &call->grace);
    stores__commit_free(call->commit);
    if (call->result != NULL) stores__pg_result_free(call->result);
    free(call->turned);
    free(call->invalidates);
    free(call->sql);
    free(call->memory);
    free(call->values);
    free(call);
}

static void answer(struct call *call, const stores_error *error) {
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

static void close_call(struct call *call) {
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_end_turn(call->turned[i]);
    if (call->conn != NULL) stores__pg_release(call->conn);
    call_free(call);
}

static void ended(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* a connection that is not idle is closed by the pool */
    close_call(STORES__CONTAINER(req, struct call, req));
}

static void send_end(struct call *call, const char *sql) {
    call->step = CALL_ENDING;
    call->req.result = NULL;
    call->req.done = ended;
    stores__pg_begin(call->conn, &call->req);
    stores__pg_add(call->conn, &call->req, sql, 0, NULL, true);
    stores__pg_sync(call->conn, &call->req);
}

static void fail_call(struct call *call, const stores_error *error) {
    answer(call, error);
    if (call->conn != NULL && stores__pg_in_transaction(call->conn)) {
        send_end(call, "ROLLBACK");
    } else {
        close_call(call);
    }
}

static void committed(void *arg, const stores_error *error) {
    struct call *call = arg;
    call->commit = NULL;
    answer(call, error);
    close_call(call);
}

/* ---- Running --------------------------------------------------------------------------------- */

static void bypass_turns(struct call *call) {
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_bypassed(call->turned[i]);
}

static void run(struct call *call);
static void turn_all(struct call *call, enum call_step step);

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct call *call = STORES__CONTAINER(req, struct call, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (!call->failed && error.code != STORES_OK) {
            call->failed = true;
            call->error = error;
        }
        stores__pg_result_free(result);
        return;
    }
    bool simple = call->step == CALL_RUNNING && call->options.simple;
    if (call->step == CALL_LOCKS || call->step == CALL_NAMES ||
        (!simple && index > call->statement && call->commit != NULL)) {
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
static void end_failed(struct call *call) {
    /* of several statements some may have been committed by their own COMMIT, before the failure */
    bool ended = call->failed && call->step == CALL_RUNNING && call->options.simple &&
                 (call->options.autocommit ? call->result != NULL
                                           : !stores__pg_in_transaction(call->conn));
    if (ended && call->error.code != STORES_CONNECTION_LOST) {
        if (call->commit != NULL) stores__commit_was_ended(call->commit);
        call->error.outcome = STORES_OUTCOME_UNKNOWN;
        call->error.retryable = false;
    }
    if (call->options.autocommit && call->turned_count > 0 && call->step == CALL_RUNNING) {
        turn_all(call, CALL_TURNING_AGAIN);
    } else {
        fail_call(call, call->failed ? &call->error : NULL);
    }
}

/* No COMMIT of ours follows the statement: what the server does of it stays. It is done when the
 * connection is idle again, and no sooner: a result alone comes before the commit. */
static bool commits_itself(const struct call *call) {
    if (call->step != CALL_RUNNING || call->select || call->options.readonly) return false;
    return call->options.autocommit || (call->commit == NULL && !call->options.simple);
}

static bool lost(struct call *call, enum stores__pg_end end) {
    if (end != STORES__PG_LOST) return false;
    if (!call->failed || call->error.code != STORES_CONNECTION_LOST) {
        stores__error_set(&call->error, STORES_CONNECTION_LOST,
                          "the connection was lost while the statement ran");
    }
    bool reads = call->select || call->options.readonly;
    if (reads && call->op != NULL && call->tries++ < LOST_TRIES && !call->engine->closing) {
        struct stores__pg_conn *conn = call->conn;
        call->conn = NULL;
        call->failed = false;
        stores__pg_release(conn);
        run(call);
        return true;
    }
    if (commits_itself(call) && call->req.sent) {
        call->error.outcome = STORES_OUTCOME_UNKNOWN;
        call->error.retryable = false;
    }
    call->failed = true;
    end_failed(call);
    return true;
}

static void over(struct stores__pg_req *req, enum stores__pg_end end);

static void ask_locks(struct call *call) {
    call->step = CALL_LOCKS;
    stores__pg_begin(call->conn, &call->req);
    if (call->invalidates != NULL) {
        const char *values[] = {call->invalidates};
        stores__pg_add(call->conn, &call->req, names_sql, 1, values, true);
    } else {
        stores__pg_add(call->conn, &call->req, stores__commit_locks_sql, 0, NULL, true);
    }
    stores__pg_sync(call->conn, &call->req);
}

/* The transaction is open and the statement has run: what it wrote is known, or was not asked. */
static void end_transaction(struct call *call) {
    struct stores__commit *commit = call->commit ? call->commit : stores__commit_new(call->engine);
    if (commit == NULL) {
        stores__error_set(&call->error, STORES_NO_MEMORY, "no memory for a COMMIT");
        fail_call(call, &call->error);
        return;
    }
    call->commit = NULL;
    call->step = CALL_COMMITTING;
    stores__commit_start(commit, call->conn, committed, call);
}

static void send_simple(struct call *call) {
    call->step = CALL_RUNNING;
    call->statement = 0;
    stores__pg_simple(call->conn, &call->req, call->sql);
}

static void send_statement(struct call *call);

static void turned(void *arg, bool ok) {
    struct call *call = arg;
    if (!ok) call->turn_failed = true;
    if (--call->turns_waiting > 0) return;
    if (call->step == CALL_TURNING_AGAIN) {
        if (call->turn_failed) bypass_turns(call);
        answer(call, call->failed ? &call->error : NULL);
        close_call(call);
        return;
    }
    if (call->turn_failed && call->engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR) {
        stores__error_set(&call->error, STORES_CACHE_FAILURE, "Redis could not be told");
        fail_call(call, &call->error);
        return;
    }
    if (call->turn_failed) bypass_turns(call);
    if (call->op == NULL) {
        fail_call(call, NULL);
    } else {
        send_statement(call);
    }
}

static void turn_all(struct call *call, enum call_step step) {
    call->step = step;
    call->turn_failed = false;
    call->turns_waiting = 1;
    for (size_t i = 0; i < call->turned_count; i++) {
        call->turns_waiting++;
        if (stores__epoch_turn(call->turned[i], turned, call) == NULL) {
            call->turns_waiting--;
            call->turn_failed = true;
        }
    }
    turned(call, true);
}

/* A statement that commits itself: its tables are turned before it is sent. */
static void turn_first(struct call *call) {
    call->turned = stores__commit_turns(call->commit, &call->turned_count);
    stores__commit_free(call->commit);
    call->commit = NULL;
    turn_all(call, CALL_TURNING);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct call *call = STORES__CONTAINER(req, struct call, req);
    stores__timer_stop(&call->engine->timers, &call->grace);
    if (lost(call, end)) return;
    if (call->failed) {
        end_failed(call);
        return;
    }
    /* the caller left: what a transaction did is not kept, what was not sent yet is not sent */
    if (call->op == NULL && (!call->options.autocommit || call->step == CALL_NAMES)) {
        fail_call(call, NULL);
        return;
    }
    switch (call->step) {
    case CALL_NAMES: turn_first(call); break;
    case CALL_BEGIN: send_simple(call); break;
    case CALL_RUNNING:
        if (call->options.autocommit && call->turned_count > 0) {
            turn_all(call, CALL_TURNING_AGAIN);
        } else if (call->options.autocommit) {
            answer(call, NULL);
            close_call(call);
        } else if (!stores__pg_in_transaction(call->conn)) {
            /* one statement that was its own transaction, or the text ended ours */
            if (call->options.simple) {
                if (call->commit != NULL) stores__commit_was_ended(call->commit);
                stores__error_set(&call->error, STORES_UNSUPPORTED,
                                  "the statements ended the transaction that they ran in");
                call->error.outcome = STORES_OUTCOME_UNKNOWN;
                answer(call, &call->error);
            } else {
                answer(call, NULL);
            }
            close_call(call);
        } else if (call->commit != NULL && call->options.simple) {
            ask_locks(call);
        } else {
            end_transaction(call);
        }
        break;
    case CALL_LOCKS: end_transaction(call); break;
    default: fail_call(call, &call->error);
    }
}

static const char *begin_text(const struct call *call) {
    return call->options.readonly ? "BEGIN READ ONLY" : "BEGIN";
}

static void send_statement(struct call *call) {
    struct stores__pg_conn *conn = call->conn;
    struct stores__pg_req *req = &call->req;
    bool transaction = !call->options.autocommit && !call->select;
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
        stores__pg_sync(conn, req);
        return;
    }
    /* a lone statement is a transaction by itself where nobody has to look into it */
    bool opened = transaction && (call->commit != NULL || call->options.readonly);
    call->step = CALL_RUNNING;
    call->statement = opened ? 1 : 0;
    stores__pg_begin(conn, req);
    if (opened) stores__pg_add(conn, req, begin_text(call), 0, NULL, false);
    stores__pg_add(conn, req, call->sql, call->count, call->values, false);
    if (opened && call->options.readonly) {
        stores__pg_add(conn, req, "COMMIT", 0, NULL, false);
    } else if (opened && call->invalidates != NULL) {
        const char *values[] = {call->invalidates};
        stores__pg_add(conn, req, names_sql, 1, values, true);
    } else if (opened) {
        stores__pg_add(conn, req, stores__commit_locks_sql, 0, NULL, true);
    }
    stores__pg_sync(conn, req);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct call *call = STORES__CONTAINER(wait, struct call, wait);
    call->conn = conn;
    if (call->op != NULL) stores__op_phase(call->op, STORES__PHASE_POSTGRES);
    call->failed = false;
    call->req.result = took;
    call->req.done = over;
    if (call->options.autocommit && call->invalidates != NULL && call->commit != NULL) {
        call->step = CALL_NAMES;
        stores__pg_begin(conn, &call->req);
        const char *values[] = {call->invalidates};
        stores__pg_add(conn, &call->req, names_sql, 1, values, false);
        stores__pg_sync(conn, &call->req);
        return;
    }
    send_statement(call);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct call *call = STORES__CONTAINER(wait, struct call, wait);
    answer(call, error);
    call_free(call);
}

static void run(struct call *call) {
    call->step = CALL_WAITING;
    if (call->op != NULL) stores__op_phase(call->op, stores__pg_wait_phase(&call->engine->pool));
    call->wait.granted = granted;
    call->wait.failed = refused;
    stores__pg_acquire(&call->engine->pool, &call->wait, STORES__PG_CHECKED_OUT, "queries");
}

static void give_up(struct stores__timer *timer) {
    struct call *call = STORES__CONTAINER(timer, struct call, grace);
    stores__pg_discard(call->conn); /* the cancel did not help: its loss ends the call */
}

static stores_outcome leave_call(stores_op *op) {
    struct call *call = op->stage;
    stores_engine *engine = call->engine;
    call->op = NULL;
    switch (call->step) {
    case CALL_WAITING:
        stores__pg_unwait(&call->wait);
        call_free(call);
        return STORES_OUTCOME_NONE;
    case CALL_COMMITTING: return STORES_OUTCOME_UNKNOWN;
    case CALL_TURNING_AGAIN: return call->failed ? call->error.outcome : STORES_OUTCOME_COMMITTED;
    case CALL_ENDING:
    case CALL_TURNING: return STORES_OUTCOME_NONE;
    default: break;
    }
    call->grace.fire = give_up;
    stores__timer_set(&engine->timers, &call->grace, stores__now(engine) + GRACE_MS);
    stores__pg_cancel(call->conn);
    return commits_itself(call) ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static struct call *call_new(stores_op *op, const char *sql, const stores_params *params) {
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    call->engine = op->engine;
    call->op = op;
    call->count = params ? params->count : 0;
    call->sql = stores__strdup(sql ? sql : "");
    call->memory = stores__params_copy(params, &call->values);
    stores__list_init(&call->wait.link);
    if (call->sql == NULL || call->memory == NULL) {
        call_free(call);
        return NULL;
    }
    return call;
}

static void dispose_call(stores_op *op) {
    call_free(op->stage);
}

static void start(struct call *call) {
    stores_op *op = call->op;
    op->stage = call;
    op->leave = leave_call;
    op->dispose = NULL;
    run(call);
}

static void select_resolved(stores_op *op, struct stores__table *table) {
    struct call *call = op->stage;
    char *sql = stores__table_expand(table, call->sql);
    if (sql == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return;
    }
    free(call->sql);
    call->sql = sql;
    start(call);
}

stores_op *stores_select(stores_engine *engine, const stores_call *call, const char *table,
                         const char *sql, const stores_params *params) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING || !stores__params_fit(op, params)) {
        return op;
    }
    struct call *select = call_new(op, sql, params);
    if (select == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return op;
    }
    select->select = true;
    op->verb = STORES__VERB_SELECT;
    op->stage = select;
    op->dispose = dispose_call;
    op->resolved = select_resolved;
    stores__table_resolve(op, table);
    return op;
}

static bool prepare_query(struct call *call, stores_error *error) {
    stores_engine *engine = call->engine;
    const stores_query_options *options = &call->options;
    bool named = options->invalidates != NULL;
    if (engine->cache == NULL || options->readonly) return true;
    if (options->autocommit && !named) {
        stores__error_set(error, STORES_INVALID_OPTION,
                          "a query outside a transaction must say which tables it writes: "
                          "invalidates = {...}, or readonly = true");
        return false;
    }
    if (engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR &&
        !stores__cache_up(engine->cache)) {
        stores__error_set(error, STORES_CACHE_FAILURE,
                          "Redis is not reachable, and on_cache_failure is 'error'");
        return false;
    }
    if (named && !copy_names(call, options, error)) return false;
    call->commit = stores__commit_new(engine);
    if (call->commit == NULL) stores__error_set(error, STORES_NO_MEMORY, "no memory for a query");
    return call->commit != NULL;
}

stores_op *stores_query(stores_engine *engine, const stores_call *call, const char *sql,
                        const stores_params *params, const stores_query_options *options) {
    stores_error error;
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING || !stores__params_fit(op, params)) {
        return op;
    }
    struct call *query = call_new(op, sql, params);
    if (query == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return op;
    }
    op->verb = STORES__VERB_QUERY;
    if (options != NULL) query->options = *options;
    if (!prepare_query(query, &error)) {
        call_free(query);
        stores__op_fail(op, &error);
        return op;
    }
    query->options.invalidates = NULL; /* the caller's memory; they are copied */
    start(query);
    return op;
}

/*
 * Explicit transactions: one connection from the first statement to COMMIT or ROLLBACK, one op at a
 * time. An op that ends early (deadline, its caller left) ends the transaction with it: what the
 * server did of the statement is not known, so all of it is rolled back.
 */
#include <stdio.h>

#include "calls.h"
#include "statement.h"

enum { GRACE_MS = 5000, SAVEPOINTS_MAX = 64 };

enum tx_state {
    TX_NEW, /* no connection yet */
    TX_OPEN,
    TX_ENDING, /* COMMIT or ROLLBACK is under way */
    TX_ENDED
};

enum txop_kind {
    TXOP_FIND,
    TXOP_WRITE,
    TXOP_SELECT,
    TXOP_QUERY,
    TXOP_SAVEPOINT,
    TXOP_RELEASE,
    TXOP_ROLLBACK_TO,
    TXOP_COMMIT,
    TXOP_ROLLBACK
};

struct txop {
    stores_tx *tx;
    enum txop_kind kind;
    struct stores__table *table;
    char *sql, *memory;
    int count;
    const char **values;
    struct stores__statement *statement; /* WRITE */
    bool commit; /* WRITE: commit right after it */
    bool simple, readonly, lock;
    int index; /* of its statement in the request */
    int check; /* of the question about its table before it, plus one; 0: none */
    unsigned doubts; /* of the table when it was asked for */
    bool xid_asked, begun_here;
    struct pg_result *result;
};

struct stores_tx {
    struct stores__list link; /* engine->txs */
    stores_engine *engine;
    stores_tx_options options;
    enum tx_state state;
    bool begun, freed, xid_known, lost;
    stores_op *op; /* the op under way; NULL: none, or it left */
    struct txop *txop; /* its details, also after the op left */
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__timer grace;
    struct stores__flush flush; /* a tx that was freed open is rolled back at the tick's end */
    struct stores__commit *commit;
    size_t marks[SAVEPOINTS_MAX];
    int depth;
    bool failed;
    stores_error error;
};

static void send_op(stores_tx *tx);

/* ---- Ends ------------------------------------------------------------------------------------ */

static void txop_free(struct txop *txop) {
    if (txop == NULL) return;
    if (txop->result != NULL) stores__pg_result_free(txop->result);
    stores__statement_free(txop->statement);
    free(txop->sql);
    free(txop->memory);
    free(txop->values);
    free(txop);
}

static void tx_destroy(stores_tx *tx) {
    stores__list_remove(&tx->link);
    stores__list_remove(&tx->flush.link);
    stores__timer_stop(&tx->engine->timers, &tx->grace);
    stores__commit_free(tx->commit);
    txop_free(tx->txop);
    stores__engine_op_gone(tx->engine);
    free(tx);
}

/* The transaction is over: its connection goes back, and a tx that nobody holds goes too. */
static void end_tx(stores_tx *tx) {
    struct stores__pg_conn *conn = tx->conn;
    tx->state = TX_ENDED;
    tx->conn = NULL;
    stores__timer_stop(&tx->engine->timers, &tx->grace);
    if (conn != NULL) {
        /* what a session was given (locks, settings) is not passed on to others */
        if (tx->options.session) stores__pg_discard(conn);
        stores__pg_release(conn);
    }
    stores__commit_free(tx->commit);
    tx->commit = NULL;
    if (tx->freed) tx_destroy(tx);
}

/* Answers the op under way; what it had is freed. */
static void answer(stores_tx *tx, const stores_error *error) {
    stores_op *op = tx->op;
    struct txop *txop = tx->txop;
    tx->op = NULL;
    tx->txop = NULL;
    if (op != NULL) {
        if (error != NULL) {
            if (error->code == STORES_TABLE_NOT_FOUND) stores__table_forget_names(tx->engine);
            stores__op_fail(op, error);
        } else {
            if (txop != NULL && txop->result != NULL) {
                op->result = txop->result;
                op->affected = stores__pg_affected(op->result);
                txop->result = NULL;
            }
            op->source = 'p';
            stores__op_finish(op);
        }
    }
    txop_free(txop);
}

static void rolled_back(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    (void)end; /* a lost connection is rolled back as well */
    tx->engine->counters.rollbacks++;
    answer(tx, NULL);
    end_tx(tx);
}

static void send_rollback(stores_tx *tx) {
    tx->state = TX_ENDING;
    if (tx->conn == NULL || !stores__pg_in_transaction(tx->conn)) {
        answer(tx, NULL);
        end_tx(tx);
        return;
    }
    tx->req.result = NULL;
    tx->req.done = rolled_back;
    stores__pg_begin(tx->conn, &tx->req);
    stores__pg_add(tx->conn, &tx->req, "ROLLBACK", 0, NULL, true);
    stores__pg_sync(tx->conn, &tx->req);
}

static void committed(void *arg, const stores_error *error) {
    stores_tx *tx = arg;
    tx->commit = NULL; /* it frees itself */
    answer(tx, error);
    end_tx(tx);
}

static void phase_changed(void *arg, enum stores__phase phase) {
    stores_tx *tx = arg;
    if (tx->op != NULL) stores__op_phase(tx->op, phase);
}

static void start_commit(stores_tx *tx) {
    struct stores__commit *commit = tx->commit;
    tx->state = TX_ENDING;
    if (!tx->begun) {
        answer(tx, NULL);
        end_tx(tx);
        return;
    }
    tx->commit = NULL;
    stores__commit_watch(commit, phase_changed);
    stores__commit_start(commit, tx->conn, committed, tx);
}

/* ---- Results --------------------------------------------------------------------------------- */

static bool keep_document(stores_op *op, struct pg_result *result) {
    struct stores__blob *blob = stores__blob_new(result, stores__pg_result_free);
    if (blob == NULL) {
        stores__pg_result_free(result);
        return false;
    }
    for (int row = 0; row < stores__pg_rows(result); row++) {
        size_t len = 0;
        const char *id_text = stores__pg_value(result, row, 0, NULL);
        const char *text = stores__pg_value(result, row, 1, &len);
        int64_t id = id_text ? strtoll(id_text, NULL, 10) : 0;
        if (text == NULL) text = "null", len = 4;
        for (size_t i = 0; i < op->doc_count; i++) {
            if (op->docs[i].id == id && op->docs[i].text == NULL) {
                stores__op_set_doc(op, i, id, text, len, blob);
            }
        }
    }
    stores__blob_drop(blob);
    return true;
}

static void take_answer(stores_tx *tx, struct pg_result *result) {
    struct txop *txop = tx->txop;
    bool ok = true;
    switch (txop->kind) {
        case TXOP_FIND:
            if (tx->op != NULL) {
                ok = keep_document(tx->op, result);
            } else {
                stores__pg_result_free(result);
            }
            break;
        case TXOP_WRITE:
            tx->failed = !stores__statement_take(txop->statement, tx->op, result, tx->commit,
                                                 &tx->error);
            if (stores__statement_reaches(txop->statement)) stores__commit_ask_locks(tx->commit, false);
            break;
        default:
            if (txop->result == NULL || stores__pg_has_rows(result) ||
                !stores__pg_has_rows(txop->result)) {
                if (txop->result != NULL) stores__pg_result_free(txop->result);
                txop->result = result;
            } else {
                stores__pg_result_free(result);
            }
    }
    if (!ok) {
        tx->failed = true;
        stores__error_set(&tx->error, STORES_NO_MEMORY, "no memory for a document");
    }
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    struct txop *txop = tx->txop;
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (!tx->failed && error.code != STORES_OK) {
            tx->failed = true;
            tx->error = error;
            if (stores__pg_stale_plan(&error, result)) {
                /* the transaction failed with it; as after any conflict, the next run of it works */
                stores__pg_forget_statements(tx->conn);
                tx->error.code = STORES_SERIALIZATION;
                tx->error.retryable = true;
            }
        }
    } else if (txop->check > 0 && index == txop->check - 1) {
        if (stores__pg_rows(result) == 1) {
            stores__table_learn(txop->table, result, 0);
            if (txop->table->doubts == txop->doubts) txop->table->checked = tx->conn->serial;
        }
    } else if (txop->simple || index == txop->index) {
        take_answer(tx, result);
        return;
    } else if (txop->xid_asked && index == txop->index + 1) {
        stores__commit_take_xid(tx->commit, result);
        tx->xid_known = true;
    }
    stores__pg_result_free(result);
}

static void after_savepoint(stores_tx *tx, const struct txop *txop) {
    if (txop->kind == TXOP_SAVEPOINT) {
        tx->marks[tx->depth++] = stores__commit_mark(tx->commit);
    } else if (txop->kind == TXOP_RELEASE) {
        tx->depth--;
    } else if (txop->kind == TXOP_ROLLBACK_TO) {
        stores__commit_rolled_back(tx->commit, tx->marks[--tx->depth]);
    }
}

static void lost(stores_tx *tx) {
    if (!tx->failed || tx->error.code != STORES_CONNECTION_LOST) {
        stores__error_set(&tx->error, STORES_CONNECTION_LOST,
                          "the connection was lost, and the transaction with it");
    }
    if (tx->options.session) {
        tx->error.outcome = STORES_OUTCOME_UNKNOWN;
        tx->error.retryable = false;
    }
    tx->lost = true;
    answer(tx, &tx->error);
    end_tx(tx);
}

/* The text of a query has ended the transaction, so or so. */
static void was_ended(stores_tx *tx) {
    stores__commit_was_ended(tx->commit);
    stores__error_set(&tx->error, STORES_UNSUPPORTED,
                      "the statement ended the transaction that it ran in");
    tx->error.outcome = STORES_OUTCOME_UNKNOWN;
    answer(tx, &tx->error);
    end_tx(tx);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    struct txop *txop = tx->txop;
    stores__timer_stop(&tx->engine->timers, &tx->grace);
    if (end == STORES__PG_LOST) {
        lost(tx);
        return;
    }
    if (txop->begun_here) tx->begun = stores__pg_in_transaction(tx->conn);
    if (tx->op == NULL) { /* it left: so does the transaction */
        send_rollback(tx);
        return;
    }
    if (!tx->failed && txop->simple && txop->index < 0) {
        send_op(tx); /* BEGIN is out; now the text of several statements */
        return;
    }
    if (tx->begun && !stores__pg_in_transaction(tx->conn)) {
        was_ended(tx);
        return;
    }
    if (tx->failed) {
        bool ends = txop->commit && !tx->options.session;
        if (ends) {
            /* the caller asked for the end of it: this is the other one */
            stores_error error = tx->error;
            answer(tx, &error);
            send_rollback(tx);
        } else {
            answer(tx, &tx->error);
        }
        return;
    }
    after_savepoint(tx, txop);
    if (txop->kind == TXOP_WRITE && txop->commit) {
        start_commit(tx);
    } else {
        answer(tx, NULL);
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static const char *begin_sql(const stores_tx *tx) {
    static const char *const texts[3][2] = {
        {"BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"},
        {"BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
        {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"}};
    return texts[tx->options.isolation][tx->options.readonly];
}

static const char *savepoint_sql(const stores_tx *tx, const struct txop *txop, char out[80]) {
    int name = txop->kind == TXOP_SAVEPOINT ? tx->depth + 1 : tx->depth;
    switch (txop->kind) {
        case TXOP_SAVEPOINT: snprintf(out, 80, "SAVEPOINT stores_%d", name); break;
        case TXOP_RELEASE: snprintf(out, 80, "RELEASE SAVEPOINT stores_%d", name); break;
        default: snprintf(out, 80, "ROLLBACK TO SAVEPOINT stores_%d", name);
    }
    return out;
}

static void add_op(stores_tx *tx, struct txop *txop) {
    struct stores__pg_conn *conn = tx->conn;
    char text[80];
    switch (txop->kind) {
        case TXOP_WRITE:
            stores__pg_add(conn, &tx->req, txop->statement->sql, txop->statement->count,
                           txop->statement->values, true);
            if (!tx->xid_known) { /* for the intents, and to ask after a COMMIT that was lost */
                txop->xid_asked = true;
                stores__pg_add(conn, &tx->req, stores__commit_xid_sql, 0, NULL, true);
            }
            break;
        case TXOP_SAVEPOINT:
        case TXOP_RELEASE:
        case TXOP_ROLLBACK_TO:
            stores__pg_add(conn, &tx->req, savepoint_sql(tx, txop, text), 0, NULL, true);
            break;
        default:
            stores__pg_add(conn, &tx->req, txop->sql, txop->count, txop->values,
                           txop->kind == TXOP_FIND);
    }
}

static void send_op(stores_tx *tx) {
    struct txop *txop = tx->txop;
    if (tx->op != NULL) stores__op_phase(tx->op, STORES__PHASE_POSTGRES);
    bool begin = !tx->begun && !tx->options.session;
    tx->failed = false;
    tx->req.result = took;
    tx->req.done = over;
    if (txop->simple && !begin) {
        txop->index = 0;
        stores__pg_simple(tx->conn, &tx->req, txop->sql);
        return;
    }
    stores__pg_begin(tx->conn, &tx->req);
    if (begin) {
        txop->begun_here = true;
        stores__pg_add(tx->conn, &tx->req, begin_sql(tx), 0, NULL, true);
        if (tx->engine->pool.pooler) {
            stores__pg_add(tx->conn, &tx->req,
                           "SET LOCAL idle_in_transaction_session_timeout = 15000", 0, NULL, false);
        }
    }
    if (txop->kind == TXOP_WRITE && tx->engine->cache != NULL &&
        txop->table->checked < tx->conn->serial) {
        /* the facts of a table are to be no older than the connection that writes to it */
        const char *values[] = {txop->table->name};
        txop->check = tx->req.added + 1;
        txop->doubts = txop->table->doubts;
        stores__pg_add(tx->conn, &tx->req, stores__table_sql, 1, values, true);
    }
    txop->index = tx->req.added;
    if (txop->simple) {
        txop->index = -1;
    } else {
        add_op(tx, txop);
    }
    stores__pg_sync(tx->conn, &tx->req);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    stores_tx *tx = STORES__CONTAINER(wait, stores_tx, wait);
    tx->conn = conn;
    tx->state = TX_OPEN;
    send_op(tx);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    stores_tx *tx = STORES__CONTAINER(wait, stores_tx, wait);
    answer(tx, error);
    if (tx->freed) end_tx(tx);
}

static void give_up(struct stores__timer *timer) {
    stores_tx *tx = STORES__CONTAINER(timer, stores_tx, grace);
    if (tx->conn != NULL) stores__pg_discard(tx->conn);
}

static stores_outcome leave_tx(stores_op *op) {
    stores_tx *tx = op->stage;
    stores_engine *engine = tx->engine;
    tx->op = NULL;
    if (tx->conn == NULL) {
        stores__pg_unwait(&tx->wait);
        txop_free(tx->txop);
        tx->txop = NULL;
        return STORES_OUTCOME_NONE;
    }
    if (tx->state == TX_ENDING) {
        return tx->txop && tx->txop->kind == TXOP_ROLLBACK ? STORES_OUTCOME_NONE
                                                           : STORES_OUTCOME_UNKNOWN;
    }
    tx->grace.fire = give_up;
    stores__timer_set(&engine->timers, &tx->grace, stores__now(engine) + GRACE_MS);
    stores__pg_cancel(tx->conn);
    return tx->options.session ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
}

/* The op's arguments are complete: off to the connection. */
static void start_op(stores_tx *tx) {
    struct txop *txop = tx->txop;
    tx->op->leave = leave_tx;
    tx->op->dispose = NULL;
    tx->op->stage = tx;
    if (txop->kind == TXOP_COMMIT) {
        start_commit(tx);
    } else if (txop->kind == TXOP_ROLLBACK) {
        send_rollback(tx);
    } else if (tx->conn != NULL) {
        send_op(tx);
    } else {
        tx->wait.granted = granted;
        tx->wait.failed = refused;
        stores__pg_acquire(&tx->engine->pool, &tx->wait, STORES__PG_CHECKED_OUT,
                           tx->options.session ? "sessions" : "transactions");
    }
}

/* ---- Ops ------------------------------------------------------------------------------------- */

/* An op left, or failed, before its table was known: the tx is free for the next one. */
static void dispose_txop(stores_op *op) {
    stores_tx *tx = op->stage;
    tx->op = NULL;
    txop_free(tx->txop);
    tx->txop = NULL;
}

/* A new op on the tx, which takes txop; NULL: it failed already, or there is no memory. */
static stores_op *new_op(stores_tx *tx, const stores_call *call, enum txop_kind kind,
                         struct txop **made) {
    stores_op *op = stores__op_new(tx->engine, call);
    *made = NULL;
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    if (tx->state == TX_ENDED || tx->state == TX_ENDING) {
        stores__op_failf(op, STORES_TX_ENDED, tx->lost ? "the transaction was lost with its connection"
                                                       : "the transaction is over");
        return op;
    }
    if (tx->txop != NULL) {
        stores__op_failf(op, STORES_TX_BUSY, "the transaction waits for another call");
        return op;
    }
    bool ends = kind == TXOP_COMMIT || kind == TXOP_ROLLBACK || kind == TXOP_ROLLBACK_TO;
    if (!ends && kind != TXOP_QUERY && tx->conn != NULL && stores__pg_has_failed(tx->conn)) {
        stores_error error; /* what the server would say to any statement */
        stores__error_from_pg(&error, "25P02", "a statement of this transaction failed before",
                              NULL, NULL, NULL, NULL);
        stores__op_fail(op, &error);
        return op;
    }
    struct txop *txop = calloc(1, sizeof *txop);
    if (txop == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a transaction");
        return op;
    }
    txop->tx = tx;
    txop->kind = kind;
    tx->txop = txop;
    tx->op = op;
    op->stage = tx;
    op->dispose = dispose_txop;
    op->verb = STORES__VERB_TRANSACTION;
    *made = txop;
    return op;
}

static void resolve(stores_tx *tx, stores_op *op, const char *table) {
    if (tx->conn != NULL) {
        stores__table_resolve_on(op, table, tx->conn);
    } else {
        stores__table_resolve(op, table);
    }
}

static void no_memory(stores_op *op) {
    stores__op_failf(op, STORES_NO_MEMORY, "no memory for a transaction");
}

static void find_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    struct txop *txop = tx->txop;
    struct stores__buf buf = {0};
    txop->table = table;
    if (op->doc_count == 0) {
        answer(tx, NULL);
        return;
    }
    const char *sql = op->doc_count == 1 ? table->find_sql : table->find_any_sql;
    stores__buf_str(&buf, sql);
    if (txop->lock) stores__buf_str(&buf, " FOR UPDATE");
    const char *text = stores__buf_text(&buf);
    txop->sql = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    if (op->doc_count > 1) stores__buf_str(&buf, "{");
    for (size_t i = 0; i < op->doc_count; i++) {
        stores__buf_fmt(&buf, i ? ",%lld" : "%lld", (long long)op->docs[i].id);
    }
    if (op->doc_count > 1) stores__buf_str(&buf, "}");
    const char *ids = stores__buf_text(&buf);
    stores_params params = {.count = 1, .values = &ids};
    txop->memory = ids ? stores__params_copy(&params, &txop->values) : NULL;
    txop->count = 1;
    stores__buf_free(&buf);
    if (txop->sql == NULL || txop->memory == NULL) {
        no_memory(op);
    } else {
        start_op(tx);
    }
}

stores_op *stores_tx_find_many(stores_tx *tx, const stores_call *call, const char *table,
                               const int64_t *ids, size_t count) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, TXOP_FIND, &txop);
    if (txop == NULL) return op;
    if (!stores__op_docs(op, count)) {
        no_memory(op);
        return op;
    }
    for (size_t i = 0; i < count; i++) op->docs[i].id = ids[i];
    op->resolved = find_resolved;
    resolve(tx, op, table);
    return op;
}

stores_op *stores_tx_find(stores_tx *tx, const stores_call *call, const char *table, int64_t id,
                          bool lock) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, TXOP_FIND, &txop);
    if (txop == NULL) return op;
    txop->lock = lock;
    stores__op_docs(op, 1);
    op->docs[0].id = id;
    op->resolved = find_resolved;
    resolve(tx, op, table);
    return op;
}

static void write_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    stores_error error;
    tx->txop->table = table;
    if (!stores__statement_bind(tx->txop->statement, table)) {
        no_memory(op);
    } else if (tx->options.session && stores__cache_covers(table)) {
        stores__op_failf(op, STORES_UNSUPPORTED,
                         "a session has no transaction whose writes could be told to Redis");
    } else if (!stores__commit_may_write(table, &error)) {
        stores__op_fail(op, &error);
    } else {
        start_op(tx);
    }
}

stores_op *stores_tx_write(stores_tx *tx, const stores_call *call, const stores_change *change,
                           bool commit) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, TXOP_WRITE, &txop);
    if (txop == NULL || !stores__params_fit(op, &change->params)) return op;
    txop->statement = stores__statement_new(change);
    txop->commit = commit;
    if (txop->statement == NULL || !stores__op_docs(op, 1)) {
        no_memory(op);
        return op;
    }
    op->id = op->docs[0].id = change->id;
    op->resolved = write_resolved;
    resolve(tx, op, change->table);
    return op;
}

static bool take_text(struct txop *txop, const char *sql, const stores_params *params) {
    txop->sql = stores__strdup(sql ? sql : "");
    txop->count = params ? params->count : 0;
    txop->memory = stores__params_copy(params, &txop->values);
    return txop->sql != NULL && txop->memory != NULL;
}

static void select_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    char *sql = stores__table_expand(table, tx->txop->sql);
    if (sql == NULL) {
        no_memory(op);
        return;
    }
    free(tx->txop->sql);
    tx->txop->sql = sql;
    start_op(tx);
}

stores_op *stores_tx_select(stores_tx *tx, const stores_call *call, const char *table,
                            const char *sql, const stores_params *params) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, TXOP_SELECT, &txop);
    if (txop == NULL || !stores__params_fit(op, params)) return op;
    if (!take_text(txop, sql, params)) {
        no_memory(op);
        return op;
    }
    op->resolved = select_resolved;
    resolve(tx, op, table);
    return op;
}

stores_op *stores_tx_query(stores_tx *tx, const stores_call *call, const char *sql,
                           const stores_params *params, const stores_query_options *options) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, TXOP_QUERY, &txop);
    if (txop == NULL || !stores__params_fit(op, params)) return op;
    if (!take_text(txop, sql, params)) {
        no_memory(op);
        return op;
    }
    txop->simple = options && options->simple;
    txop->readonly = options && options->readonly;
    if (!txop->readonly && !tx->options.readonly && !tx->options.session && tx->engine->cache) {
        stores__commit_ask_locks(tx->commit, true);
    }
    start_op(tx);
    return op;
}

static stores_op *plain_op(stores_tx *tx, const stores_call *call, enum txop_kind kind) {
    struct txop *txop;
    stores_op *op = new_op(tx, call, kind, &txop);
    if (txop == NULL) return op;
    if ((kind == TXOP_SAVEPOINT && tx->depth == SAVEPOINTS_MAX) ||
        ((kind == TXOP_RELEASE || kind == TXOP_ROLLBACK_TO) && tx->depth == 0)) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "savepoints nest at most %d deep",
                         SAVEPOINTS_MAX);
        return op;
    }
    start_op(tx);
    return op;
}

stores_op *stores_tx_savepoint(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_SAVEPOINT);
}

stores_op *stores_tx_release(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_RELEASE);
}

stores_op *stores_tx_rollback_to(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_ROLLBACK_TO);
}

stores_op *stores_tx_commit(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_COMMIT);
}

stores_op *stores_tx_rollback(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_ROLLBACK);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void roll_back_abandoned(struct stores__flush *flush) {
    stores_tx *tx = STORES__CONTAINER(flush, stores_tx, flush);
    if (tx->txop == NULL && tx->state == TX_OPEN) send_rollback(tx);
}

stores_tx *stores_tx_new(stores_engine *engine, const stores_tx_options *options) {
    stores_tx *tx = calloc(1, sizeof *tx);
    if (tx == NULL) return NULL;
    tx->engine = engine;
    if (options != NULL) tx->options = *options;
    tx->commit = stores__commit_new(engine);
    if (tx->commit == NULL) {
        free(tx);
        return NULL;
    }
    stores__list_init(&tx->wait.link);
    stores__list_init(&tx->flush.link);
    tx->flush.run = roll_back_abandoned;
    stores__list_append(&engine->txs, &tx->link);
    engine->live_ops++; /* the engine stays as long as somebody holds its tx */
    return tx;
}

void stores_tx_free(stores_tx *tx) {
    if (tx == NULL || tx->freed) return;
    tx->freed = true;
    if (tx->op != NULL) stores__op_end_early(tx->op, STORES_ABANDONED, "the transaction was given up");
    if (tx->state == TX_NEW || tx->state == TX_ENDED) {
        stores__pg_unwait(&tx->wait);
        if (tx->state == TX_NEW) {
            end_tx(tx);
        } else {
            tx_destroy(tx);
        }
    } else if (!tx->engine->closing) {
        stores__flush_at_end(tx->engine, &tx->flush);
    } else if (tx->txop == NULL && tx->state == TX_OPEN) {
        end_tx(tx); /* its connection is closed, and perhaps no tick will come any more */
    }
}

/*
 * Explicit transactions: one connection from the first statement to COMMIT or ROLLBACK, one op at a
 * time. An op that ends early (deadline, its caller left) ends the transaction with it: what the
 * server did of the statement is not known, so all of it is rolled back.
 */
#include <stdio.h>

#include "base/sized.h"
#include "sql/effect.h"
#include "write/starve.h"
#include "write/tx_internal.h"

static void send_op(stores_tx *tx);

/* ---- Ends ------------------------------------------------------------------------------------ */

void stores__txop_free(struct stores__txop *txop) {
    if (txop == NULL) return;
    if (txop->result != NULL) stores__pg_result_free(txop->result);
    stores__statement_free(txop->statement);
    stores__table_let_go(txop->table);
    free(txop->sql);
    free(txop->memory);
    free(txop->values);
    free(txop);
}

/* The one that was kept before goes. */
static void keep_error(stores_tx *tx, stores_error *error) {
    stores__error_free(tx->error);
    tx->error = error;
}

static void forget_facts(stores_tx *tx) {
    while (tx->table_count > 0) stores__table_let_go(tx->tables[--tx->table_count].table);
}

static void tx_destroy(stores_tx *tx) {
    stores__list_remove(&tx->link);
    stores__starve_forget(tx);
    stores__list_remove(&tx->flush.link);
    stores__pg_insist_over(&tx->insist);
    stores__commit_free(tx->commit);
    stores__txop_free(tx->txop);
    stores__error_free(tx->error);
    stores__error_free(tx->wrong);
    stores__own_names_free(&tx->names);
    forget_facts(tx);
    free(tx->marks);
    stores__engine_op_gone(tx->engine);
    free(tx);
}

/* The transaction is over: its connection goes back, and a tx that nobody holds goes too. */
static void end_tx(stores_tx *tx) {
    struct stores__pg_conn *conn = tx->conn;
    tx->state = TX_ENDED;
    tx->conn = NULL;
    stores__pg_insist_over(&tx->insist);
    if (conn != NULL) {
        if (tx->options.session || tx->options.close) stores__pg_discard(conn);
        stores__pg_release(conn);
    }
    stores__commit_free(tx->commit);
    tx->commit = NULL;
    if (tx->freed) tx_destroy(tx);
}

/* Answers the op under way; what it had is freed. */
void stores__tx_answer(stores_tx *tx, const stores_error *error) {
    stores_op *op = tx->op;
    struct stores__txop *txop = tx->txop;
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
    stores__txop_free(txop);
}

static void rolled_back(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    (void)end; /* a lost connection is rolled back as well */
    tx->engine->counters.rollbacks++;
    stores__tx_answer(tx, NULL);
    end_tx(tx);
}

static void send_rollback(stores_tx *tx) {
    tx->state = TX_ENDING;
    if (tx->conn == NULL || !stores__pg_in_transaction(tx->conn)) {
        stores__tx_answer(tx, NULL);
        end_tx(tx);
        return;
    }
    tx->req.result = NULL;
    tx->req.done = rolled_back;
    stores__pg_give_up_in(tx->conn, STORES__PG_GRACE_MS); /* a backend that hangs says nothing */
    stores__pg_begin(tx->conn, &tx->req);
    stores__pg_add(tx->conn, &tx->req, "ROLLBACK", 0, NULL, true);
    stores__pg_sync_last(tx->conn, &tx->req);
}

static void committed(void *arg, const stores_error *error) {
    stores_tx *tx = arg;
    tx->commit = NULL; /* it frees itself */
    stores__tx_answer(tx, error);
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
        stores__tx_answer(tx, NULL);
        end_tx(tx);
        return;
    }
    tx->commit = NULL;
    stores__commit_watch(commit, phase_changed);
    stores__commit_start(commit, tx->conn, committed, tx);
}

/* ---- Results --------------------------------------------------------------------------------- */

static void take_answer(stores_tx *tx, struct pg_result *result) {
    struct stores__txop *txop = tx->txop;
    enum stores__taken taken;
    stores_error error;
    bool ok = true;
    switch (txop->kind) {
    case TXOP_FIND:
        if (tx->op != NULL) {
            ok = stores__tx_keep_documents(tx->op, result);
        } else {
            stores__pg_result_free(result);
        }
        break;
    case TXOP_WRITE:
        taken = stores__statement_take(txop->statement, tx->op, result, tx->commit, &error);
        txop->unsure = taken == STORES__TAKE_UNSURE;
        tx->failed = taken == STORES__TAKE_FAILED;
        if (tx->failed) keep_error(tx, stores__error_dup(&error));
        if (stores__statement_fires(txop->statement)) stores__pg_foreign(tx->conn, NULL);
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
        keep_error(tx, stores__error_new(STORES_NO_MEMORY, "no memory for a document"));
    }
}

static struct stores__tx_table *confirmed(stores_tx *tx, const struct stores__table *table) {
    for (int i = 0; i < tx->table_count; i++) {
        if (tx->tables[i].table == table) return &tx->tables[i];
    }
    return NULL;
}

/* How far the write under way reaches, by facts that its lock on the table keeps as they are. */
static void look_at_reach(stores_tx *tx, const struct stores__tx_table *facts) {
    bool deletes = tx->txop->statement->kind == STORES_DELETE;
    if (facts->reaches || (facts->cascades && deletes)) stores__commit_reaches(tx->commit);
}

/* The catalog's word on the table, behind its write. */
static void confirm(stores_tx *tx, const struct pg_result *result) {
    struct stores__table *table = tx->txop->table;
    bool right = stores__facts_confirm(table, result);
    if (!right) stores__pg_foreign(tx->conn, NULL); /* perhaps a trigger that came meanwhile */
    struct stores__tx_table facts = {.table = table,
                                     .reaches = !right || !table->cacheable || table->reaches,
                                     .cascades = table->cascades};
    look_at_reach(tx, &facts);
    if (right && !table->loose && tx->table_count < STORES__TX_TABLES) {
        tx->tables[tx->table_count++] = facts;
        stores__table_hold(table);
    }
}

/* What a session wrote is committed, and nobody was told: nor does it say which tables. */
static bool session_wrote(const struct stores__txop *txop, const char *tag) {
    if (txop->kind != TXOP_QUERY) return false;
    return txop->simple ? stores__sql_several_write(txop->sql, tag) : stores__sql_tag_writes(tag);
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    struct stores__txop *txop = tx->txop;
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (!tx->failed && error.code != STORES_OK) {
            tx->failed = true;
            stores__pg_explain_read_only(req, &error);
            if (txop->statement != NULL && index == txop->index) {
                stores__statement_explain(txop->statement, &error);
            }
            if (stores__pg_stale_plan(req)) {
                /* the transaction failed with it; as after any conflict, the next run of it works */
                stores__pg_forget_statements(tx->conn);
                error.code = STORES_SERIALIZATION;
                error.retryable = true;
            }
            keep_error(tx, stores__error_dup(&error));
        }
    } else if (txop->check > 0 && index == txop->check - 1) {
        if (stores__pg_rows(result) == 1) {
            stores__facts_learn(txop->table, result, 0, &txop->asked);
        }
    } else if (txop->simple ? txop->index >= 0 : index == txop->index) { /* not our BEGIN */
        const char *tag = txop->kind == TXOP_QUERY ? stores__pg_tag(result) : "";
        if (!tx->options.session && stores__sql_tag_controls(tag)) txop->ended = true;
        if (tx->options.session && session_wrote(txop, tag)) {
            stores__turn_all(tx->engine);
            txop->wrote_asked = false; /* it is known */
        }
        take_answer(tx, result);
        return;
    } else if (txop->wrote_asked && index == txop->index + 1) {
        if (stores__pg_value(result, 0, 0, NULL) != NULL) stores__turn_all(tx->engine);
    } else if (txop->xid_asked && index == txop->index + 1) {
        stores__commit_take_xid(tx->commit, result);
        tx->xid_known = true;
        if (txop->confirms) confirm(tx, result);
    }
    stores__pg_result_free(result);
}

static void after_savepoint(stores_tx *tx, const struct stores__txop *txop) {
    if (txop->kind == TXOP_SAVEPOINT) {
        tx->marks[tx->depth++] = (uint32_t)stores__commit_mark(tx->commit);
    } else if (txop->kind == TXOP_RELEASE) {
        tx->depth--;
    } else if (txop->kind == TXOP_ROLLBACK_TO) {
        if (tx->conn->texts > 0) tx->conn->texts++; /* settings and tables are as they were */
        stores__commit_rolled_back(tx->commit, tx->marks[--tx->depth]);
        forget_facts(tx); /* locks that were taken since then are given back */
        tx->doomed = false;
    }
}

static void lost(stores_tx *tx) {
    if (!tx->failed || tx->error->code != STORES_CONNECTION_LOST) {
        keep_error(tx, stores__error_new(STORES_CONNECTION_LOST,
                                         "the connection was lost, and the transaction with it"));
    }
    if (tx->options.session) {
        stores__error_outcome(&tx->error, STORES_OUTCOME_UNKNOWN);
    }
    tx->lost = true;
    stores__tx_answer(tx, tx->error);
    end_tx(tx);
}

/* The text of a query has ended the transaction, so or so. */
static void was_ended(stores_tx *tx) {
    stores__turn_all(tx->engine);
    keep_error(tx, stores__error_new(STORES_UNSUPPORTED,
                                     "the statement ended the transaction that it ran in"));
    stores__error_outcome(&tx->error, STORES_OUTCOME_UNKNOWN);
    stores__tx_answer(tx, tx->error);
    send_rollback(tx); /* of what it may have begun instead */
}

static void over(struct stores__pg_req *req, enum stores__pg_end end);

static void took_facts(struct stores__pg_req *req, int index, struct pg_result *result) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    stores_error error;
    (void)index;
    if (!stores__pg_result_ok(result, &error)) {
        tx->failed = true;
        keep_error(tx, stores__error_dup(&error));
    } else if (stores__pg_rows(result) == 1) {
        stores__facts_learn(tx->txop->table, result, 0, &tx->txop->asked);
    }
    stores__pg_result_free(result);
}

/* What triggers did before a row was found to be there cannot be undone alone: the transaction is
 * run again, and its INSERT is of the other form then. */
static void unsure_over(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    struct stores__txop *txop = tx->txop;
    stores_error error;
    txop->unsure = false;
    if (end == STORES__PG_SYNCED && !tx->failed) {
        tx->failed = true;
        txop->doomed = !stores__statement_is_taken(txop->statement, &error);
        keep_error(tx, stores__error_dup(&error));
    }
    over(req, end);
}

/* The table is locked: no trigger comes or goes any more. */
static void ask_unsure(stores_tx *tx) {
    const char *values[] = {tx->txop->table->name};
    tx->req.result = took_facts;
    tx->req.done = unsure_over;
    stores__pg_begin(tx->conn, &tx->req);
    tx->txop->asked = stores__facts_ask(tx->engine, false);
    stores__pg_add(tx->conn, &tx->req, stores__facts_sql, 1, values, true);
    stores__pg_sync(tx->conn, &tx->req);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    struct stores__txop *txop = tx->txop;
    stores__pg_insist_over(&tx->insist);
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
    if (tx->begun && (txop->ended || !stores__pg_in_transaction(tx->conn))) {
        was_ended(tx);
        return;
    }
    if (txop->unsure && !tx->failed) {
        ask_unsure(tx);
        return;
    }
    if (tx->failed) {
        bool ends = (txop->commit && !tx->options.session) || txop->doomed;
        if (ends) {
            /* the caller asked for the end of it: this is the other one */
            stores__tx_answer(tx, tx->error);
            send_rollback(tx);
        } else {
            stores__tx_answer(tx, tx->error);
        }
        return;
    }
    after_savepoint(tx, txop);
    if (txop->kind == TXOP_WRITE && txop->commit) {
        start_commit(tx);
    } else {
        stores__tx_answer(tx, NULL);
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static const char *begin_sql(const stores_tx *tx) {
    static const char *const texts[3][2] = {
        {"BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"},
        {"BEGIN ISOLATION LEVEL REPEATABLE READ",
         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
        {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"}};
    return texts[tx->options.isolation][tx->options.readonly];
}

static const char *savepoint_sql(const stores_tx *tx, const struct stores__txop *txop,
                                 char out[80]) {
    int name = txop->kind == TXOP_SAVEPOINT ? tx->depth + 1 : tx->depth;
    switch (txop->kind) {
    case TXOP_SAVEPOINT: snprintf(out, 80, "SAVEPOINT stores_%d", name); break;
    case TXOP_RELEASE: snprintf(out, 80, "RELEASE SAVEPOINT stores_%d", name); break;
    default: snprintf(out, 80, "ROLLBACK TO SAVEPOINT stores_%d", name);
    }
    return out;
}

/* A session's SELECT is a transaction with what stands behind it up to the Sync. */
static bool asks_what_was_called(const stores_tx *tx, const struct stores__txop *txop) {
    return tx->options.session && tx->engine->cache != NULL && txop->kind == TXOP_QUERY &&
           stores__sql_stands_anywhere(txop->sql) && !stores__sql_only_reads(txop->sql);
}

static void add_op(stores_tx *tx, struct stores__txop *txop) {
    struct stores__pg_conn *conn = tx->conn;
    char text[80];
    switch (txop->kind) {
    case TXOP_WRITE:
        stores__statement_choose(txop->statement, tx->options.session);
        stores__pg_add(conn, &tx->req, txop->statement->sql, txop->statement->count,
                       txop->statement->values, true);
        if (txop->confirms) {
            const char *values[] = {txop->table->name};
            txop->xid_asked = true;
            stores__pg_add(conn, &tx->req, stores__facts_print_sql(txop->table), 1, values, true);
        } else if (!tx->xid_known) {
            /* for the intents, and to ask after a COMMIT that was lost */
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
        if (txop->guarded) {
            /* what the caller says only reads cannot write: COMMIT would not ask about it */
            stores__pg_add(conn, &tx->req, "SAVEPOINT stores_reads", 0, NULL, true);
            stores__pg_add(conn, &tx->req, "SET LOCAL transaction_read_only = on", 0, NULL, true);
            txop->index = tx->req.added;
        }
        stores__pg_add(conn, &tx->req, txop->sql, txop->count, txop->values,
                       txop->kind == TXOP_FIND);
        if (txop->guarded) {
            stores__pg_add(conn, &tx->req, "RELEASE SAVEPOINT stores_reads", 0, NULL, true);
        }
        if (asks_what_was_called(tx, txop)) {
            txop->wrote_asked = true;
            stores__pg_add(conn, &tx->req, stores__commit_xid_if_any_sql, 0, NULL, true);
        }
    }
}

/* The session's limit is right for a transaction that lasts as long as a call; a transaction pooler
 * has no session. */
static void add_idle_limit(stores_tx *tx) {
    const struct stores__pg_pool *pool = &tx->engine->pool;
    uint64_t asked = tx->options.timeout_ms;
    uint64_t ms = asked ? stores__pg_idle_limit(asked) : pool->common.params.idle_ms;
    char text[80];
    if (!pool->pooler && ms <= pool->common.params.idle_ms) return;
    if (ms < pool->common.params.idle_ms) ms = pool->common.params.idle_ms;
    snprintf(text, sizeof text, "SET LOCAL idle_in_transaction_session_timeout = %llu",
             (unsigned long long)ms);
    stores__pg_add(tx->conn, &tx->req, text, 0, NULL, false);
}

/* How far a write reaches: the facts are confirmed behind the first write of each table, and asked in
 * front of it where they are in doubt. Not where all is turned anyway. */
static void add_facts(stores_tx *tx, struct stores__txop *txop) {
    struct stores__table *table = txop->table;
    const struct stores__tx_table *known = confirmed(tx, table);
    if (tx->options.isolation != STORES_READ_COMMITTED) {
        /* the catalog is seen as it was when the transaction began, triggers fire as they are now */
        stores__commit_reaches(tx->commit);
    }
    if (stores__commit_is_reaching(tx->commit)) return;
    if (known != NULL) {
        look_at_reach(tx, known);
        return;
    }
    txop->confirms = true;
    if (table->known) return;
    const char *values[] = {table->name};
    txop->check = tx->req.added + 1;
    txop->asked = stores__facts_ask(tx->engine, false);
    stores__pg_add(tx->conn, &tx->req, stores__facts_sql, 1, values, true);
}

/* The caller's text in what is sent; NULL: there is none. */
static const char *foreign_text(const struct stores__txop *txop) {
    if (txop->kind == TXOP_WRITE) return txop->statement->foreign ? txop->statement->sql : NULL;
    return txop->kind == TXOP_QUERY || txop->kind == TXOP_SELECT ? txop->sql : NULL;
}

static void send_op(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    if (tx->op != NULL) stores__op_phase(tx->op, STORES__PHASE_POSTGRES);
    bool begin = !tx->begun && !tx->options.session;
    tx->failed = false;
    tx->req.result = took;
    tx->req.done = over;
    tx->req.readonly = tx->options.readonly;
    if (foreign_text(txop) != NULL) stores__pg_foreign(tx->conn, foreign_text(txop));
    if (txop->simple && !begin) {
        txop->index = 0;
        stores__pg_simple(tx->conn, &tx->req, txop->sql);
        return;
    }
    stores__pg_begin(tx->conn, &tx->req);
    if (begin) {
        txop->begun_here = true;
        stores__pg_add(tx->conn, &tx->req, begin_sql(tx), 0, NULL, true);
        add_idle_limit(tx);
    }
    if (txop->kind == TXOP_WRITE && tx->engine->cache != NULL && !tx->options.session) {
        add_facts(tx, txop);
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
    stores__tx_answer(tx, error);
    if (tx->freed) end_tx(tx);
}

static stores_outcome leave_tx(stores_op *op) {
    stores_tx *tx = op->stage;
    tx->op = NULL;
    if (tx->conn == NULL) {
        stores__pg_unwait(&tx->wait);
        stores__txop_free(tx->txop);
        tx->txop = NULL;
        return STORES_OUTCOME_NONE;
    }
    if (tx->state == TX_ENDING) {
        stores__pg_give_up_in(tx->conn, STORES__PG_GRACE_MS);
        return tx->txop && tx->txop->kind == TXOP_ROLLBACK ? STORES_OUTCOME_NONE
                                                           : STORES_OUTCOME_UNKNOWN;
    }
    tx->early = op->ends_early;
    stores__pg_insist(&tx->insist, tx->conn);
    return tx->options.session ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
}

/* The op's arguments are complete: off to the connection. */
void stores__tx_start(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
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
        tx->wait.urgent = !stores__list_empty(&tx->op->inside_link);
        tx->wait.granted = granted;
        tx->wait.failed = refused;
        stores__pg_acquire(&tx->engine->pool, &tx->wait, STORES__PG_CHECKED_OUT,
                           tx->options.session ? "sessions" : "transactions");
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void roll_back_abandoned(struct stores__flush *flush) {
    stores_tx *tx = STORES__CONTAINER(flush, stores_tx, flush);
    if (tx->txop == NULL && tx->state == TX_OPEN) send_rollback(tx);
}

void stores__tx_insider(stores_tx *tx, stores_op *op) {
    if (tx->engine == op->engine) stores__list_append(&tx->insiders, &op->inside_link);
}

static void take_options(stores_tx *tx, const stores_tx_options *given) {
    stores_tx_options own;
    stores_error error;
    const stores_tx_options *options = stores__tx_options_given(given, &own, &error);
    if (options == NULL) {
        tx->wrong = stores__error_dup(&error);
    } else {
        tx->options = *options;
    }
}

stores_tx *stores_tx_new(stores_engine *engine, const stores_tx_options *options) {
    stores_tx *tx = calloc(1, sizeof *tx);
    if (tx == NULL) return NULL;
    tx->engine = engine;
    if (options != NULL) take_options(tx, options);
    tx->commit = stores__commit_new(engine);
    if (tx->commit == NULL) {
        stores__error_free(tx->wrong);
        free(tx);
        return NULL;
    }
    stores__list_init(&tx->wait.link);
    stores__list_init(&tx->insiders);
    stores__list_init(&tx->flush.link);
    tx->flush.run = roll_back_abandoned;
    stores__list_append(&engine->txs, &tx->link);
    engine->live_ops++; /* the engine stays as long as somebody holds its tx */
    return tx;
}

void stores_tx_free(stores_tx *tx) {
    if (tx == NULL || tx->freed) return;
    if (stores__engine_forked(tx->engine)) {
        tx->freed_in_child = true;
        return;
    }
    tx->freed = true;
    if (tx->op != NULL)
        stores__op_end_early(tx->op, STORES_ABANDONED, "the transaction was given up");
    if (tx->state == TX_NEW || tx->state == TX_ENDED) {
        stores__pg_unwait(&tx->wait);
        if (tx->state == TX_NEW) {
            end_tx(tx);
        } else {
            tx_destroy(tx);
        }
    } else if (!stores__closing(tx->engine)) {
        stores__flush_at_end(tx->engine, &tx->flush);
    } else if (tx->txop == NULL && tx->state == TX_OPEN) {
        end_tx(tx); /* its connection is closed, and perhaps no tick will come any more */
    }
}

void stores__txs_stop(stores_engine *engine) {
    if (!engine->pool.common.deaf) return; /* what ROLLBACKs waited for a tick were sent */
    for (struct stores__list *at = engine->txs.next, *next; at != &engine->txs; at = next) {
        stores_tx *tx = STORES__CONTAINER(at, stores_tx, link);
        next = at->next;
        /* its ROLLBACK waited for the end of the tick, which does not come */
        bool waits = tx->freed && !stores__list_empty(&tx->flush.link);
        if (waits && tx->txop == NULL && tx->state == TX_OPEN) {
            end_tx(tx);
        } else if (tx->freed_in_child) {
            stores_tx_free(tx);
        }
    }
}

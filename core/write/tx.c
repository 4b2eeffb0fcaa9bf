/*
 * Explicit transactions: one connection from the first statement to COMMIT or ROLLBACK, one op at a
 * time. An op that ends early (deadline, its caller left) ends the transaction with it: what the
 * server did of the statement is not known, so all of it is rolled back.
 */
#include <stdio.h>

#include "base/sized.h"
#include "write/starve.h"
#include "write/tx_internal.h"

static void over(struct stores__pg_req *req, enum stores__pg_end end);

/* ---- Ends ------------------------------------------------------------------------------------ */

static void tx_destroy(stores_tx *tx) {
    stores__timer_stop(&tx->engine->timers, &tx->deadline);
    stores__list_remove(&tx->link);
    stores__starve_forget(tx);
    stores__list_remove(&tx->flush.link);
    stores__pg_insist_over(&tx->insist);
    stores__commit_free(tx->commit);
    stores__txop_free(tx->txop);
    stores__error_free(tx->error);
    stores__error_free(tx->wrong);
    stores__own_names_free(&tx->names);
    stores__tx_forget_facts(tx);
    free(tx->marks);
    stores__engine_op_gone(tx->engine);
    free(tx);
}

/* The one mover of its state. */
static void move(stores_tx *tx, enum stores__tx_state to) {
    assert(to > tx->state);
    tx->state = to;
}

/* The transaction is over: its connection goes back, and a tx that nobody holds goes too. */
static void end_tx(stores_tx *tx) {
    struct stores__pg_conn *conn = tx->conn;
    move(tx, TX_ENDED);
    tx->conn = NULL;
    stores__timer_stop(&tx->engine->timers, &tx->deadline);
    stores__pg_insist_over(&tx->insist);
    if (conn != NULL) {
        if (tx->options.session || tx->options.close) stores__pg_discard(conn);
        stores__pg_release(conn);
    }
    stores__commit_free(tx->commit);
    tx->commit = NULL;
    if (tx->freed) tx_destroy(tx);
}

static void rolled_back(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    (void)end; /* a lost connection is rolled back as well */
    tx->engine->counters.rollbacks++;
    stores__tx_answer(tx, NULL);
    end_tx(tx);
}

static void send_rollback(stores_tx *tx) {
    move(tx, TX_ENDING);
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
    if (tx->renames) stores__table_forget_names(tx->engine);
    stores__tx_answer(tx, error);
    end_tx(tx);
}

static void phase_changed(void *arg, enum stores__phase phase) {
    stores_tx *tx = arg;
    if (tx->op != NULL) stores__op_phase(tx->op, phase);
}

static void start_commit(stores_tx *tx) {
    struct stores__commit *commit = tx->commit;
    move(tx, TX_ENDING);
    if (!tx->begun) {
        stores__tx_answer(tx, NULL);
        end_tx(tx);
        return;
    }
    tx->commit = NULL;
    if (tx->saves || tx->depth > 0) stores__commit_saves(commit);
    stores__commit_watch(commit, phase_changed);
    stores__commit_start(commit, tx->conn, committed, tx);
}

/* ---- What comes behind a call ---------------------------------------------------------------- */

static void send_op(stores_tx *tx) {
    tx->req.done = over;
    stores__tx_send(tx);
}

static void after_savepoint(stores_tx *tx, const struct stores__txop *txop) {
    if (txop->kind == TXOP_SAVEPOINT) {
        tx->marks[tx->depth++] = (uint32_t)stores__commit_mark(tx->commit);
    } else if (txop->kind == TXOP_RELEASE) {
        tx->depth--;
    } else if (txop->kind == TXOP_ROLLBACK_TO) {
        if (tx->conn->texts > 0) tx->conn->texts++; /* settings and tables are as they were */
        stores__commit_rolled_back(tx->commit, tx->marks[--tx->depth]);
        stores__tx_forget_facts(tx); /* locks that were taken since then are given back */
        tx->doomed = false;
    }
}

static void lost(stores_tx *tx) {
    if (!tx->failed || tx->error->code != STORES_CONNECTION_LOST) {
        stores__tx_keep_error(
            tx, stores__error_new(STORES_CONNECTION_LOST,
                                  "the connection was lost, and the transaction with it"));
    }
    if (stores__tx_commits_itself(tx)) stores__error_outcome(&tx->error, STORES_OUTCOME_UNKNOWN);
    if (tx->ended_by == STORES_OK) tx->ended_by = STORES_CONNECTION_LOST;
    stores__tx_answer(tx, tx->error);
    end_tx(tx);
}

/* The call that was under way at the deadline has ended in time for itself. */
static void end_late(stores_tx *tx) {
    if (tx->late && tx->state == TX_OPEN) send_rollback(tx);
}

static void refuse_commit(stores_tx *tx) {
    stores_error error;
    stores__tx_is_late(&error);
    stores__tx_answer(tx, &error);
    send_rollback(tx);
}

/* The text of a query has ended the transaction, so or so. */
static void was_ended(stores_tx *tx) {
    stores__turn_all(tx->engine);
    stores__table_forget_names(tx->engine);
    stores__tx_keep_error(tx,
                          stores__error_new(STORES_UNSUPPORTED,
                                            "the statement ended the transaction that it ran in"));
    stores__error_outcome(&tx->error, STORES_OUTCOME_UNKNOWN);
    stores__tx_answer(tx, tx->error);
    send_rollback(tx); /* of what it may have begun instead */
}

static void took_facts(struct stores__pg_req *req, int index, struct pg_result *result) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    stores_error error;
    (void)index;
    if (!stores__pg_result_ok(result, &error)) {
        tx->failed = true;
        stores__tx_keep_error(tx, stores__error_dup(&error));
    } else {
        stores__tx_take_facts(tx, result);
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
        txop->undo = !stores__statement_is_taken(txop->statement, &error);
        stores__tx_keep_error(tx, stores__error_dup(&error));
    }
    over(req, end);
}

/* The table is locked: no trigger comes or goes any more. */
static void ask_unsure(stores_tx *tx) {
    tx->req.result = took_facts;
    tx->req.done = unsure_over;
    stores__pg_begin(tx->conn, &tx->req);
    stores__tx_ask_facts(tx, STORES__FACTS_ALL);
    stores__pg_sync(tx->conn, &tx->req);
}

/* What comes behind the request of an op. */
enum next {
    NEXT_LOST,
    NEXT_ROLLBACK, /* the op left: so does the transaction */
    NEXT_TEXT, /* BEGIN is out; now the text of several statements, or a COPY */
    NEXT_WAS_ENDED,
    NEXT_UNSURE,
    NEXT_FAIL,
    NEXT_FAIL_AND_ROLLBACK, /* the caller asked for the end: this is the other one */
    NEXT_LATE, /* the caller asked for COMMIT, and the transaction's time is over */
    NEXT_COMMIT,
    NEXT_ANSWER
};

static enum next decide(const stores_tx *tx, enum stores__pg_end end) {
    const struct stores__txop *txop = tx->txop;
    if (end == STORES__PG_LOST) return NEXT_LOST;
    if (tx->op == NULL) return NEXT_ROLLBACK;
    if (!tx->failed && stores__tx_owes(tx)) return NEXT_TEXT;
    if (tx->begun && (txop->ended || !stores__pg_in_transaction(tx->conn))) return NEXT_WAS_ENDED;
    if (tx->failed) {
        bool ends = (txop->commit && !tx->options.session) || txop->undo;
        return ends ? NEXT_FAIL_AND_ROLLBACK : NEXT_FAIL;
    }
    if (txop->unsure) return NEXT_UNSURE;
    if (txop->kind != TXOP_WRITE || !txop->commit) return NEXT_ANSWER;
    /* what a session wrote is committed already */
    return tx->late && !tx->options.session ? NEXT_LATE : NEXT_COMMIT;
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    stores__pg_insist_over(&tx->insist);
    stores__tx_text_over(tx, end != STORES__PG_LOST && tx->op != NULL);
    if (tx->txop->begun_here && end != STORES__PG_LOST) {
        tx->begun = stores__pg_in_transaction(tx->conn);
    }
    switch (decide(tx, end)) {
    case NEXT_LOST: lost(tx); break;
    case NEXT_ROLLBACK: send_rollback(tx); break;
    case NEXT_TEXT: send_op(tx); break;
    case NEXT_WAS_ENDED: was_ended(tx); break;
    case NEXT_UNSURE: ask_unsure(tx); break;
    case NEXT_FAIL:
        stores__tx_answer(tx, tx->error);
        end_late(tx);
        break;
    case NEXT_FAIL_AND_ROLLBACK:
        stores__tx_answer(tx, tx->error);
        send_rollback(tx);
        break;
    case NEXT_LATE: refuse_commit(tx); break;
    case NEXT_COMMIT: start_commit(tx); break;
    case NEXT_ANSWER:
        after_savepoint(tx, tx->txop);
        stores__tx_answer(tx, NULL);
        end_late(tx);
        break;
    }
}

static void roll_back_idle(struct stores__flush *flush) {
    stores_tx *tx = STORES__CONTAINER(flush, stores_tx, flush);
    if (tx->txop == NULL && tx->state == TX_OPEN) send_rollback(tx);
}

/* ---- Starting -------------------------------------------------------------------------------- */

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    stores_tx *tx = STORES__CONTAINER(wait, stores_tx, wait);
    tx->conn = conn;
    move(tx, TX_OPEN);
    if (!stores__tx_watch_deadline(tx)) {
        stores_error error;
        stores__error_set(&error, STORES_NO_MEMORY, "no memory for a transaction");
        stores__tx_answer(tx, &error);
        end_tx(tx);
        return;
    }
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
    tx->ended_by = op->ends_early;
    stores__pg_insist(&tx->insist, tx->conn);
    stores__tx_text_over(tx, false); /* so far; the rest when it is over */
    return stores__tx_commits_itself(tx) ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
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

static void take_options(stores_tx *tx, const stores_tx_options *given) {
    stores_tx_options own;
    stores_error error;
    const stores_tx_options *options = stores__tx_options_given(given, &own, &error);
    if (options == NULL) {
        tx->wrong = stores__error_dup(&error);
    } else {
        tx->options = *options;
        tx->ends_at = stores__tx_deadline_of(options->timeout_ms);
    }
}

stores_tx *stores_tx_new(stores_engine *engine, const stores_tx_options *options) {
    stores_tx *tx = calloc(1, sizeof *tx);
    struct stores__commit *commit = tx ? stores__commit_new(engine) : NULL;
    if (commit == NULL) {
        free(tx);
        return NULL;
    }
    tx->engine = engine;
    tx->commit = commit;
    if (options != NULL) take_options(tx, options);
    stores__list_init(&tx->wait.link);
    stores__list_init(&tx->insiders);
    stores__list_init(&tx->flush.link);
    tx->flush.run = roll_back_idle;
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

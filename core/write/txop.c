/* One call on a transaction: its memory, and its answer. */
#include "write/tx_internal.h"

void stores__txop_free(struct stores__txop *txop) {
    if (txop == NULL) return;
    if (txop->result != NULL) stores__pg_result_free(txop->result);
    stores__statement_free(txop->statement);
    stores__tx_copy_free(txop->copy);
    stores__table_let_go(txop->table);
    free(txop->sql);
    free(txop->memory);
    free(txop->values);
    free(txop);
}

/* An op left, or failed, before its table was known: the tx is free for the next one. */
static void dispose_txop(stores_op *op) {
    stores_tx *tx = op->stage;
    tx->op = NULL;
    stores__txop_free(tx->txop);
    tx->txop = NULL;
    stores__tx_idles(tx);
}

/* What makes the tx useless for this kind of op. */
static bool is_over(const stores_tx *tx, stores_op *op, enum stores__txop_kind kind) {
    stores_error late;
    if (tx->wrong != NULL) {
        stores__op_fail(op, tx->wrong);
    } else if ((unsigned)tx->options.isolation > STORES_SERIALIZABLE) {
        stores__op_failf(op, STORES_INVALID_OPTION, "there is no isolation level %d",
                         (int)tx->options.isolation);
    } else if (tx->late && tx->ended_by == STORES_OK) {
        stores__tx_is_late(&late);
        stores__op_fail(op, &late);
    } else if (tx->ended_by == STORES_TIMEOUT) {
        stores__op_failf(op, STORES_TIMEOUT,
                         "a call of the transaction did not end in time, and all of it was rolled "
                         "back");
    } else if (tx->ended_by == STORES_CONNECTION_LOST) {
        stores__op_failf(op, STORES_TX_ENDED, "the transaction was lost with its connection");
    } else if (tx->ended_by != STORES_OK) {
        stores__op_failf(op, STORES_TX_ENDED,
                         "a call of the transaction was given up, and all of it was rolled back");
    } else if (tx->state == TX_ENDED || tx->state == TX_ENDING) {
        stores__op_failf(op, STORES_TX_ENDED, "the transaction is over");
    } else if (tx->doomed && kind != TXOP_ROLLBACK && kind != TXOP_ROLLBACK_TO &&
               tx->txop == NULL) {
        stores__op_failf(op, STORES_TX_ENDED,
                         "a savepoint could not be rolled back: the transaction can only be rolled "
                         "back as a whole");
    } else {
        return false;
    }
    return true;
}

stores_op *stores__txop_new(stores_tx *tx, const stores_call *call, enum stores__txop_kind kind,
                            struct stores__txop **made) {
    stores_op *op = stores__op_new(tx->engine, call);
    *made = NULL;
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    if (is_over(tx, op, kind)) return op;
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
    struct stores__txop *txop = calloc(1, sizeof *txop);
    if (txop == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a transaction");
        return op;
    }
    txop->kind = kind;
    tx->txop = txop;
    tx->op = op;
    op->stage = tx;
    op->dispose = dispose_txop;
    op->verb = STORES__VERB_TRANSACTION;
    *made = txop;
    return op;
}

void stores__tx_answer(stores_tx *tx, const stores_error *error) {
    stores_op *op = tx->op;
    struct stores__txop *txop = tx->txop;
    stores_error gone;
    tx->op = NULL;
    tx->txop = NULL;
    if (op != NULL) {
        if (error != NULL) {
            if (error->code == STORES_TABLE_NOT_FOUND) {
                stores__table_forget_names(tx->engine);
                gone = *error;
                stores__table_hint_gone(txop ? txop->table : NULL, &gone);
                error = &gone;
            }
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

/*
 * A pool that starves itself: every connection belongs to a transaction whose holder waits for one
 * more, and so none of them will ever be given back. The last one that came hears of it at once;
 * its transaction ends, and the others go on.
 */
#include "write/starve.h"

#include <stdio.h>

#include "write/tx_internal.h"

enum { LOOKS = 2 }; /* in a row: a call that Redis answers is over by then */

static bool waits(const stores_tx *tx) {
    return tx->conn != NULL && tx->state == TX_OPEN && tx->op == NULL &&
           !stores__list_empty(&tx->insiders);
}

static void refuse(stores_op *op, int connections) {
    char text[160];
    snprintf(text, sizeof text,
             "each of the %d connections is held by a transaction that waits for one more",
             connections);
    stores__op_end_early(op, STORES_ACQUIRE_TIMEOUT, text);
    if (op->error == NULL) return;
    snprintf(
        op->error->hint, sizeof op->error->hint,
        "inside of a transaction use the verbs of tx, or have a poolsize that is larger than the"
        " number of transactions at once");
}

void stores__tx_insider(stores_tx *tx, stores_op *op) {
    if (tx->engine == op->engine) stores__list_append(&tx->insiders, &op->inside_link);
}

void stores__starve_look(stores_engine *engine) {
    int open = stores__pg_open_count(&engine->pool), waiting = 0;
    stores_tx *last = NULL;
    for (struct stores__list *at = engine->txs.next; at != &engine->txs; at = at->next) {
        stores_tx *tx = STORES__CONTAINER(at, stores_tx, link);
        if (!waits(tx)) continue;
        waiting++;
        last = tx;
    }
    if (last == NULL || waiting < open) {
        engine->starved = 0;
    } else if (++engine->starved >= LOOKS) {
        engine->starved = 0;
        refuse(STORES__CONTAINER(last->insiders.prev, stores_op, inside_link), open);
    }
}

void stores__starve_forget(stores_tx *tx) {
    while (stores__list_shift(&tx->insiders) != NULL) continue;
}

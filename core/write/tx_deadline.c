/* The deadline of a transaction, while it has a connection: at it nobody may be there to end it. */
#include "write/tx_internal.h"

/* The loop's time is as old as its last turn, which would be taken off. */
uint64_t stores__tx_deadline_of(uint64_t timeout_ms) {
    uint64_t now = uv_hrtime() / 1000000;
    return timeout_ms > 0 && timeout_ms < UINT64_MAX - now ? now + timeout_ms : 0;
}

void stores__tx_is_late(stores_error *error) {
    stores__error_set(error, STORES_TIMEOUT,
                      "the transaction did not end within its deadline, and was rolled back");
}

void stores__tx_idles(stores_tx *tx) {
    if (tx->late) stores__flush_at_end(tx->engine, &tx->flush);
}

/* It cannot commit any more, and its caller may be away for long: its locks are given back now. A
 * call that is under way has a deadline of its own, and a COMMIT goes on. */
static void past_deadline(struct stores__timer *timer) {
    stores_tx *tx = STORES__CONTAINER(timer, stores_tx, deadline);
    if (tx->state != TX_OPEN) return;
    tx->late = true;
    if (tx->txop == NULL) stores__tx_idles(tx);
}

bool stores__tx_watch_deadline(stores_tx *tx) {
    if (tx->ends_at == 0) return true;
    tx->deadline.fire = past_deadline;
    return stores__timer_set(&tx->engine->timers, &tx->deadline, tx->ends_at);
}

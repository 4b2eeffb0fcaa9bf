/* Waiting for a first connection: what it tells of the server is needed before something is
 * sent. */
#include "engine/engine.h"

struct meeting {
    struct stores__pg_wait wait;
    stores_op *op;
};

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct meeting *meeting = STORES__CONTAINER(wait, struct meeting, wait);
    (void)conn; /* a lane without a request goes back by itself */
    stores__op_finish(meeting->op);
}

static void failed(struct stores__pg_wait *wait, const stores_error *error) {
    struct meeting *meeting = STORES__CONTAINER(wait, struct meeting, wait);
    stores__op_fail(meeting->op, error);
}

static stores_outcome leave(stores_op *op) {
    struct meeting *meeting = op->stage;
    stores__pg_unwait(&meeting->wait);
    return STORES_OUTCOME_NONE;
}

static void dispose(stores_op *op) {
    free(op->stage);
}

bool stores_has_met(const stores_engine *engine) {
    return engine->met;
}

stores_op *stores_meet(stores_engine *engine, const stores_call *call) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    if (stores_has_met(engine)) {
        stores__op_finish(op);
        return op;
    }
    struct meeting *meeting = calloc(1, sizeof *meeting);
    if (meeting == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory");
        return op;
    }
    meeting->op = op;
    meeting->wait.granted = granted;
    meeting->wait.failed = failed;
    op->stage = meeting;
    op->leave = leave;
    op->dispose = dispose;
    stores__pg_acquire(&engine->pool, &meeting->wait, STORES__PG_READING, "lanes");
    return op;
}

/* Selects, and queries that only read, on a replica first; and what the primary says where it is
 * asked in its place. */
#include "write/calls_internal.h"

static void answered(void *arg, struct pg_result *result, const stores_error *error) {
    struct stores__own_call *call = arg;
    call->asking = NULL;
    if (error != NULL) {
        stores__call_answer(call, error);
        stores__call_close(call);
        return;
    }
    if (result == NULL) {
        call->run(call);
        return;
    }
    call->result = result;
    if (call->op != NULL) call->op->source = 'r';
    stores__call_answer(call, NULL);
    stores__call_close(call);
}

static void waits(void *arg, bool at_replica) {
    const struct stores__own_call *call = arg;
    if (call->op != NULL) call->op->at_replica = at_replica ? 1 : 0;
}

bool stores__call_try_replica(struct stores__own_call *call,
                              void (*run)(struct stores__own_call *call)) {
    const char *tokens[2] = {call->op->after_token, NULL};
    struct stores__replica_read read = {.sql = call->sql,
                                        .count = call->count,
                                        .values = call->values,
                                        .own = true,
                                        .runs = call->table != NULL && call->table->runs,
                                        .tokens = tokens[0] != NULL ? tokens : NULL,
                                        .ends_at = call->op->timer.at,
                                        .last_ends_at = call->op->timer.at,
                                        .waits = waits};
    call->replica = false; /* once */
    call->run = run;
    call->marks = true;
    stores__op_phase(call->op, STORES__PHASE_POSTGRES);
    enum stores__asked asked = stores__asking_start(call->engine, &read, answered, call,
                                                    &call->asking);
    if (asked != STORES__ASK_NOBODY) return asked == STORES__ASKED;
    stores__call_fail(call, STORES_NO_MEMORY, "no memory for a read");
    stores__call_answer(call, call->error);
    stores__call_close(call);
    return true;
}

void stores__call_add_mark(struct stores__own_call *call) {
    call->marking.index = -1;
    if (call->marks) {
        stores__marking_add(&call->marking, call->engine, call->conn, &call->req, STORES__READ);
    }
}

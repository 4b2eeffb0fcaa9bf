/* One call with a connection of its own: its memory, and its answer. */
#include "write/calls_internal.h"

#include "names/names.h"

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
    free(call->given);
    free(call->memory);
    free(call->values);
    stores__error_free(call->error);
    free(call);
}

void stores__call_fail(struct stores__own_call *call, stores_code code, const char *text) {
    stores__error_free(call->error);
    call->error = stores__error_new(code, "%s", text);
}

/* It is over, and something was committed, or read, of which nobody knows how far it went. */
static void mark_untold(const struct stores__own_call *call) {
    bool reads = call->select || call->options.readonly;
    bool itself = call->way == WAY_LONE || call->way == WAY_ITSELF;
    /* what commits itself is over with its Sync, and nothing behind it in its request knows where;
     * and several statements in one text are never asked anything */
    if (reads ? call->marks && call->options.simple : itself) stores__mark_untold(call->engine);
}

static void dispose_next(stores_op *op) {
    stores__call_free(op->stage);
}

/* The table of a select is gone: its name is asked for once more, and another call has what it is
 * made of. False: no memory. */
static bool begin_anew(struct stores__own_call *call) {
    stores_op *op = call->op;
    struct stores__own_call *next = calloc(1, sizeof *next);
    if (next == NULL) return false;
    next->engine = call->engine;
    next->op = op;
    next->select = true;
    next->count = call->count;
    next->sql = call->given;
    next->memory = call->memory;
    next->values = call->values;
    stores__list_init(&next->wait.link);
    call->given = call->memory = NULL;
    call->values = NULL;
    call->count = 0;
    call->op = NULL;
    op->stage = next;
    op->dispose = dispose_next;
    stores__table_resolve_anew(op, call->table);
    return true;
}

void stores__call_answer(struct stores__own_call *call, const stores_error *error) {
    stores_op *op = call->op;
    mark_untold(call);
    if (call->renames) stores__table_forget_names(call->engine);
    if (op == NULL) return;
    bool gone = error != NULL && call->given != NULL && stores__table_is_gone(op, error);
    if (gone && begin_anew(call)) return;
    call->op = NULL;
    if (error != NULL) {
        if (error->code == STORES_TABLE_NOT_FOUND) stores__table_forget_names(call->engine);
        stores__op_fail(op, error);
        return;
    }
    op->result = call->result;
    call->result = NULL;
    if (op->source == '-') op->source = 'p';
    if (op->result != NULL) op->affected = stores__pg_affected(op->result);
    stores__op_finish(op);
}

void stores__call_close(struct stores__own_call *call) {
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_end_turn(call->turned[i]);
    if (call->conn != NULL) stores__pg_release(call->conn);
    stores__call_free(call);
}

/* Rows that a replica may tell: those that are not in the cache, and do not go into it. */
#include "read/internal.h"

static void answered(void *arg, struct pg_result *result, const stores_error *error) {
    struct stores__read_batch *batch = arg;
    if (error != NULL) {
        stores__rows_fail(batch->rows, batch->count, error);
    } else if (result == NULL) {
        stores__rows_select(batch->table, batch->rows, batch->count);
    } else {
        batch->result = result;
        stores__batch_answer(batch, 'r');
    }
    stores__batch_free(batch);
}

/* Each row is one of those that its call waits for. */
static void waits(void *arg, bool at_replica) {
    const struct stores__read_batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++) {
        for (const struct stores__read_row *row = batch->rows[i]; row != NULL; row = row->twin) {
            stores_op *op = row->call->op;
            if (op == NULL) continue;
            op->at_replica += at_replica ? 1 : (size_t)-1;
        }
    }
}

/* What their calls ask for: their deadlines, and their tokens, in memory of the caller's. Gives how
 * many of those there are. */
static size_t what_is_asked(const struct stores__read_batch *batch,
                            struct stores__replica_read *read, const char **tokens) {
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        for (const struct stores__read_row *row = batch->rows[i]; row != NULL; row = row->twin) {
            const stores_op *op = row->call->op;
            if (op == NULL) continue;
            if (op->timer.at < read->ends_at) read->ends_at = op->timer.at;
            if (op->timer.at > read->last_ends_at) read->last_ends_at = op->timer.at;
            if (op->after_token == NULL) continue;
            if (tokens != NULL) tokens[count] = op->after_token;
            count++;
        }
    }
    if (tokens != NULL) tokens[count] = NULL;
    return count;
}

static enum stores__asked ask_replicas(struct stores__read_batch *batch) {
    struct stores__replica_read read = {
        .runs = batch->table->runs, .ends_at = UINT64_MAX, .waits = waits};
    struct stores__asking *asking;
    const char **tokens = NULL;
    size_t count = what_is_asked(batch, &read, NULL);
    if (count > 0 && (tokens = calloc(count + 1, sizeof *tokens)) == NULL) {
        return STORES__ASK_NOBODY;
    }
    if (tokens != NULL) what_is_asked(batch, &read, tokens);
    stores__batch_ids(batch, &batch->ids);
    batch->values[0] = stores__buf_text(&batch->ids);
    read.sql = stores__batch_sql(batch);
    read.count = 1;
    read.values = batch->values;
    read.tokens = tokens;
    enum stores__asked asked = STORES__ASK_NOBODY;
    if (read.sql != NULL && batch->values[0] != NULL) {
        asked = stores__asking_start(batch->table->engine, &read, answered, batch, &asking);
    }
    free(tokens);
    return asked;
}

static void ask_rows(struct stores__table *table, struct stores__read_row **rows, size_t count) {
    struct stores__read_batch *batch = stores__batch_new(table, rows, count);
    enum stores__asked asked = batch != NULL ? ask_replicas(batch) : STORES__ASK_NOBODY;
    if (asked == STORES__ASKED) {
        stores__rows_phase(table, rows, count, STORES__PHASE_POSTGRES);
        return;
    }
    if (batch != NULL) stores__batch_free(batch);
    if (asked == STORES__ASK_NOBODY) {
        stores__rows_no_memory(rows, count);
    } else {
        stores__rows_select(table, rows, count);
    }
}

static void try_rows(struct stores__table *table, struct stores__read_row **rows, size_t count) {
    count = stores__rows_merge_twins(rows, count);
    for (size_t at = 0; at < count; at += STORES__SELECT_ROWS) {
        size_t left = count - at;
        ask_rows(table, rows + at, left < STORES__SELECT_ROWS ? left : STORES__SELECT_ROWS);
    }
}

void stores__rows_try_replica(struct stores__table *table, struct stores__read_row **rows,
                              size_t count) {
    size_t others = 0, ours = 0;
    struct stores__read_row *of_replica[STORES__MGET_ROWS];
    if (table->engine->replicas == NULL) {
        stores__rows_select(table, rows, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i]->replica) {
            of_replica[ours++] = rows[i];
        } else {
            rows[others++] = rows[i];
        }
    }
    stores__rows_select(table, rows, others);
    try_rows(table, of_replica, ours);
}

/* Rows and batches of them: below what reads them, from the queue to the answer. See internal.h. */
#include "read/internal.h"

#include "base/ids.h"
#include "names/names.h"

/* ---- What a row gets ------------------------------------------------------------------------ */

static void row_over(struct stores__read_row *row) {
    struct stores__read_call *call = row->call;
    if (--call->left > 0) return;
    struct stores__table *table = call->table;
    if (call->alone) {
        stores__spares_give(&table->engine->spare_reads, call);
    } else {
        free(call);
    }
    stores__table_let_go(table);
}

static void found_one(struct stores__read_row *row, const char *text, size_t len,
                      struct stores__blob *blob, char source) {
    stores_op *op = row->call->op;
    if (op != NULL) {
        stores__op_set_doc(op, row->index, row->id, text, len, blob);
        if (source == 'p' || op->source == '-') op->source = source;
        if (--op->docs_missing == 0) {
            row->call->op = NULL;
            stores__op_finish(op);
        }
    }
    row_over(row);
}

void stores__row_found(struct stores__read_row *row, const char *text, size_t len,
                       struct stores__blob *blob, char source) {
    assert(row->place == STORES__ROW_TAKEN);
    for (struct stores__read_row *next; row != NULL; row = next) {
        next = row->twin;
        found_one(row, text, len, blob, source);
    }
}

static void failed_one(struct stores__read_row *row, const stores_error *error) {
    stores_op *op = row->call->op;
    if (op != NULL) {
        row->call->op = NULL;
        if (stores__table_is_gone(op, error)) {
            stores__table_resolve_anew(op, row->call->table);
        } else {
            stores__op_fail(op, error);
        }
    }
    row_over(row);
}

static void row_failed(struct stores__read_row *row, const stores_error *error) {
    assert(row->place == STORES__ROW_TAKEN);
    for (struct stores__read_row *next; row != NULL; row = next) {
        next = row->twin;
        failed_one(row, error);
    }
}

void stores__rows_phase(struct stores__table *table, struct stores__read_row **rows, size_t count,
                        enum stores__phase phase) {
    if (!table->engine->timed) return;
    for (size_t i = 0; i < count; i++) {
        if (rows[i]->call->op != NULL) stores__op_phase(rows[i]->call->op, phase);
    }
}

/* ---- Where a row is -------------------------------------------------------------------------- */

static void move(struct stores__read_row *row, enum stores__row_place place,
                 struct stores__list *list) {
    stores__list_remove(&row->link);
    if (list != NULL) stores__list_append(list, &row->link);
    row->place = (unsigned char)place;
}

void stores__row_enqueue(struct stores__read_row *row) {
    struct stores__table *table = row->call->table;
    assert(row->place == STORES__ROW_TAKEN);
    move(row, STORES__ROW_QUEUED, &table->reads->queue);
    table->reads->queued[row->cached]++;
    stores__flush_at_end(table->engine, &table->reads->flush);
}

void stores__row_take(struct stores__read_row *row) {
    move(row, STORES__ROW_TAKEN, NULL);
}

void stores__row_look_again(struct stores__read_row *row) {
    stores__timer_stop(&row->call->table->engine->timers, &row->timer);
    stores__row_take(row);
    stores__row_enqueue(row);
}

static void waited(struct stores__timer *timer) {
    stores__row_look_again(STORES__CONTAINER(timer, struct stores__read_row, timer));
}

bool stores__row_wait(struct stores__read_row *row, uint64_t at) {
    struct stores__table *table = row->call->table;
    assert(row->place == STORES__ROW_TAKEN);
    row->timer.fire = waited;
    if (!stores__timer_set(&table->engine->timers, &row->timer, at)) return false;
    move(row, STORES__ROW_WAITING, &table->reads->waiting);
    return true;
}

void stores__row_hang(struct stores__read_row *row, struct stores__read_row *twins) {
    if (twins != NULL) twins->place = STORES__ROW_TWIN;
    while (row->twin != NULL) row = row->twin;
    row->twin = twins;
}

struct stores__read_row *stores__row_alive(struct stores__read_row *row) {
    while (row != NULL && row->call->op == NULL) {
        struct stores__read_row *next = row->twin;
        row->twin = NULL;
        row_over(row);
        row = next;
    }
    if (row != NULL) row->place = STORES__ROW_TAKEN;
    return row;
}

/* ---- Batches --------------------------------------------------------------------------------- */

struct stores__read_batch *stores__batch_new(struct stores__table *table,
                                             struct stores__read_row **rows, size_t count) {
    struct stores__read_batch *batch = stores__zeroed(sizeof *batch + count * sizeof *batch->rows);
    if (batch == NULL) return NULL;
    if (count > 0) memcpy(batch->rows, rows, count * sizeof *rows);
    batch->count = count;
    batch->table = stores__table_hold(table);
    stores__list_init(&batch->wait.link);
    return batch;
}

void stores__batch_free(struct stores__read_batch *batch) {
    if (batch->blob != NULL) {
        stores__blob_drop(batch->blob);
    } else if (batch->result != NULL) {
        stores__pg_result_free(batch->result);
    }
    stores__table_let_go(batch->table);
    stores__buf_free(&batch->ids);
    free(batch->kept);
    stores__error_free(batch->error);
    free(batch);
}

static enum stores__table_text text_of(const struct stores__read_batch *batch) {
    return batch->count == 1 ? STORES__FIND_SQL : STORES__FIND_ANY_SQL;
}

const char *stores__batch_sql(const struct stores__read_batch *batch) {
    return stores__table_sql(batch->table, text_of(batch));
}

void stores__batch_ids(const struct stores__read_batch *batch, struct stores__buf *ids) {
    if (batch->count > 1) stores__buf_str(ids, "{");
    for (size_t i = 0; i < batch->count; i++) {
        char id[STORES__ID_SIZE];
        size_t len = stores__id_write(batch->rows[i]->id, id);
        if (i > 0) stores__buf_add(ids, ",", 1);
        stores__buf_add(ids, id, len);
    }
    if (batch->count > 1) stores__buf_str(ids, "}");
}

void stores__rows_fail(struct stores__read_row **rows, size_t count, const stores_error *error) {
    for (size_t i = 0; i < count; i++) row_failed(rows[i], error);
}

void stores__batch_met(struct stores__read_batch *batch, const stores_error *error) {
    if (batch->error != NULL && error->code == STORES_OK) return;
    stores__error_free(batch->error);
    batch->error = stores__error_dup(error);
}

void stores__batch_fail(struct stores__read_batch *batch) {
    if (batch->error == NULL || batch->error->code == STORES_OK) {
        stores__error_free(batch->error);
        batch->error = stores__error_new(STORES_CONNECTION_LOST,
                                         "the connection was lost while reading");
    }
    if (batch->error->code == STORES_TABLE_NOT_FOUND) {
        stores__table_forget_names(batch->table->engine);
    }
    stores__rows_fail(batch->rows, batch->count, batch->error);
}

void stores__rows_no_memory(struct stores__read_row **rows, size_t count) {
    stores_error error;
    stores__error_set(&error, STORES_NO_MEMORY, "no memory for a read");
    stores__rows_fail(rows, count, &error);
}

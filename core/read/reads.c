#include "read/internal.h"

#include "names/names.h"

/* ---- The tick -------------------------------------------------------------------------------- */

/* Rows whose op left before they were sent are not sent. */
static size_t take_queue(struct stores__list *queue, bool cached,
                         struct stores__read_row *rows[STORES__MGET_ROWS]) {
    size_t count = 0;
    for (struct stores__list *at = queue->next, *next; at != queue && count < STORES__MGET_ROWS;
         at = next) {
        next = at->next;
        struct stores__read_row *row = STORES__CONTAINER(at, struct stores__read_row, link);
        if (row->cached != cached) continue;
        stores__row_take(row);
        row = stores__row_alive(row);
        if (row != NULL) rows[count++] = row;
    }
    return count;
}

/* Who reads from the cache looks at Redis with each MGET. */
void stores__reads_look(struct stores__table *table, bool readable) {
    struct stores__cache *cache = table->engine->cache;
    if (!stores__cache_covers(table)) return;
    stores__past_look(cache);
    if (readable || cache->closed) return;
    struct stores__node *node = stores__epoch_node(table->epoch);
    if (stores__node_up(node)) stores__trouble_look(node);
}

static void flush_reads(struct stores__flush *flush) {
    struct stores__reads *reads = STORES__CONTAINER(flush, struct stores__reads, flush);
    struct stores__table *table = reads->table;
    struct stores__read_row *rows[STORES__MGET_ROWS];
    struct stores__list queue;
    size_t count;
    stores__list_init(&queue);
    stores__list_move(&reads->queue, &queue);
    bool looks = reads->queued[true] > 0;
    reads->queued[false] = reads->queued[true] = 0;
    if (stores__closing(table->engine)) {
        stores_error error;
        stores__error_set(&error, STORES_CLOSED, "the store is closed");
        while ((count = take_queue(&queue, true, rows)) > 0 ||
               (count = take_queue(&queue, false, rows)) > 0) {
            stores__rows_fail(rows, count, &error);
        }
        return;
    }
    bool readable = stores__cache_readable(table);
    if (looks) stores__reads_look(table, readable);
    if (looks && readable && table->hold) stores__rows_hold(table);
    while ((count = take_queue(&queue, true, rows)) > 0) {
        if (readable) {
            stores__rows_get(table, rows, count);
        } else {
            stores__rows_select(table, rows, count);
        }
    }
    while ((count = take_queue(&queue, false, rows)) > 0) {
        stores__rows_try_replica(table, rows, count);
    }
}

/* So many rows do not wait for the end of the tick: the server works on them while the host goes on
 * with the next ones. Of 64 to 512 rows this was the fastest, by half; 256 finds in flight had all
 * waited for one command. */
enum { FULL = 128 };

static void flush_full(struct stores__table *table) {
    struct stores__reads *reads = table->reads;
    struct stores__cache *cache = table->engine->cache;
    if (reads->queued[true] < FULL && reads->queued[false] < FULL) return;
    flush_reads(&reads->flush);
    if (cache != NULL) stores__nodes_flush(cache);
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static stores_outcome leave_call(stores_op *op) {
    struct stores__read_call *call = op->stage;
    call->op = NULL;
    return STORES_OUTCOME_NONE;
}

void stores__read_begin(stores_op *op, struct stores__table *table) {
    size_t count = op->doc_count;
    if (count == 0) {
        stores__op_finish(op);
        return;
    }
    struct stores__read_call *call = count == 1
                                         ? stores__spares_take(&op->engine->spare_reads)
                                         : calloc(1, sizeof *call + count * sizeof *call->rows);
    if (call == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a read");
        return;
    }
    call->op = op;
    call->table = stores__table_hold(table);
    call->left = count;
    call->alone = count == 1;
    op->stage = call;
    op->leave = leave_call;
    op->docs_missing = count;
    for (size_t i = 0; i < count; i++) {
        struct stores__read_row *row = &call->rows[i];
        row->call = call;
        row->index = i;
        row->id = op->docs[i].id;
        row->replica = op->replica && !(op->cache && stores__cache_covers(table));
        row->cached = op->cache && !row->replica;
        row->place = STORES__ROW_TAKEN;
        stores__list_init(&row->link);
        bool may_hold = table->hold && op->cache && !op->no_hold;
        if (!may_hold || !stores__row_held(row)) stores__row_enqueue(row);
    }
}

stores_op *stores_find_many(stores_engine *engine, const stores_call *call, const char *table,
                            const int64_t *ids, size_t count) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL) return NULL;
    if (!stores__op_docs(op, count)) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for %zu documents", count);
        return op;
    }
    for (size_t i = 0; i < count; i++) op->docs[i].id = ids[i];
    op->verb = count == 1 ? STORES__VERB_FIND : STORES__VERB_FIND_MANY;
    op->resolved = stores__read_begin;
    stores__table_resolve(op, table);
    if (op->state == STORES__OP_PENDING && op->leave == leave_call) {
        const struct stores__read_call *waits = op->stage;
        flush_full(waits->table);
    }
    return op;
}

stores_op *stores_find(stores_engine *engine, const stores_call *call, const char *table,
                       int64_t id) {
    return stores_find_many(engine, call, table, &id, 1);
}

bool stores__reads_open(stores_engine *engine, const stores_config *config, stores_error *error) {
    (void)config, (void)error;
    engine->spare_reads.size = sizeof(struct stores__read_call) + sizeof(struct stores__read_row);
    return true;
}

void stores__reads_gone(stores_engine *engine) {
    stores__spares_free(&engine->spare_reads);
}

bool stores__reads_new(struct stores__table *table) {
    struct stores__reads *reads = calloc(1, sizeof *reads);
    if (reads == NULL) return false;
    reads->table = table;
    reads->flush.run = flush_reads;
    stores__list_init(&reads->flush.link);
    stores__list_init(&reads->queue);
    stores__list_init(&reads->waiting);
    table->reads = reads;
    return true;
}

static void stop(struct stores__table *table) {
    struct stores__reads *reads = table->reads;
    while (!stores__list_empty(&reads->waiting)) {
        stores__row_look_again(
            STORES__CONTAINER(reads->waiting.next, struct stores__read_row, link));
    }
    flush_reads(&reads->flush);
}

void stores__reads_stop(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        stop(STORES__CONTAINER(at, struct stores__table, link));
    }
}

void stores__reads_free(struct stores__table *table) {
    stores__orphans_free(table);
    if (table->reads == NULL) return;
    stores__list_remove(&table->reads->flush.link); /* what it waited for was sent before */
    free(table->reads);
    table->reads = NULL;
}

/* FILL: what a SELECT told goes into Redis, of the rows that we leased. */
#include "read/internal.h"

#include "cache/life.h"
#include "cache/scripts.h"

static struct stores__redis_script script_fill = {.source = STORES__SCRIPT_FILL};

/* What FILL puts for a line of the result; line -1: there is no such row. */
static void add_fill(const struct stores__read_batch *from, struct stores__args *args, int line) {
    size_t len = 0;
    const char *text = line < 0 ? NULL : stores__pg_value(from->result, line, 1, &len);
    char life[24];
    stores__cache_life(from->table, text, len, life);
    if (line < 0) {
        stores__args_add(args, "N", 1);
    } else if (text == NULL || len > STORES__VALUE_MAX) {
        stores__args_add(args, "", 0); /* not cached: the lease is given back */
    } else {
        stores__args_add(args, "V", 1);
        stores__buf_add(&args->buf, text, len);
    }
    stores__args_str(args, life);
}

static void filled(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, redis_req);
    struct stores__counters *counters = &batch->table->engine->counters;
    int64_t count = stores__redis_integer(*reply, 0);
    if (count > 0) stores__trouble_over(stores__epoch_node(batch->table->epoch));
    counters->fills += (uint64_t)count;
    counters->fills_refused += batch->count - (uint64_t)count;
    stores__batch_free(batch);
}

void stores__rows_fill(struct stores__read_batch *from, const int *found) {
    struct stores__table *table = from->table;
    stores_engine *engine = table->engine;
    const struct stores__read_row *first = NULL;
    struct stores__args args = {0};
    for (size_t i = 0; i < from->count && first == NULL; i++) {
        if (from->rows[i]->fill) first = from->rows[i];
    }
    if (first == NULL || engine->cache->closed) return;
    /* what the name meant, and whether it may be cached, is known for this very epoch */
    if (!table->cacheable || !stores__facts_hold(table) ||
        strcmp(stores__epoch_text(table), from->epoch) != 0) {
        return; /* the lease runs out by itself */
    }
    struct stores__read_batch *batch = stores__batch_new(table, NULL, 0);
    if (batch == NULL) return; /* the lease runs out by itself */
    stores__args_epoch_key(&args, table->epoch);
    for (size_t i = 0; i < from->count; i++) {
        if (!from->rows[i]->fill) continue;
        stores__args_row_key(&args, table, from->epoch, from->rows[i]->id);
        batch->count++;
    }
    stores__args_str(&args, from->epoch);
    stores__args_str(&args, first->token);
    for (size_t i = 0; i < from->count; i++) {
        if (!from->rows[i]->fill) continue;
        add_fill(from, &args, found[i]);
    }
    batch->redis_req.done = filled;
    if (!stores__args_send(&args, engine->cache, &batch->redis_req, &script_fill,
                           (int)batch->count + 1)) {
        stores__batch_free(batch);
    }
}

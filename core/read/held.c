/* Rows in the memory of this process (cache/held.h): who reads them, and which replies are kept. */
#include "cache/held.h"

#include "base/sized.h"
#include "cache/held_scripts.h"
#include "engine/part.h"
#include "names/names.h"
#include "read/internal.h"

struct lives {
    struct stores__redis_req req;
    struct stores__table *table; /* held */
    uint64_t stir;
    size_t count;
    int64_t ids[];
};

static struct stores__redis_script script_lives = {.source = STORES__SCRIPT_LIVES};

void stores__rows_hold(struct stores__table *table) {
    if (!stores__facts_hold(table)) return; /* they come with the next SELECT */
    const struct stores__epoch *epoch = table->epoch;
    uint64_t wanted = UINT64_C(1000) * stores__held_seconds(table->engine->cache);
    if (stores__epoch_marked(epoch)) stores__held_look(table);
    if (stores__epoch_longest(epoch) < wanted) STORES__UPWARDS(table->engine, mark, table);
}

/* ---- What is kept ---------------------------------------------------------------------------- */

void stores__row_keep(struct stores__read_batch *batch, const struct stores__read_row *row,
                      const char *text, size_t len) {
    const stores_op *op = row->call->op;
    if (batch->stir == 0 || (op != NULL && op->no_hold)) return;
    if (batch->kept == NULL) batch->kept = malloc(batch->count * sizeof *batch->kept);
    if (batch->kept == NULL) return;
    if (stores__held_keep(batch->table, batch->stir, row->id, text, len)) {
        batch->kept[batch->kept_count++] = row->id;
    }
}

static void took_lives(struct stores__redis_req *req, struct redisReply **reply) {
    struct lives *lives = STORES__CONTAINER(req, struct lives, req);
    bool one = lives->count == 1, whole = one || stores__redis_count(*reply) == lives->count;
    for (size_t i = 0; whole && i < lives->count; i++) {
        stores__held_lives(lives->table, lives->stir, lives->ids[i],
                           stores__redis_integer(one ? *reply : stores__redis_at(*reply, i), 0));
    }
    stores__table_let_go(lives->table);
    free(lives);
}

void stores__rows_kept(struct stores__read_batch *batch) {
    struct stores__table *table = batch->table;
    struct stores__args args = {0};
    if (batch->kept_count == 0) return;
    size_t size = batch->kept_count * sizeof(int64_t);
    struct lives *lives = calloc(1, sizeof *lives + size);
    if (lives == NULL) return; /* they stay for a second */
    lives->table = stores__table_hold(table);
    lives->stir = batch->stir;
    lives->count = batch->kept_count;
    memcpy(lives->ids, batch->kept, size);
    lives->req.done = took_lives;
    bool one = lives->count == 1; /* a script is several times as dear */
    if (one) stores__args_str(&args, "PTTL");
    for (size_t i = 0; i < lives->count; i++) {
        stores__args_row_key(&args, table, batch->epoch, lives->ids[i]);
    }
    if (!stores__args_send(&args, table->engine->cache, &lives->req, one ? NULL : &script_lives,
                           (int)lives->count)) {
        stores__table_let_go(lives->table);
        free(lives);
    }
}

/* ---- What is read ---------------------------------------------------------------------------- */

/* What is held is held by its oid, also for other names that it has, or had: whether it is still
 * this one's the facts tell. */
static struct stores__held_row *find(struct stores__table *table, int64_t id, uint64_t now) {
    bool holds = table->cacheable && stores__facts_hold(table);
    return holds ? stores__held_find(table, id, now) : NULL;
}

bool stores__row_held(struct stores__read_row *row) {
    const struct stores__held_row *held = find(row->call->table, row->id, stores__held_now());
    if (held == NULL) return false;
    char *copy = held->there ? malloc(held->len + 1) : NULL;
    struct stores__blob *blob = copy != NULL ? stores__blob_new(copy, free) : NULL;
    if (held->there && blob == NULL) {
        free(copy);
        return false;
    }
    size_t len = held->len;
    if (copy != NULL) memcpy(copy, held->text, len);
    stores__row_found(row, copy, len, blob, 'c');
    if (blob != NULL) stores__blob_drop(blob);
    return true;
}

int stores_held_find(stores_engine *engine, const char *table, int64_t id, stores_held *held) {
    if (stores__closing(engine) || engine->process != stores__process()) return -1;
    struct stores__table *known = stores__table_known(engine, table);
    if (known == NULL || !known->hold) return -1;
    uint64_t now = stores__held_now();
    stores__held_listen(known, now);
    struct stores__held_row *row = find(known, id, now);
    if (row == NULL) return -1;
    const stores_held own = {sizeof own, row->text, row->len, row->marks, row->slot};
    return stores__sized_give(&stores__sized_held, held, &own) ? row->there : -1;
}

/* Rows that are asked for by something else than their id. Redis may have a hint which row it is,
 * under a digest of what is asked for, and that row is read as any other. A hint may be lost, old,
 * or anything: who asks looks at the row before it counts (spec/model/hints.lua). */
#include "read/internal.h"

#include "base/ids.h"
#include "base/md5.h"
#include "names/names.h"

/* A hint that an op waits for. */
struct hint_call {
    struct stores__list link; /* of the queue, then of a batch */
    stores_op *op; /* NULL: it left */
    struct stores__table *table; /* held; NULL: not known yet */
    bool asked; /* Redis */
    char digest[STORES__MD5_HEX + 1];
};

struct stores__hints {
    struct stores__flush flush;
    struct stores__table *table;
    struct stores__list queue; /* of this tick */
};

struct hint_batch {
    struct stores__redis_req req;
    struct stores__table *table; /* its calls hold it */
    struct stores__list calls; /* in the order of the keys */
};

/* Where the rows of a table are not cached just now, PostgreSQL is asked in one round trip. */
static bool serves(const struct stores__table *table) {
    return stores__cache_readable(table) && !stores__epoch_node(table->epoch)->evicts_any;
}

static void free_call(struct hint_call *call) {
    stores__table_let_go(call->table);
    free(call);
}

static stores_outcome leave_call(stores_op *op) {
    struct hint_call *call = op->stage;
    call->op = NULL;
    return STORES_OUTCOME_NONE;
}

/* The hint has come; text NULL: there is none. Frees the call. */
static void told(struct hint_call *call, const char *text, size_t len) {
    stores_op *op = call->op;
    if (op != NULL) {
        op->stage = NULL;
        op->leave = NULL;
        struct stores__counters *counters = &op->engine->counters;
        op->affected = text != NULL && stores_id_parse(text, len, &op->docs[0].id, NULL);
        if (call->asked) *(op->affected ? &counters->hints_found : &counters->hints_missed) += 1;
        if (op->affected) {
            stores__read_begin(op, call->table);
        } else {
            stores__op_finish(op);
        }
    }
    free_call(call);
}

static struct hint_call *shift(struct stores__list *calls) {
    return STORES__CONTAINER(stores__list_shift(calls), struct hint_call, link);
}

static void batch_over(struct hint_batch *batch, const struct redisReply *reply) {
    for (size_t i = 1; !stores__list_empty(&batch->calls); i++) {
        size_t len = 0;
        const char *text = stores__redis_text(stores__redis_at(reply, i), &len);
        told(shift(&batch->calls), text, len);
    }
    free(batch);
}

/* The epoch comes along: while the table turns no row is read from the cache. */
static void got(struct stores__redis_req *req, struct redisReply **reply) {
    struct hint_batch *batch = STORES__CONTAINER(req, struct hint_batch, req);
    const struct stores__table *table = batch->table;
    size_t len = 0;
    bool answered = stores__redis_count(*reply) >= 1;
    if (answered) {
        const char *epoch = stores__redis_text(stores__redis_at(*reply, 0), &len);
        stores__epoch_seen(table->epoch, epoch, len);
    }
    bool counts = answered && stores__epoch_state(table) == STORES__EPOCH_VALID;
    batch_over(batch, counts ? *reply : NULL);
}

/* The next ones of the queue. */
static void send_some(struct stores__hints *hints) {
    struct stores__table *table = hints->table;
    struct hint_batch *batch = calloc(1, sizeof *batch);
    struct stores__args args = {0};
    if (batch == NULL) {
        told(shift(&hints->queue), NULL, 0);
        return;
    }
    stores__list_init(&batch->calls);
    batch->table = table;
    batch->req.done = got;
    stores__args_str(&args, "MGET");
    stores__args_epoch_key(&args, table->epoch);
    for (int i = 0; i < STORES__MGET_ROWS && !stores__list_empty(&hints->queue); i++) {
        struct hint_call *call = shift(&hints->queue);
        if (call->op == NULL) {
            free_call(call);
            continue;
        }
        call->asked = true;
        stores__list_append(&batch->calls, &call->link);
        stores__args_hint_key(&args, table, call->digest);
        stores__op_phase(call->op, STORES__PHASE_REDIS);
    }
    bool nobody = stores__list_empty(&batch->calls);
    if (nobody) stores__args_free(&args);
    if (nobody || !stores__args_send(&args, table->engine->cache, &batch->req, NULL, 0)) {
        batch_over(batch, NULL);
    }
}

static void flush_hints(struct stores__flush *flush) {
    struct stores__hints *hints = STORES__CONTAINER(flush, struct stores__hints, flush);
    struct stores__table *table = hints->table;
    if (stores__list_empty(&hints->queue)) return;
    bool sends = !stores__closing(table->engine) && serves(table);
    if (!stores__closing(table->engine)) stores__reads_look(table, sends);
    while (!stores__list_empty(&hints->queue)) {
        if (sends) {
            send_some(hints);
        } else {
            told(shift(&hints->queue), NULL, 0);
        }
    }
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static struct stores__hints *hints_of(struct stores__table *table) {
    if (table->hints != NULL) return table->hints;
    struct stores__hints *hints = calloc(1, sizeof *hints);
    if (hints == NULL) return NULL;
    hints->table = table;
    hints->flush.run = flush_hints;
    stores__list_init(&hints->flush.link);
    stores__list_init(&hints->queue);
    table->hints = hints;
    return hints;
}

static void dispose(stores_op *op) {
    free_call(op->stage);
}

static void resolved(stores_op *op, struct stores__table *table) {
    struct hint_call *call = op->stage;
    struct stores__hints *hints = hints_of(table);
    if (!op->cache || hints == NULL || !stores__cache_covers(table)) {
        stores__op_finish(op);
        return;
    }
    op->dispose = NULL;
    op->leave = leave_call;
    call->table = stores__table_hold(table);
    stores__list_append(&hints->queue, &call->link);
    stores__flush_at_end(table->engine, &hints->flush);
}

stores_op *stores_find_hinted(stores_engine *engine, const stores_call *given, const char *table,
                              const char *key, size_t len) {
    stores_op *op = stores__op_new(engine, given);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    struct hint_call *call = calloc(1, sizeof *call);
    if (call == NULL || !stores__op_docs(op, 1)) {
        free(call);
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a hint");
        return op;
    }
    stores__list_init(&call->link);
    call->op = op;
    stores__md5_hex(key, len, call->digest);
    op->verb = STORES__VERB_FIND;
    op->stage = call;
    op->dispose = dispose;
    op->resolved = resolved;
    stores__table_resolve(op, table);
    return op;
}

/* ---- What is kept ---------------------------------------------------------------------------- */

struct telling {
    struct stores__redis_req req;
    struct stores__table *table; /* held */
};

static void telling_over(struct telling *telling) {
    stores__table_let_go(telling->table);
    free(telling);
}

static void took(struct stores__redis_req *req, struct redisReply **reply) {
    struct telling *telling = STORES__CONTAINER(req, struct telling, req);
    if (stores__redis_text(*reply, NULL) != NULL) {
        stores__trouble_over(stores__epoch_node(telling->table->epoch));
    }
    telling_over(telling);
}

void stores_hint(stores_engine *engine, const char *name, const char *key, size_t len,
                 const int64_t *id) {
    char digest[STORES__MD5_HEX + 1], text[STORES__ID_SIZE], life[24];
    struct stores__args args = {0};
    if (stores__closing(engine) || stores__engine_forked(engine)) return;
    struct stores__table *table = stores__table_known(engine, name);
    if (table == NULL || !serves(table) || hints_of(table) == NULL) return;
    struct telling *telling = calloc(1, sizeof *telling);
    if (telling == NULL) return;
    telling->table = stores__table_hold(table);
    telling->req.done = took;
    stores__md5_hex(key, len, digest);
    stores__args_str(&args, id != NULL ? "SET" : "DEL");
    stores__args_hint_key(&args, table, digest);
    if (id != NULL) {
        stores__args_add(&args, text, stores__id_write(*id, text));
        stores__cache_ttl(engine->config.ttl_ms, life);
        stores__args_str(&args, "PX");
        stores__args_str(&args, life);
    }
    if (!stores__args_send(&args, engine->cache, &telling->req, NULL, 0)) {
        telling_over(telling);
        return;
    }
    stores__flush_at_end(engine, &table->hints->flush); /* it goes with what the tick sends */
}

/* ---- The engine's part ----------------------------------------------------------------------- */

void stores__hints_stop(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__hints *hints = STORES__CONTAINER(at, struct stores__table, link)->hints;
        if (hints != NULL) flush_hints(&hints->flush);
    }
}

void stores__hints_free(struct stores__table *table) {
    if (table->hints == NULL) return;
    stores__list_remove(&table->hints->flush.link); /* what it waited for was told before */
    free(table->hints);
    table->hints = NULL;
}

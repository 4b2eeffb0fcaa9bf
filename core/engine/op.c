#include "engine/op.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/reach.h"
#include "base/sized.h"
#include "engine/engine.h"
#include "engine/part.h"

#define TIMEOUT_MAX_MS UINT64_C(1000000000000000) /* more would wrap around */

void stores__op_phase(stores_op *op, enum stores__phase phase) {
    if (!op->engine->timed || op->phase == phase) return;
    uint64_t now = uv_hrtime();
    op->spent_ns[op->phase] += now - op->phase_ns;
    op->phase = phase;
    op->phase_ns = now;
}

static void measure(stores_op *op) {
    uint64_t now = op->engine->burst_ns ? op->engine->burst_ns : uv_hrtime();
    op->spent_ns[op->phase] += now - op->phase_ns;
    stores__latency_add(&op->engine->latency, op->verb, now - op->started_ns);
}

static void complete(stores_op *op) {
    assert(op->state == STORES__OP_PENDING);
    measure(op);
    stores__timer_stop(&op->engine->timers, &op->timer);
    stores__list_remove(&op->link);
    stores__list_remove(&op->stage_link);
    stores__list_remove(&op->inside_link);
    op->state = STORES__OP_READY;
    op->leave = NULL;
    if (op->dispose != NULL) op->dispose(op);
    op->dispose = NULL;
    op->stage = NULL;
    stores__list_append(&op->engine->ready, &op->link);
}

static void deadline(struct stores__timer *timer) {
    stores_op *op = STORES__CONTAINER(timer, stores_op, timer);
    op->ends_early = STORES_TIMEOUT;
    stores_outcome outcome = op->leave ? op->leave(op) : STORES_OUTCOME_NONE;
    op->leave = NULL;
    if (op->state != STORES__OP_PENDING) return;
    op->engine->counters.timeouts++;
    op->error = stores__error_new(STORES_TIMEOUT, "the call did not end within %.3g s",
                                  (double)op->timeout_ms / 1000);
    stores__error_outcome(&op->error, outcome);
    complete(op);
}

/* The loop's time is as old as its last turn: a host that was busy since would lose that much. */
static uint64_t fresh_now(stores_engine *engine, uint64_t ns) {
    if (ns / 1000000 > stores__now(engine)) uv_update_time(engine->loop);
    return stores__now(engine);
}

static const char FORKED_TEXT[] = "the engine belongs to the process before the fork";

/* An op of an engine that takes none any more. Its timers and its loop may be gone, or the
 * parent's; where nobody will turn a loop for it, it is done at once, and its callback does not
 * run. */
static void refuse(stores_op *op) {
    stores_engine *engine = op->engine;
    bool forked = stores__engine_forked(engine);
    engine->live_ops++;
    engine->pending_count++;
    if (engine->life == STORES__CLOSED) op->cb = NULL;
    stores__op_failf(op, forked ? STORES_FORKED : STORES_CLOSED, "%s",
                     forked ? FORKED_TEXT : "the store is closed");
    if (engine->life == STORES__CLOSED) stores__op_drain(engine);
}

/* An op that its arguments end at once: it is told from the loop, as any other. */
static void fail_call(stores_op *op, const stores_call *call) {
    stores_call own;
    stores_error error;
    if (stores__call_given(call, &own, &error) == NULL) stores__op_fail(op, &error);
}

/* The call as this library knows it. One that is wrong keeps those who are to hear of that. */
static const stores_call *know_call(const stores_call *call, stores_call *own, bool *wrong) {
    stores_error error;
    *wrong = stores__call_given(call, own, &error) == NULL;
    if (*wrong) {
        own->cb = call->cb;
        own->arg = call->arg;
    }
    return own;
}

/* Where there are no replicas the primary answers, which has whatever a token asks for. */
static void take_token(stores_op *op, const char *token) {
    if (!stores__token_is(token)) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "after_token is no token of a store");
    } else if (op->replica) {
        op->after_token = stores__strdup(token);
        if (op->after_token == NULL)
            stores__op_failf(op, STORES_NO_MEMORY, "no memory for a token");
    }
}

stores_op *stores__op_new(stores_engine *engine, const stores_call *given) {
    static const stores_call defaults = STORES_CALL_INIT;
    const stores_call *call = given ? given : &defaults;
    stores_call own;
    bool wrong = false;
    if (call->size != sizeof *call) call = know_call(call, &own, &wrong);
    stores_op *op = stores__spares_take(&engine->spare_ops);
    if (op == NULL) return NULL;
    op->engine = engine;
    op->cb = call->cb;
    op->arg = call->arg;
    op->cache = engine->cache != NULL && !call->no_cache;
    op->no_hold = call->no_hold != 0;
    op->replica = call->read == STORES_READ_REPLICA && engine->replicas != NULL;
    op->source = '-';
    op->started_ns = op->phase_ns = uv_hrtime();
    op->timer.fire = deadline;
    op->timeout_ms = call->timeout_ms ? call->timeout_ms : engine->config.timeout_ms;
    if (op->timeout_ms > TIMEOUT_MAX_MS) op->timeout_ms = TIMEOUT_MAX_MS;
    stores__list_init(&op->link);
    stores__list_init(&op->stage_link);
    stores__list_init(&op->inside_link);
    if (stores__closing(engine) || stores__engine_forked(engine)) {
        refuse(op);
        return op;
    }
    uint64_t now = fresh_now(engine, op->started_ns);
    if (!stores__timer_set(&engine->timers, &op->timer, now + op->timeout_ms)) {
        stores__spares_give(&engine->spare_ops, op);
        return NULL;
    }
    if (call->inside != NULL) {
        STORES__UPWARDS(engine, insider, call->inside, op);
    }
    stores__list_append(&engine->pending, &op->link);
    engine->live_ops++;
    engine->counters.calls++;
    if (engine->pending_count++ == 0) stores__engine_hold(engine);
    if (engine->config.breaker_ms > 0) stores__breaker_watch(engine);
    stores__engine_wake(engine);
    if (wrong) {
        fail_call(op, given);
    } else if (call->after_token != NULL) {
        take_token(op, call->after_token);
    }
    return op;
}

void stores__op_forsake(stores_op *op) {
    if (op->state == STORES__OP_DONE || op->forsaken) return;
    if (op->error == NULL) op->error = stores__error_new(STORES_FORKED, FORKED_TEXT);
    op->forsaken = true;
}

bool stores__op_docs(stores_op *op, size_t n) {
    op->docs = n <= 1 ? &op->one : calloc(n, sizeof *op->docs);
    if (op->docs == NULL) return false;
    op->doc_count = n;
    return true;
}

void stores__op_set_doc(stores_op *op, size_t index, int64_t id, const char *text, size_t len,
                        struct stores__blob *blob) {
    struct stores__doc *doc = &op->docs[index];
    stores__blob_drop(doc->blob); /* of a segment that was rolled back */
    doc->id = id;
    doc->text = text;
    doc->len = len;
    doc->blob = text && blob ? stores__blob_ref(blob) : NULL;
}

void stores__op_finish(stores_op *op) {
    complete(op);
}

void stores__op_fail(stores_op *op, const stores_error *error) {
    op->error = stores__error_dup(error);
    complete(op);
}

void stores__op_failf(stores_op *op, stores_code code, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    op->error = stores__error_new(code, "%s", text);
    complete(op);
}

static void destroy(stores_op *op) {
    for (size_t i = 0; i < op->doc_count; i++) stores__blob_drop(op->docs[i].blob);
    if (op->docs != &op->one) free(op->docs);
    if (op->result != NULL) stores__pg_result_free(op->result);
    stores__error_free(op->error);
    free(op->after_token);
    stores_engine *engine = op->engine;
    stores__spares_give(&engine->spare_ops, op);
    stores__engine_op_gone(engine);
}

static void settle(stores_op *op) {
    stores_engine *engine = op->engine;
    op->state = STORES__OP_DONE;
    if (op->error != NULL && engine->config.shard_count > 0) {
        stores__error_shard(op->error, engine->config.shard_id);
    }
    if (--engine->pending_count == 0) stores__engine_let_go(engine);
    if (op->freed) {
        destroy(op);
    } else if (op->cb != NULL) {
        op->cb(op, op->arg);
    }
}

size_t stores__op_drain(stores_engine *engine) {
    struct stores__list batch;
    size_t count = 0;
    stores__list_init(&batch);
    stores__list_move(&engine->ready, &batch);
    for (struct stores__list *at; (at = stores__list_shift(&batch)) != NULL; count++) {
        settle(STORES__CONTAINER(at, stores_op, link));
    }
    return count;
}

void stores__op_end_early(stores_op *op, stores_code code, const char *text) {
    op->ends_early = code;
    stores_outcome outcome = op->leave ? op->leave(op) : STORES_OUTCOME_NONE;
    op->leave = NULL;
    if (op->state != STORES__OP_PENDING) return;
    if (op->error == NULL) { /* else it was forsaken, and its caller may have looked */
        op->error = stores__error_new(code, "%s", text);
        stores__error_outcome(&op->error, outcome);
    }
    complete(op);
}

void stores__op_close_all(stores_engine *engine, stores_code code, const char *text) {
    while (!stores__list_empty(&engine->pending)) {
        stores__op_end_early(STORES__CONTAINER(engine->pending.next, stores_op, link), code, text);
    }
}

static void silence(struct stores__list *ops) {
    for (struct stores__list *at = ops->next; at != ops; at = at->next) {
        STORES__CONTAINER(at, stores_op, link)->cb = NULL;
    }
}

void stores__op_forget_all(stores_engine *engine) {
    stores__list_move(&engine->parents, &engine->ready);
    silence(&engine->ready);
    silence(&engine->pending);
    stores__op_close_all(engine, STORES_FORKED, FORKED_TEXT);
}

void stores_op_free(stores_op *op) {
    if (op == NULL) return;
    /* in a child of a fork what is under way is the parent's, and is kept until that is
     * forgotten */
    if (op->state == STORES__OP_PENDING && stores__engine_forked(op->engine)) {
        op->freed = true;
        return;
    }
    if (op->state == STORES__OP_PENDING)
        stores__op_end_early(op, STORES_ABANDONED, "the caller went away");
    if (op->state == STORES__OP_READY) {
        op->freed = true;
    } else {
        destroy(op);
    }
}

bool stores_op_done(const stores_op *op) {
    return op->state == STORES__OP_DONE || op->forsaken;
}

const stores_error *stores_op_error(const stores_op *op) {
    return op->error;
}

size_t stores_op_document_count(const stores_op *op) {
    return op->doc_count;
}

bool stores_op_document(const stores_op *op, size_t index, int64_t *id, const char **text,
                        size_t *len) {
    if (index >= op->doc_count || op->docs[index].text == NULL) return false;
    if (id != NULL) *id = op->docs[index].id;
    *text = op->docs[index].text;
    *len = op->docs[index].len;
    return true;
}

int64_t stores_op_affected(const stores_op *op) {
    return op->affected;
}

bool stores_op_inserted(const stores_op *op) {
    return op->inserted;
}

int64_t stores_op_id(const stores_op *op) {
    return op->id;
}

int stores_op_rows(const stores_op *op) {
    return op->result ? stores__pg_rows(op->result) : 0;
}

int stores_op_columns(const stores_op *op) {
    return op->result ? stores__pg_columns(op->result) : 0;
}

const char *stores_op_column(const stores_op *op, int column) {
    return op->result ? stores__pg_column(op->result, column) : NULL;
}

uint32_t stores_op_column_type(const stores_op *op, int column) {
    return op->result ? stores__pg_column_type(op->result, column) : 0;
}

const char *stores_op_value(const stores_op *op, int row, int column, size_t *len) {
    return op->result ? stores__pg_value(op->result, row, column, len) : NULL;
}

void stores_time_calls(stores_engine *engine, bool on) {
    engine->timed = on;
}

void stores_watch_statements(stores_engine *engine, stores_statement_cb fn, void *arg) {
    engine->pool.common.statement = fn;
    engine->pool.common.statement_arg = arg;
}

bool stores_op_times(const stores_op *op, stores_times *times) {
    const stores_times own = {.queue = (double)op->spent_ns[STORES__PHASE_QUEUE] / 1e9,
                              .connect = (double)op->spent_ns[STORES__PHASE_CONNECT] / 1e9,
                              .redis = (double)op->spent_ns[STORES__PHASE_REDIS] / 1e9,
                              .postgres = (double)op->spent_ns[STORES__PHASE_POSTGRES] / 1e9,
                              .retries = op->retries};
    return stores__sized_give(&stores__sized_times, times, &own);
}

void stores_latency(stores_engine *engine,
                    void (*verb)(void *arg, const char *name, const uint64_t *counts,
                                 const double *bounds, int buckets, double sum),
                    void *arg) {
    static const char *const names[] = {
#define STORES__X(NAME, name) name,
        STORES__VERBS(STORES__X)
#undef STORES__X
    };
    double bounds[STORES__BUCKETS];
    for (int i = 0; i < STORES__BUCKETS; i++) bounds[i] = (double)(UINT64_C(16384) << i) / 1e9;
    for (int i = 0; i < STORES__VERB_COUNT; i++) {
        verb(arg, names[i], engine->latency.buckets[i], bounds, STORES__BUCKETS,
             (double)engine->latency.sum_ns[i] / 1e9);
    }
}

char stores_op_source(const stores_op *op) {
    return op->source;
}

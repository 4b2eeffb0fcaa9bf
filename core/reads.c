#include "reads.h"

#include <stdio.h>

#include "cache.h"
#include "cache_scripts.h"
#include "ids.h"

enum {
    MGET_ROWS = 512, /* of one command */
    SELECT_ROWS = 128, /* of one statement */
    LEASE_MS = 3000,
    LEASE_TRIES = 3, /* looks at another's lease, before PostgreSQL is asked without filling */
    LEASE_WAIT_MS = 4,
    EPOCH_TRIES = 2, /* MGETs under a corrected epoch */
    LOST_TRIES = 1 /* a read that lost its connection runs again */
};

/* One row that an op waits for. It outlives an op that leaves: a lease is worth filling. */
struct read_row {
    struct stores__list link; /* of the queue or of a batch */
    struct stores__timer timer;
    struct read_call *call;
    struct read_row *twin; /* another row of the same id, which gets what this one gets */
    int64_t id;
    size_t index; /* of the document in the op */
    unsigned char lease_tries, epoch_tries, lost_tries;
    bool cached; /* to be looked up in the cache */
    bool fill; /* we hold its lease */
    char token[STORES__TOKEN_TEXT + 1];
    const char *epoch; /* under which the lease was taken; valid until select_rows copied it */
};

struct read_call {
    stores_op *op; /* NULL: it left */
    struct stores__table *table;
    size_t left;
    struct read_row rows[];
};

struct stores__reads {
    struct stores__flush flush;
    struct stores__table *table;
    struct stores__list queue; /* rows of this tick */
    struct stores__list waiting; /* rows that wait for somebody else's lease */
    uint64_t jitter, jitter_at; /* one for all that begin to wait at the same time */
};

enum batch_step { BATCH_MGET, BATCH_LEASE, BATCH_SELECT, BATCH_FILL };

/* Rows that travel together. */
struct batch {
    enum batch_step step;
    struct stores__table *table;
    struct stores__redis_req redis_req;
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__pg_conn *conn;
    struct pg_result *result;
    struct stores__blob *blob; /* owns the result, or the reply, once it has one */
    stores_error error;
    bool stale_plan;
    char epoch[STORES__EPOCH_TEXT];
    char token[STORES__TOKEN_TEXT + 1];
    size_t count;
    struct read_row *rows[];
};

static struct stores__redis_script script_lease = {.source = STORES__SCRIPT_LEASE};
static struct stores__redis_script script_fill = {.source = STORES__SCRIPT_FILL};

/* ---- Rows ------------------------------------------------------------------------------------ */

static void row_over(struct read_row *row) {
    struct read_call *call = row->call;
    if (--call->left == 0) free(call);
}

static void found_one(struct read_row *row, const char *text, size_t len,
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

static void row_found(struct read_row *row, const char *text, size_t len,
                      struct stores__blob *blob, char source) {
    for (struct read_row *next; row != NULL; row = next) {
        next = row->twin;
        found_one(row, text, len, blob, source);
    }
}

static void failed_one(struct read_row *row, const stores_error *error) {
    stores_op *op = row->call->op;
    if (op != NULL) {
        row->call->op = NULL;
        stores__op_fail(op, error);
    }
    row_over(row);
}

static void row_failed(struct read_row *row, const stores_error *error) {
    for (struct read_row *next; row != NULL; row = next) {
        next = row->twin;
        failed_one(row, error);
    }
}

static stores_outcome leave_call(stores_op *op) {
    struct read_call *call = op->stage;
    call->op = NULL;
    return STORES_OUTCOME_NONE;
}

/* Of what these rows wait for. */
static void set_phase(struct stores__table *table, struct read_row **rows, size_t count,
                      enum stores__phase phase) {
    if (!table->engine->timed) return;
    for (size_t i = 0; i < count; i++) {
        if (rows[i]->call->op != NULL) stores__op_phase(rows[i]->call->op, phase);
    }
}

static void enqueue(struct read_row *row) {
    struct stores__table *table = row->call->table;
    stores__list_append(&table->reads->queue, &row->link);
    stores__flush_at_end(table->engine, &table->reads->flush);
}

/* ---- Batches --------------------------------------------------------------------------------- */

static struct batch *batch_new(struct stores__table *table, size_t room) {
    struct batch *batch = calloc(1, sizeof *batch + room * sizeof *batch->rows);
    if (batch == NULL) return NULL;
    batch->table = table;
    stores__list_init(&batch->wait.link);
    return batch;
}

static void batch_free(struct batch *batch) {
    if (batch->blob != NULL) {
        stores__blob_drop(batch->blob);
    } else if (batch->result != NULL) {
        stores__pg_result_free(batch->result);
    }
    free(batch);
}

static void fail_rows(struct read_row **rows, size_t count, const stores_error *error) {
    for (size_t i = 0; i < count; i++) row_failed(rows[i], error);
}

static void no_memory(struct read_row **rows, size_t count) {
    stores_error error;
    stores__error_set(&error, STORES_NO_MEMORY, "no memory for a read");
    fail_rows(rows, count, &error);
}

/* ---- PostgreSQL ------------------------------------------------------------------------------ */

static void select_rows(struct stores__table *table, struct read_row **rows, size_t count);

/* By id; of those of one id, the one that holds the lease first. */
static int by_id(const void *a, const void *b) {
    const struct read_row *x = *(struct read_row *const *)a, *y = *(struct read_row *const *)b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return (int)y->fill - (int)x->fill;
}

/* Puts the rows in order of ids, each id once: many readers of a cold row ask for it once. None of
 * them has been sent, so that each may have what the first one gets. */
static size_t merge_twins(struct read_row **rows, size_t count) {
    size_t kept = 0;
    if (count < 2) return count;
    qsort(rows, count, sizeof(*rows), by_id);
    for (size_t i = 1; i < count; i++) {
        if (rows[i]->id != rows[kept]->id) {
            rows[++kept] = rows[i];
            continue;
        }
        struct read_row *last = rows[i];
        while (last->twin != NULL) last = last->twin;
        last->twin = rows[kept]->twin;
        rows[kept]->twin = rows[i];
    }
    return kept + 1;
}

/* What FILL puts for a line of the result; line -1: there is no such row. */
static void add_fill(const struct batch *from, struct stores__args *args, int line) {
    const stores_config *config = &from->table->engine->config;
    size_t len = 0;
    const char *text = line < 0 ? NULL : stores__pg_value(from->result, line, 1, &len);
    char life[24];
    stores__cache_ttl(line < 0 ? config->negative_ttl_ms : config->ttl_ms, life);
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
    struct batch *batch = STORES__CONTAINER(req, struct batch, redis_req);
    struct stores__counters *counters = &batch->table->engine->counters;
    int64_t count = stores__redis_integer(*reply, 0);
    counters->fills += (uint64_t)count;
    counters->fills_refused += batch->count - (uint64_t)count;
    batch_free(batch);
}

/* What the SELECT said of a row: found[i] is its line, or -1. Rows without our lease are passed
 * over; all that are left were leased under one epoch, by one token. */
static void fill_rows(struct batch *from, const int *found) {
    struct stores__table *table = from->table;
    stores_engine *engine = table->engine;
    const struct read_row *first = NULL;
    struct stores__args args = {0};
    for (size_t i = 0; i < from->count && first == NULL; i++) {
        if (from->rows[i]->fill) first = from->rows[i];
    }
    if (first == NULL || engine->cache->redis == NULL) return;
    struct batch *batch = batch_new(table, 0);
    if (batch == NULL) return; /* the lease runs out by itself */
    stores__args_epoch_key(&args, table);
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
        batch_free(batch);
    }
}

static int64_t result_id(const struct pg_result *result, int row) {
    const char *text = stores__pg_value(result, row, 0, NULL);
    return text ? strtoll(text, NULL, 10) : 0;
}

/* Which line of the result tells of which row; the rows are in order of their ids. */
static void match(struct batch *batch, int *found) {
    for (size_t i = 0; i < batch->count; i++) found[i] = -1;
    int lines = stores__pg_rows(batch->result);
    for (int line = 0; line < lines; line++) {
        int64_t id = result_id(batch->result, line);
        size_t low = 0, high = batch->count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (batch->rows[middle]->id < id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < batch->count && batch->rows[low]->id == id) found[low] = line;
    }
}

static void answer(struct batch *batch) {
    int found[SELECT_ROWS];
    match(batch, found);
    /* the caller is answered from the loop later on; the fill is queued first, while rows live */
    if (!batch->conn->standby) fill_rows(batch, found);
    for (size_t i = 0; i < batch->count; i++) {
        size_t len = 0;
        const char *text = NULL;
        if (found[i] >= 0) {
            text = stores__pg_value(batch->result, found[i], 1, &len);
            if (text == NULL) text = "null", len = 4; /* a row without a value is no document */
        }
        row_found(batch->rows[i], text, len, batch->blob, 'p');
    }
}

static void took_rows(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct batch *batch = STORES__CONTAINER(req, struct batch, req);
    (void)index;
    if (stores__pg_result_ok(result, &batch->error)) {
        batch->result = result;
        return;
    }
    batch->stale_plan = stores__pg_stale_plan(&batch->error, result);
    stores__pg_result_free(result);
}

static bool try_again(struct batch *batch, enum stores__pg_end end) {
    bool lost = end == STORES__PG_LOST && batch->result == NULL;
    if (batch->stale_plan) stores__pg_forget_statements(batch->conn);
    if ((!lost && !batch->stale_plan) || batch->table->engine->closing) return false;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->rows[i]->lost_tries++ >= LOST_TRIES) return false;
        batch->rows[i]->fill = false; /* a fill needs the SELECT that came right after its lease */
    }
    batch->table->engine->counters.read_retries++;
    select_rows(batch->table, batch->rows, batch->count);
    return true;
}

static void select_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct batch *batch = STORES__CONTAINER(req, struct batch, req);
    if (!try_again(batch, end)) {
        if (batch->result != NULL) {
            batch->blob = stores__blob_new(batch->result, stores__pg_result_free);
            if (batch->blob != NULL) {
                answer(batch);
            } else {
                no_memory(batch->rows, batch->count);
            }
        } else {
            if (batch->error.code == STORES_OK) {
                stores__error_set(&batch->error, STORES_CONNECTION_LOST,
                                  "the connection was lost while reading");
            }
            if (batch->error.code == STORES_TABLE_NOT_FOUND) {
                stores__table_forget_names(batch->table->engine);
            }
            fail_rows(batch->rows, batch->count, &batch->error);
        }
    }
    batch_free(batch);
}

static void select_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct batch *batch = STORES__CONTAINER(wait, struct batch, wait);
    struct stores__buf ids = {0};
    const char *sql = batch->count == 1 ? batch->table->find_sql : batch->table->find_any_sql;
    if (batch->count > 1) stores__buf_str(&ids, "{");
    for (size_t i = 0; i < batch->count; i++) {
        char id[STORES__ID_SIZE];
        size_t len = stores__id_write(batch->rows[i]->id, id);
        if (i > 0) stores__buf_add(&ids, ",", 1);
        stores__buf_add(&ids, id, len);
    }
    if (batch->count > 1) stores__buf_str(&ids, "}");
    const char *values[] = {stores__buf_text(&ids)};
    batch->conn = conn;
    batch->req.result = took_rows;
    batch->req.done = select_over;
    batch->table->engine->counters.selects++;
    set_phase(batch->table, batch->rows, batch->count, STORES__PHASE_POSTGRES);
    stores__pg_begin(conn, &batch->req);
    if (values[0] != NULL) {
        stores__pg_add(conn, &batch->req, sql, 1, values, true);
    } else {
        stores__error_set(&batch->error, STORES_NO_MEMORY, "no memory for a read");
    }
    stores__pg_sync(conn, &batch->req);
    stores__buf_free(&ids);
}

static void select_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct batch *batch = STORES__CONTAINER(wait, struct batch, wait);
    fail_rows(batch->rows, batch->count, error);
    batch_free(batch);
}

/* Reads rows from PostgreSQL; those with a lease were leased together. */
static void select_rows(struct stores__table *table, struct read_row **rows, size_t count) {
    count = merge_twins(rows, count);
    for (size_t at = 0; at < count; at += SELECT_ROWS) {
        size_t n = count - at < SELECT_ROWS ? count - at : SELECT_ROWS;
        struct batch *batch = batch_new(table, n);
        if (batch == NULL) {
            no_memory(rows + at, n);
            continue;
        }
        batch->step = BATCH_SELECT;
        batch->count = n;
        memcpy(batch->rows, rows + at, n * sizeof *rows);
        for (size_t i = 0; i < n; i++) {
            if (rows[at + i]->fill) memcpy(batch->epoch, rows[at + i]->epoch, sizeof batch->epoch);
        }
        set_phase(table, batch->rows, n, stores__pg_wait_phase(&table->engine->pool));
        batch->wait.granted = select_granted;
        batch->wait.failed = select_refused;
        stores__pg_acquire(&table->engine->pool, &batch->wait, STORES__PG_READING, "reads");
    }
}

/* ---- Redis ----------------------------------------------------------------------------------- */

static void look_again(struct stores__timer *timer) {
    struct read_row *row = STORES__CONTAINER(timer, struct read_row, timer);
    stores__list_remove(&row->link);
    enqueue(row);
}

/* Another one fills this row: look again in a few ms, but not for long. True: it waits. */
static bool wait_for_lease(struct read_row *row) {
    stores_engine *engine = row->call->table->engine;
    if (row->lease_tries++ >= LEASE_TRIES || engine->closing) return false;
    struct stores__reads *reads = row->call->table->reads;
    uint64_t ms = LEASE_WAIT_MS * row->lease_tries, now = stores__now(engine);
    /* those that wait together look again together: by one MGET, and by one SELECT if need be */
    if (reads->jitter_at != now) {
        reads->jitter = stores__random_u64();
        reads->jitter_at = now;
    }
    engine->counters.lease_waits++;
    row->timer.fire = look_again;
    uint64_t at = now + ms / 2 + reads->jitter % ms + 1;
    if (!stores__timer_set(&engine->timers, &row->timer, at)) return false;
    stores__list_append(&reads->waiting, &row->link);
    return true;
}

enum seen { SEEN_ABSENT, SEEN_ANSWERED, SEEN_WAITS, SEEN_ASK_PG };

/* What a row holds. Its document stays where it lies: the first one that is found makes the reply
 * the batch's, and the last one that is freed frees it. */
static enum seen take_row(struct batch *batch, struct redisReply **reply,
                          const struct redisReply *element, struct read_row *row) {
    struct stores__counters *counters = &batch->table->engine->counters;
    size_t len = 0;
    const char *text = stores__redis_text(element, &len);
    if (text == NULL) return SEEN_ABSENT;
    switch (len ? text[0] : '\0') {
        case 'V':
            if (batch->blob == NULL) {
                batch->blob = stores__blob_new(*reply, stores__redis_reply_free);
                if (batch->blob == NULL) return SEEN_ASK_PG;
                *reply = NULL;
            }
            counters->hits++;
            row_found(row, text + 1, len - 1, batch->blob, 'c');
            return SEEN_ANSWERED;
        case 'N':
            counters->negative_hits++;
            row_found(row, NULL, 0, NULL, 'c');
            return SEEN_ANSWERED;
        case 'L':
            counters->leases_refused++;
            return wait_for_lease(row) ? SEEN_WAITS : SEEN_ASK_PG;
        case 'T':
            stores__orphans_seen(batch->table, row->id, text, len);
            return SEEN_ASK_PG;
        default: return SEEN_ASK_PG;
    }
}

static void leased(struct stores__redis_req *req, struct redisReply **reply) {
    struct batch *batch = STORES__CONTAINER(req, struct batch, redis_req);
    const struct redisReply *array = *reply;
    stores_engine *engine = batch->table->engine;
    size_t len = 0, ask = 0;
    const char *epoch = stores__redis_text(array, &len);
    if (epoch != NULL) stores__epoch_seen(batch->table, epoch, len);
    bool answered = stores__redis_count(array) == batch->count;
    for (size_t i = 0; i < batch->count; i++) {
        struct read_row *row = batch->rows[i];
        const char *text = answered ? stores__redis_text(stores__redis_at(array, i), &len) : NULL;
        bool ours = text && ((len == 1 && text[0] == 'O') ||
                             (text[0] == 'L' && len == 1 + STORES__TOKEN_TEXT &&
                              memcmp(text + 1, batch->token, STORES__TOKEN_TEXT) == 0));
        if (ours) {
            engine->counters.leases_granted++;
            row->fill = true;
            memcpy(row->token, batch->token, sizeof row->token);
            row->epoch = batch->epoch;
        } else if (answered) {
            enum seen seen = take_row(batch, reply, stores__redis_at(array, i), row);
            if (seen == SEEN_ANSWERED || seen == SEEN_WAITS) continue;
        }
        batch->rows[ask++] = row;
    }
    select_rows(batch->table, batch->rows, ask);
    batch_free(batch);
}

static void lease_rows(struct stores__table *table, struct read_row **rows, size_t count) {
    struct stores__cache *cache = table->engine->cache;
    if (cache->evicts_any || cache->redis == NULL) {
        select_rows(table, rows, count);
        return;
    }
    count = merge_twins(rows, count);
    for (size_t at = 0; at < count; at += STORES__SCRIPT_ROWS) {
        size_t n = count - at < STORES__SCRIPT_ROWS ? count - at : STORES__SCRIPT_ROWS;
        struct batch *batch = batch_new(table, n);
        struct stores__args args = {0};
        char life[24];
        if (batch == NULL || !stores__random_text(batch->token, STORES__TOKEN_TEXT)) {
            free(batch);
            select_rows(table, rows + at, n);
            continue;
        }
        batch->step = BATCH_LEASE;
        batch->count = n;
        memcpy(batch->rows, rows + at, n * sizeof *rows);
        snprintf(batch->epoch, sizeof batch->epoch, "%s", stores__epoch_text(table));
        stores__args_epoch_key(&args, table);
        for (size_t i = 0; i < n; i++) {
            stores__args_row_key(&args, table, batch->epoch, batch->rows[i]->id);
        }
        stores__args_str(&args, batch->epoch);
        stores__args_str(&args, batch->token);
        snprintf(life, sizeof life, "%d", LEASE_MS);
        stores__args_str(&args, life);
        set_phase(table, batch->rows, n, STORES__PHASE_REDIS);
        batch->redis_req.done = leased;
        if (!stores__args_send(&args, cache, &batch->redis_req, &script_lease, (int)n + 1)) {
            batch_free(batch);
            select_rows(table, rows + at, n);
        }
    }
}

static void got(struct stores__redis_req *req, struct redisReply **reply) {
    struct batch *batch = STORES__CONTAINER(req, struct batch, redis_req);
    struct stores__table *table = batch->table;
    size_t len = 0, ask = 0, absent = 0;
    struct read_row *misses[MGET_ROWS];
    const struct redisReply *array = *reply;
    bool answered = stores__redis_count(array) >= 1, counts = false;
    if (answered) {
        const char *epoch = stores__redis_text(stores__redis_at(array, 0), &len);
        bool believed = strcmp(batch->epoch, stores__epoch_text(table)) == 0;
        counts = stores__epoch_seen(table, epoch, len) && believed && batch->epoch[0] != '\0';
    }
    bool corrected = answered && stores__epoch_state(table) == STORES__EPOCH_VALID;
    for (size_t i = 0; i < batch->count; i++) {
        struct read_row *row = batch->rows[i];
        if (counts) {
            enum seen seen = take_row(batch, reply, stores__redis_at(array, i + 1), row);
            if (seen == SEEN_ANSWERED || seen == SEEN_WAITS) continue;
            if (seen == SEEN_ABSENT) {
                misses[absent++] = row;
                continue;
            }
        } else if (corrected && row->epoch_tries++ < EPOCH_TRIES) {
            enqueue(row);
            continue;
        }
        batch->rows[ask++] = row;
    }
    table->engine->counters.misses += absent + ask;
    if (absent > 0) lease_rows(table, misses, absent);
    select_rows(table, batch->rows, ask);
    batch_free(batch);
}

/* The epoch and the rows are read by one command, so that a hit is of that very epoch. */
static void get_rows(struct stores__table *table, struct read_row **rows, size_t count) {
    struct stores__cache *cache = table->engine->cache;
    for (size_t at = 0; at < count; at += MGET_ROWS) {
        size_t n = count - at < MGET_ROWS ? count - at : MGET_ROWS;
        struct batch *batch = batch_new(table, n);
        struct stores__args args = {0};
        if (batch == NULL) {
            no_memory(rows + at, n);
            continue;
        }
        batch->step = BATCH_MGET;
        batch->count = n;
        memcpy(batch->rows, rows + at, n * sizeof *rows);
        snprintf(batch->epoch, sizeof batch->epoch, "%s", stores__epoch_text(table));
        stores__args_str(&args, "MGET");
        stores__args_epoch_key(&args, table);
        /* where no epoch is believed in yet, no key of a row can be written */
        for (size_t i = 0; i < n && batch->epoch[0] != '\0'; i++) {
            stores__args_row_key(&args, table, batch->epoch, batch->rows[i]->id);
        }
        set_phase(table, batch->rows, n, STORES__PHASE_REDIS);
        batch->redis_req.done = got;
        if (!stores__args_send(&args, cache, &batch->redis_req, NULL, 0)) {
            batch_free(batch);
            select_rows(table, rows + at, n);
        }
    }
}

/* ---- The tick -------------------------------------------------------------------------------- */

/* Rows whose op left before they were sent are not sent. */
static size_t take_queue(struct stores__list *queue, bool cached, struct read_row **rows,
                         size_t room) {
    size_t count = 0;
    for (struct stores__list *at = queue->next, *next; at != queue && count < room; at = next) {
        next = at->next;
        struct read_row *row = STORES__CONTAINER(at, struct read_row, link);
        if (row->cached != cached) continue;
        stores__list_remove(at);
        if (row->call->op == NULL) {
            row_over(row);
        } else {
            rows[count++] = row;
        }
    }
    return count;
}

static void flush_reads(struct stores__flush *flush) {
    struct stores__reads *reads = STORES__CONTAINER(flush, struct stores__reads, flush);
    struct stores__table *table = reads->table;
    struct read_row *rows[MGET_ROWS];
    struct stores__list queue;
    size_t count;
    stores__list_init(&queue);
    stores__list_move(&reads->queue, &queue);
    if (table->engine->closing) {
        stores_error error;
        stores__error_set(&error, STORES_CLOSED, "the store is closed");
        while ((count = take_queue(&queue, true, rows, MGET_ROWS)) > 0 ||
               (count = take_queue(&queue, false, rows, MGET_ROWS)) > 0) {
            fail_rows(rows, count, &error);
        }
        return;
    }
    bool readable = stores__cache_readable(table);
    while ((count = take_queue(&queue, true, rows, MGET_ROWS)) > 0) {
        if (readable) {
            get_rows(table, rows, count);
        } else {
            if (stores__cache_covers(table)) table->engine->counters.bypassed += count;
            select_rows(table, rows, count);
        }
    }
    while ((count = take_queue(&queue, false, rows, MGET_ROWS)) > 0) {
        select_rows(table, rows, count);
    }
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static void read_resolved(stores_op *op, struct stores__table *table) {
    size_t count = op->doc_count;
    if (count == 0) {
        stores__op_finish(op);
        return;
    }
    struct read_call *call = calloc(1, sizeof *call + count * sizeof *call->rows);
    if (call == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a read");
        return;
    }
    call->op = op;
    call->table = table;
    call->left = count;
    op->stage = call;
    op->leave = leave_call;
    op->docs_missing = count;
    for (size_t i = 0; i < count; i++) {
        struct read_row *row = &call->rows[i];
        row->call = call;
        row->index = i;
        row->id = op->docs[i].id;
        row->cached = op->cache;
        stores__list_init(&row->link);
        enqueue(row);
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
    op->resolved = read_resolved;
    stores__table_resolve(op, table);
    return op;
}

stores_op *stores_find(stores_engine *engine, const stores_call *call, const char *table,
                       int64_t id) {
    return stores_find_many(engine, call, table, &id, 1);
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

void stores__reads_stop(struct stores__table *table) {
    struct stores__reads *reads = table->reads;
    while (!stores__list_empty(&reads->waiting)) {
        struct read_row *row = STORES__CONTAINER(reads->waiting.next, struct read_row, link);
        stores__timer_stop(&table->engine->timers, &row->timer);
        look_again(&row->timer);
    }
    flush_reads(&reads->flush);
}

void stores__reads_free(struct stores__table *table) {
    free(table->reads);
    table->reads = NULL;
}

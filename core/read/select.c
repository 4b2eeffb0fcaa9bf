/* Rows that PostgreSQL has to tell: one SELECT for many. */
#include "read/internal.h"

#include "names/names.h"

enum { LOST_TRIES = 1 }; /* a read that lost its connection, or was canceled, runs again */

/* Where rows stand in an array, by their ids: open addressing, half of the places empty. Sorting
 * them instead was a twentieth of a read. */
struct places {
    unsigned bits;
    uint16_t at[2 * STORES__MGET_ROWS]; /* index plus one; 0: empty */
};

static void places_init(struct places *places, size_t count) {
    assert(count <= STORES__MGET_ROWS);
    places->bits = 1;
    while ((size_t)1 << places->bits < 2 * count) places->bits++;
    memset(places->at, 0, sizeof *places->at << places->bits);
}

/* The place of the row with this id, or the empty one where it belongs. */
static uint16_t *place_of(struct places *places, struct stores__read_row **rows, int64_t id) {
    size_t mask = ((size_t)1 << places->bits) - 1;
    /* the highest bits of a product: Knuth, The Art of Computer Programming, 6.4 */
    size_t at = (uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> (64 - places->bits);
    while (places->at[at] != 0 && rows[places->at[at] - 1]->id != id) at = (at + 1) & mask;
    return &places->at[at];
}

/* Leaves each id once: many readers of a cold row ask for it once. None of them has been sent, so
 * that each may have what the first one gets, which is the one that holds the lease. */
size_t stores__rows_merge_twins(struct stores__read_row **rows, size_t count) {
    struct places places;
    size_t kept = 0;
    if (count < 2) return count;
    places_init(&places, count);
    for (size_t i = 0; i < count; i++) {
        struct stores__read_row *row = rows[i];
        uint16_t *place = place_of(&places, rows, row->id);
        if (*place == 0) {
            rows[kept++] = row;
            *place = (uint16_t)kept;
            continue;
        }
        struct stores__read_row **first = &rows[*place - 1];
        if (row->fill) {
            stores__row_hang(row, *first);
            *first = row;
        } else {
            stores__row_hang(row, (*first)->twin);
            (*first)->twin = NULL;
            stores__row_hang(*first, row);
        }
    }
    return kept;
}

static int64_t result_id(const struct pg_result *result, int row) {
    const char *text = stores__pg_value(result, row, 0, NULL);
    return text ? strtoll(text, NULL, 10) : 0;
}

/* Which line of the result tells of which row. */
static void match(struct stores__read_batch *batch, int *found) {
    struct places places;
    places_init(&places, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        found[i] = -1;
        *place_of(&places, batch->rows, batch->rows[i]->id) = (uint16_t)(i + 1);
    }
    int lines = stores__pg_rows(batch->result);
    for (int line = 0; line < lines; line++) {
        uint16_t place = *place_of(&places, batch->rows, result_id(batch->result, line));
        if (place != 0) found[place - 1] = line;
    }
}

/* A standby is late, and what a server of another past has is not what the epoch is of. */
static bool may_fill(const struct stores__read_batch *batch) {
    const stores_engine *engine = batch->table->engine;
    if (engine->cache == NULL || batch->conn == NULL) return false;
    if (engine->pool.pooler) return batch->past_told;
    return stores__past_is(engine->cache, &batch->conn->identity);
}

static void answer(struct stores__read_batch *batch, char source) {
    int found[STORES__SELECT_ROWS];
    match(batch, found);
    /* the caller is answered from the loop later on; the fill is queued first, while rows live */
    if (may_fill(batch)) stores__rows_fill(batch, found);
    batch->table->engine->burst_ns = uv_hrtime();
    for (size_t i = 0; i < batch->count; i++) {
        size_t len = 0;
        const char *text = NULL;
        if (found[i] >= 0) {
            text = stores__pg_value(batch->result, found[i], 1, &len);
            if (text == NULL) text = "null", len = 4; /* a row without a value is no document */
        }
        stores__row_found(batch->rows[i], text, len, batch->blob, source);
    }
    batch->table->engine->burst_ns = 0;
}

void stores__batch_answer(struct stores__read_batch *batch, char source) {
    batch->blob = stores__blob_new(batch->result, stores__pg_result_free);
    if (batch->blob != NULL) {
        answer(batch, source);
    } else {
        stores__rows_no_memory(batch->rows, batch->count);
    }
}

/* They come behind the rows in one transaction, whose lock keeps the name what it was. */
static void take_facts(struct stores__read_batch *batch, struct pg_result *result) {
    struct stores__table *table = batch->table;
    stores_error error;
    bool ok = stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1 &&
              stores__facts_are_told(result, &batch->asked);
    if (!ok || !stores__facts_learn(table, result, &batch->asked)) table->known = false;
    stores__pg_result_free(result);
}

static void take_past(struct stores__read_batch *batch, struct pg_result *result) {
    stores_error error;
    batch->past_told = stores__pg_result_ok(result, &error) &&
                       stores__past_told_by(batch->table->engine->cache, result);
    stores__pg_result_free(result);
}

static void took_rows(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, req);
    if (index == batch->marking.index) {
        stores__marking_take(&batch->marking, batch->table->engine, batch->conn, result);
        stores__pg_result_free(result);
        return;
    }
    if (index > batch->select) {
        if (batch->asks_past && index == batch->select + 1) {
            take_past(batch, result);
        } else {
            take_facts(batch, result);
        }
        return;
    }
    stores_error error;
    if (stores__pg_result_ok(result, &error)) {
        if (index == batch->select) {
            batch->result = result;
        } else {
            stores__pg_result_free(result);
        }
        return;
    }
    if (index == batch->select) {
        stores__table_explain(batch->table, stores__batch_sql(batch), &error);
    }
    stores__pg_explain_read_only(req, &error);
    batch->stale_plan = stores__pg_stale_plan(req);
    batch->stray_cancel = stores__pg_stray_cancel(batch->conn, req, &error);
    stores__batch_met(batch, &error);
    stores__pg_result_free(result);
}

/* Rows of one op are read together: it counts once. */
static void count_retry(struct stores__read_row *row, unsigned retries) {
    for (; row != NULL; row = row->twin) {
        stores_op *op = row->call->op;
        if (op != NULL && op->retries < retries) op->retries = retries;
    }
}

/* What one row of several servers fails with is no matter of the others. */
static bool try_each(struct stores__read_batch *batch, enum stores__pg_end end) {
    struct stores__table *table = batch->table;
    bool of_workers = table->spread != STORES__SPREAD_NONE && end != STORES__PG_LOST &&
                      batch->result == NULL &&
                      (batch->error == NULL || strncmp(batch->error->sqlstate, "42", 2) != 0);
    if (!of_workers || batch->count < 2 || stores__closing(table->engine)) return false;
    table->engine->counters.read_retries++;
    for (size_t i = 0; i < batch->count; i++) {
        count_retry(batch->rows[i], 1);
        batch->rows[i]->fill = false; /* as above */
        stores__rows_select(table, &batch->rows[i], 1);
    }
    return true;
}

/* Its own connection, or the one of a coordinator to a worker. */
static bool was_lost(const struct stores__read_batch *batch, enum stores__pg_end end) {
    if (batch->result != NULL) return false;
    return end == STORES__PG_LOST ||
           (batch->error != NULL && batch->error->code == STORES_CONNECTION_LOST);
}

static bool try_again(struct stores__read_batch *batch, enum stores__pg_end end) {
    bool again = batch->stale_plan || was_lost(batch, end) || batch->stray_cancel;
    if (batch->stale_plan) stores__pg_forget_statements(batch->conn);
    if (!again || stores__closing(batch->table->engine)) return false;
    for (size_t i = 0; i < batch->count; i++) {
        /* that its lane does not answer, and another one may, is no try */
        if (!batch->req.stalled && batch->rows[i]->lost_tries++ >= LOST_TRIES) return false;
        count_retry(batch->rows[i], batch->rows[i]->lost_tries);
        batch->rows[i]->fill = false; /* a fill needs the SELECT that came right after its lease */
    }
    batch->table->engine->counters.read_retries++;
    stores__rows_select(batch->table, batch->rows, batch->count);
    return true;
}

static void select_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, req);
    if (!try_again(batch, end) && !try_each(batch, end)) {
        if (batch->result != NULL) {
            stores__batch_answer(batch, 'p');
        } else {
            stores__batch_fail(batch);
        }
    }
    stores__batch_free(batch);
}

static void ask_facts(struct stores__read_batch *batch) {
    struct stores__table *table = batch->table;
    const char *values[] = {table->name};
    if (!stores__facts_hold(table)) stores__table_forget(table);
    batch->asked = stores__facts_ask(table->engine, stores__facts_depth(table), true);
    stores__pg_add(batch->conn, &batch->req, stores__facts_sql(table->engine, batch->asked.depth),
                   1, values, true);
}

/* Rows whose callers have left are read for nobody. */
static bool is_wanted(const struct stores__pg_req *req) {
    const struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, req);
    for (size_t i = 0; i < batch->count; i++) {
        for (const struct stores__read_row *row = batch->rows[i]; row != NULL; row = row->twin) {
            if (row->call->op != NULL) return true;
        }
    }
    return false;
}

/* Nobody asks what a view or a policy wrote: the server keeps it from writing, up to the Sync. */
static void add_guard(struct stores__read_batch *batch) {
    if (!batch->table->runs || batch->table->engine->cache == NULL) return;
    batch->select = 1;
    batch->req.kept = STORES__PG_KEPT_IN_READS;
    stores__pg_add(batch->conn, &batch->req,
                   "SELECT pg_catalog.set_config('transaction_read_only', 'on', true)", 0, NULL,
                   true);
}

/* A replica might have answered for one of them: no replica is to say something older later. */
static bool may_be_replicas(const struct stores__read_batch *batch) {
    if (batch->table->engine->replicas == NULL) return false;
    for (size_t i = 0; i < batch->count; i++) {
        for (const struct stores__read_row *row = batch->rows[i]; row != NULL; row = row->twin) {
            if (row->replica) return true;
        }
    }
    return false;
}

/* What a view or a policy runs may leave something in the session. Behind a transaction pooler it
 * is taken back before the Sync, elsewhere behind all that is on the lane (pg/lanes.c). */
static void send_off(struct stores__read_batch *batch) {
    struct stores__pg_conn *conn = batch->conn;
    if (batch->table->runs) stores__pg_keep_lane(conn, &batch->table->topic);
    if (conn->foreign && conn->pool->pooler) {
        stores__pg_sync_last(conn, &batch->req);
    } else {
        stores__pg_sync(conn, &batch->req);
    }
}

static void select_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__read_batch *batch = STORES__CONTAINER(wait, struct stores__read_batch, wait);
    struct stores__buf ids = {0};
    const char *sql = stores__batch_sql(batch);
    stores__batch_ids(batch, &ids);
    const char *values[] = {stores__buf_text(&ids)};
    batch->conn = conn;
    batch->marking.index = -1;
    batch->req.result = took_rows;
    batch->req.done = select_over;
    batch->req.topic = &batch->table->topic;
    batch->req.again = true;
    batch->req.wanted = is_wanted;
    batch->table->engine->counters.selects++;
    stores__rows_phase(batch->table, batch->rows, batch->count, STORES__PHASE_POSTGRES);
    stores__pg_begin(conn, &batch->req);
    if (values[0] != NULL && sql != NULL) {
        add_guard(batch);
        stores__pg_add(conn, &batch->req, sql, 1, values, true);
        batch->asks_past = conn->pool->pooler && batch->epoch[0] != '\0';
        if (batch->asks_past) stores__past_question(conn, &batch->req);
        if (!conn->standby && stores__facts_are_due(batch->table)) ask_facts(batch);
        if (may_be_replicas(batch)) {
            stores__marking_add(&batch->marking, batch->table->engine, conn, &batch->req,
                                STORES__READ);
        }
    } else {
        batch->error = stores__error_new(STORES_NO_MEMORY, "no memory for a read");
    }
    send_off(batch);
    stores__buf_free(&ids);
}

static void select_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__read_batch *batch = STORES__CONTAINER(wait, struct stores__read_batch, wait);
    stores__rows_fail(batch->rows, batch->count, error);
    stores__batch_free(batch);
}

/* Reads rows from PostgreSQL; those with a lease were leased together. */
void stores__rows_select(struct stores__table *table, struct stores__read_row **rows,
                         size_t count) {
    count = stores__rows_merge_twins(rows, count);
    bool grouped = stores__rows_group(table, rows, count);
    for (size_t at = 0, n; at < count; at += n) {
        n = grouped ? stores__rows_of_shard(table, rows + at, count - at) : count - at;
        if (n > STORES__SELECT_ROWS) n = STORES__SELECT_ROWS;
        struct stores__read_batch *batch = stores__batch_new(table, rows + at, n);
        if (batch == NULL) {
            stores__rows_no_memory(rows + at, n);
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (rows[at + i]->fill) memcpy(batch->epoch, rows[at + i]->epoch, sizeof batch->epoch);
        }
        stores__rows_phase(table, batch->rows, n, stores__pg_wait_phase(&table->engine->pool));
        batch->wait.topic = &table->topic;
        batch->wait.granted = select_granted;
        batch->wait.failed = select_refused;
        stores__pg_acquire(&table->engine->pool, &batch->wait, STORES__PG_READING, "reads");
    }
}

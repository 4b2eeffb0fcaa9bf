/* Rows that Redis may have: one MGET with the epoch, LEASE for what is absent. */
#include "read/internal.h"

#include <stdio.h>

#include "cache/held.h"
#include "cache/scripts.h"
#include "names/facts.h"

enum {
    LEASE_MS = 3000,
    LEASE_TRIES = 3, /* looks at another's lease, before PostgreSQL is asked without filling */
    LEASE_WAIT_MS = 4,
    EPOCH_TRIES = 2 /* MGETs under a corrected epoch */
};

static struct stores__redis_script script_lease = {.source = STORES__SCRIPT_LEASE};

/* Another one fills this row: look again in a few ms, but not for long. True: it waits. */
static bool wait_for_lease(struct stores__read_row *row) {
    stores_engine *engine = row->call->table->engine;
    if (row->lease_tries++ >= LEASE_TRIES || stores__closing(engine)) return false;
    struct stores__reads *reads = row->call->table->reads;
    uint64_t ms = LEASE_WAIT_MS * row->lease_tries, now = stores__now(engine);
    /* those that wait together look again together: by one MGET, and by one SELECT if need be */
    if (reads->jitter_at != now) {
        reads->jitter = stores__random_u64();
        reads->jitter_at = now;
    }
    engine->counters.lease_waits++;
    return stores__row_wait(row, now + ms / 2 + reads->jitter % ms + 1);
}

enum seen { SEEN_ABSENT, SEEN_ANSWERED, SEEN_WAITS, SEEN_ASK_PG };

/* What a row holds. Its document stays where it lies: the first one that is found makes the reply
 * the batch's, and the last one that is freed frees it. */
static enum seen take_row(struct stores__read_batch *batch, struct redisReply **reply,
                          const struct redisReply *element, struct stores__read_row *row) {
    struct stores__counters *counters = &batch->table->engine->counters;
    size_t len = 0;
    const char *text = stores__redis_text(element, &len);
    if (text == NULL) return SEEN_ABSENT;
    /* under facts of another epoch they may be another table's rows, or nobody's to be cached */
    if (!stores__facts_hold(batch->table)) return SEEN_ASK_PG;
    switch (len ? text[0] : '\0') {
    case 'V':
        if (batch->blob == NULL) {
            batch->blob = stores__blob_new(*reply, stores__redis_reply_free);
            if (batch->blob == NULL) return SEEN_ASK_PG;
            *reply = NULL;
        }
        counters->hits++;
        stores__row_keep(batch, row, text + 1, len - 1);
        stores__row_found(row, text + 1, len - 1, batch->blob, 'c');
        return SEEN_ANSWERED;
    case 'N':
        counters->negative_hits++;
        stores__row_keep(batch, row, NULL, 0);
        stores__row_found(row, NULL, 0, NULL, 'c');
        return SEEN_ANSWERED;
    case 'L': counters->leases_refused++; return wait_for_lease(row) ? SEEN_WAITS : SEEN_ASK_PG;
    case 'T': stores__orphans_seen(batch->table, row->id, text, len); return SEEN_ASK_PG;
    default: return SEEN_ASK_PG;
    }
}

static void leased(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, redis_req);
    const struct redisReply *array = *reply;
    stores_engine *engine = batch->table->engine;
    size_t len = 0, ask = 0;
    const char *epoch = stores__redis_text(array, &len);
    if (epoch != NULL) stores__epoch_seen(batch->table->epoch, epoch, len);
    /* what was asked under the epoch of another past may be a row of it */
    bool answered = stores__redis_count(array) == batch->count &&
                    strcmp(batch->epoch, stores__epoch_text(batch->table)) == 0 &&
                    stores__past_trusted(engine->cache);
    for (size_t i = 0; i < batch->count; i++) {
        struct stores__read_row *row = batch->rows[i];
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
    stores__rows_select(batch->table, batch->rows, ask);
    stores__batch_free(batch);
}

static void lease_rows(struct stores__table *table, struct stores__read_row **rows, size_t count) {
    struct stores__cache *cache = table->engine->cache;
    if (cache->closed || stores__epoch_node(table->epoch)->evicts_any) {
        stores__rows_select(table, rows, count);
        return;
    }
    count = stores__rows_merge_twins(rows, count);
    for (size_t at = 0; at < count; at += STORES__SCRIPT_ROWS) {
        size_t n = count - at < STORES__SCRIPT_ROWS ? count - at : STORES__SCRIPT_ROWS;
        struct stores__read_batch *batch = stores__batch_new(table, rows + at, n);
        struct stores__args args = {0};
        char life[24];
        if (batch == NULL || !stores__random_text(batch->token, STORES__TOKEN_TEXT)) {
            if (batch != NULL) stores__batch_free(batch);
            stores__rows_select(table, rows + at, n);
            continue;
        }
        strcpy(batch->epoch, stores__epoch_text(table));
        stores__args_epoch_key(&args, table->epoch);
        for (size_t i = 0; i < n; i++) {
            stores__args_row_key(&args, table, batch->epoch, batch->rows[i]->id);
        }
        stores__args_str(&args, batch->epoch);
        stores__args_str(&args, batch->token);
        snprintf(life, sizeof life, "%d", LEASE_MS);
        stores__args_str(&args, life);
        stores__rows_phase(table, batch->rows, n, STORES__PHASE_REDIS);
        batch->redis_req.done = leased;
        if (!stores__args_send(&args, cache, &batch->redis_req, &script_lease, (int)n + 1)) {
            stores__batch_free(batch);
            stores__rows_select(table, rows + at, n);
        }
    }
}

static void got(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__read_batch *batch = STORES__CONTAINER(req, struct stores__read_batch, redis_req);
    struct stores__table *table = batch->table;
    size_t len = 0, ask = 0, absent = 0;
    struct stores__read_row *misses[STORES__MGET_ROWS];
    const struct redisReply *array = *reply;
    bool answered = stores__redis_count(array) >= 1, counts = false, corrected = false;
    stores__trouble_reads(table->engine->cache, array);
    if (answered) {
        const char *epoch = stores__redis_text(stores__redis_at(array, 0), &len);
        bool believed = strcmp(batch->epoch, stores__epoch_text(table)) == 0;
        bool valid = stores__epoch_seen(table->epoch, epoch, len) && believed;
        counts = valid && batch->epoch[0] != '\0';
        corrected = !valid && stores__epoch_state(table) == STORES__EPOCH_VALID;
    }
    table->engine->burst_ns = uv_hrtime();
    for (size_t i = 0; i < batch->count; i++) {
        struct stores__read_row *row = batch->rows[i];
        if (counts) {
            enum seen seen = take_row(batch, reply, stores__redis_at(array, i + 1), row);
            if (seen == SEEN_ANSWERED || seen == SEEN_WAITS) continue;
            if (seen == SEEN_ABSENT) {
                misses[absent++] = row;
                continue;
            }
        } else if (corrected && row->epoch_tries++ < EPOCH_TRIES) {
            stores__row_enqueue(row);
            continue;
        }
        batch->rows[ask++] = row;
    }
    table->engine->burst_ns = 0;
    stores__rows_kept(batch);
    table->engine->counters.misses += absent + ask;
    if (absent > 0) lease_rows(table, misses, absent);
    stores__rows_select(table, batch->rows, ask);
    stores__batch_free(batch);
}

/* The epoch and the rows are read by one command, so that a hit is of that very epoch. */
void stores__rows_get(struct stores__table *table, struct stores__read_row **rows, size_t count) {
    struct stores__cache *cache = table->engine->cache;
    if (!cache->closed) stores__trouble_look(stores__epoch_node(table->epoch));
    for (size_t at = 0; at < count; at += STORES__MGET_ROWS) {
        size_t n = count - at < STORES__MGET_ROWS ? count - at : STORES__MGET_ROWS;
        struct stores__read_batch *batch = stores__batch_new(table, rows + at, n);
        struct stores__args args = {0};
        if (batch == NULL) {
            stores__rows_no_memory(rows + at, n);
            continue;
        }
        strcpy(batch->epoch, stores__epoch_text(table));
        if (table->hold) batch->stir = stores__held_stir(table);
        stores__args_str(&args, "MGET");
        stores__args_epoch_key(&args, table->epoch);
        /* where no epoch is believed in yet, no key of a row can be written */
        for (size_t i = 0; i < n && batch->epoch[0] != '\0'; i++) {
            stores__args_row_key(&args, table, batch->epoch, batch->rows[i]->id);
        }
        stores__rows_phase(table, batch->rows, n, STORES__PHASE_REDIS);
        batch->redis_req.done = got;
        if (!stores__args_send(&args, cache, &batch->redis_req, NULL, 0)) {
            stores__batch_free(batch);
            stores__rows_select(table, rows + at, n);
        }
    }
}

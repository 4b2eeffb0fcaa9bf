/* Segments: the writes of a tick in one transaction, one flush to disk. See writes.h. */
#include "write/writes_internal.h"

#include <stdio.h>

#include "names/names.h"

enum {
    SEGMENTS_MAX = 3, /* at once: while they run, the next ones gather */
    ALONE_SHARE = 2, /* of the pool: writes that run alone take one connection of so many at most */
    LOST_TRIES = 1
};

/* ---- The end of a segment -------------------------------------------------------------------- */

static void segment_free(struct stores__segment *segment) {
    struct stores__writes *writes = segment->engine->writes;
    stores__list_remove(&segment->link);
    stores__commit_free(segment->commit);
    if (segment->alone) {
        writes->running_alone--;
    } else if (segment->late) {
        writes->late--;
    } else {
        writes->running--;
    }
    if (!stores__list_empty(&writes->queue) || !stores__list_empty(&writes->alone)) {
        stores__flush_at_end(writes->engine, &writes->flush);
    }
    free(segment);
}

/* Every write of the segment ends the same way, but for those that failed by themselves. */
static void end_all(struct stores__segment *segment, const stores_error *error) {
    while (!stores__list_empty(&segment->writes)) {
        struct stores__write *write = STORES__CONTAINER(segment->writes.next, struct stores__write,
                                                        link);
        stores__write_over(write, error ? error : write->error);
    }
}

static bool may_run_again(const struct stores__segment *segment, const stores_error *error) {
    if (stores__closing(segment->engine) || error->outcome != STORES_OUTCOME_NONE) return false;
    /* what a segment met may not concern the others; what a single write met is its own */
    if (segment->rotates && error->code == STORES_LOCK_TIMEOUT) return true;
    return segment->count > 1 || segment->stale_plan;
}

/* The segment was rolled back (outcome none): each write runs again by itself, or hears why not. */
static void rolled_back(struct stores__segment *segment, const stores_error *error) {
    struct stores__writes *writes = segment->engine->writes;
    bool again = may_run_again(segment, error);
    bool lost = error->outcome == STORES_OUTCOME_NONE &&
                (error->code == STORES_CONNECTION_LOST || segment->stray_cancel);
    if (again) segment->engine->counters.segment_retries++;
    while (!stores__list_empty(&segment->writes)) {
        struct stores__write *write = STORES__CONTAINER(segment->writes.next, struct stores__write,
                                                        link);
        if (again ||
            (lost && !stores__closing(segment->engine) && write->lost_tries++ < LOST_TRIES)) {
            if (segment->stale_plan && segment->count == 1 && write->lost_tries++ >= LOST_TRIES) {
                stores__write_over(write, error);
            } else {
                if (write->op != NULL) write->op->retries++;
                stores__write_requeue(writes, write, true);
            }
        } else {
            stores__write_over(write, error);
        }
    }
}

static void committed(void *arg, const stores_error *error) {
    struct stores__segment *segment = arg;
    struct stores__pg_conn *conn = segment->conn;
    segment->commit = NULL; /* it frees itself */
    if (error == NULL) {
        end_all(segment, NULL);
    } else if (error->outcome == STORES_OUTCOME_NONE && error->code != STORES_CACHE_FAILURE) {
        segment->stray_cancel = stores__pg_stray_cancel(conn, &segment->req, error);
        rolled_back(segment, error);
    } else {
        end_all(segment, error);
    }
    stores__pg_release(conn);
    segment_free(segment);
}

static void rollback_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    struct stores__pg_conn *conn = segment->conn;
    (void)end; /* a connection that is lost rolls back as well */
    segment->engine->counters.rollbacks++;
    if (segment->stale_plan) stores__pg_forget_statements(conn);
    if (segment->error.code == STORES_TABLE_NOT_FOUND) stores__table_forget_names(segment->engine);
    rolled_back(segment, &segment->error);
    stores__pg_release(conn);
    segment_free(segment);
}

static void roll_back(struct stores__segment *segment) {
    segment->req.result = NULL;
    segment->req.done = rollback_over;
    stores__pg_give_up_in(segment->conn, STORES__PG_GRACE_MS);
    stores__pg_begin(segment->conn, &segment->req);
    stores__pg_add(segment->conn, &segment->req, "ROLLBACK", 0, NULL, false);
    stores__pg_sync(segment->conn, &segment->req);
}

static void phase_changed(void *arg, enum stores__phase phase);

/* ---- Results --------------------------------------------------------------------------------- */

void stores__segment_fail(struct stores__segment *segment, const stores_error *error) {
    if (segment->failed || error->code == STORES_OK) return; /* the first one says why */
    segment->failed = true;
    segment->error = *error;
    segment->stray_cancel = stores__pg_stray_cancel(segment->conn, &segment->req, error);
}

static void take_write(struct stores__segment *segment, struct stores__write *write,
                       struct pg_result *result) {
    stores_error error;
    switch (stores__statement_take(write->statement, write->op, result, segment->commit, &error)) {
    case STORES__TAKE_FAILED: write->error = stores__error_dup(&error); break;
    case STORES__TAKE_UNSURE:
        write->unsure = true;
        segment->unsure = true;
        break;
    default: break;
    }
    if (stores__statement_fires(write->statement)) stores__pg_foreign(segment->conn, NULL);
}

static void no_memory(struct stores__segment *segment) {
    stores_error error;
    stores__error_set(&error, STORES_NO_MEMORY, "no memory for a table");
    stores__segment_fail(segment, &error);
}

/* The catalog's word on a table comes behind the statements, which keep DDL away from it: only now it
 * is known how far those reach. */
static void confirm(struct stores__segment *segment, struct stores__table *table,
                    const struct pg_result *result) {
    bool reaches = !stores__facts_confirm(table, result);
    if (reaches)
        stores__pg_foreign(segment->conn, NULL); /* perhaps a trigger that came meanwhile */
    for (size_t i = 0; i < segment->count && !reaches; i++) {
        const struct stores__statement *statement = segment->order[i]->statement;
        reaches = statement->table == table && stores__statement_reaches(statement);
    }
    if (reaches) stores__commit_reaches(segment->commit);
}

static void took_result(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    size_t at = (size_t)index;
    stores_error error;
    bool is_write = at >= segment->first && at < segment->first + segment->count;
    if (!stores__pg_result_ok(result, &error)) {
        if (stores__pg_stale_plan(req)) segment->stale_plan = true;
        if (is_write) {
            stores__statement_explain(segment->order[at - segment->first]->statement, &error);
        }
        stores__segment_fail(segment, &error);
        stores__pg_result_free(result);
        return;
    }
    if (at < segment->checks) {
        struct stores__table *table = segment->checked[at];
        if (stores__pg_rows(result) == 1) {
            if (!stores__facts_learn(table, result, 0, &segment->asked[at])) no_memory(segment);
        }
    } else if (is_write) {
        take_write(segment, segment->order[at - segment->first], result);
        return;
    } else if (at >= segment->first + segment->count && segment->commit != NULL) {
        stores__commit_take_xid(segment->commit, result);
        at -= segment->first + segment->count;
        if (at < segment->prints) confirm(segment, segment->printed[at], result);
    }
    stores__pg_result_free(result);
}

void stores__segment_go_on(struct stores__segment *segment) {
    if (segment->failed) {
        roll_back(segment);
    } else {
        struct stores__commit *commit = segment->commit;
        stores__commit_watch(commit, phase_changed);
        segment->ending = true;
        stores__commit_start(commit, segment->conn, committed, segment);
    }
}

void stores__segment_sent(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    if (end == STORES__PG_LOST) {
        if (!segment->failed || segment->error.code != STORES_CONNECTION_LOST) {
            stores__error_set(&segment->error, STORES_CONNECTION_LOST,
                              "the connection was lost while writing");
        }
        if (segment->commit == NULL && req->sent) {
            /* a statement that commits itself: nobody knows */
            segment->error.outcome = STORES_OUTCOME_UNKNOWN;
            segment->error.retryable = false;
        }
        if (segment->error.outcome == STORES_OUTCOME_UNKNOWN) {
            segment->engine->counters.unknown_outcomes++;
            end_all(segment, &segment->error);
        } else {
            rolled_back(segment, &segment->error);
        }
        stores__pg_release(segment->conn);
        segment_free(segment);
    } else if (segment->commit == NULL) {
        struct stores__pg_conn *conn = segment->conn;
        if (segment->stale_plan) stores__pg_forget_statements(conn);
        if (segment->failed) {
            rolled_back(segment, &segment->error);
        } else {
            segment->engine->counters.commits++;
            end_all(segment, NULL);
        }
        stores__pg_release(conn);
        segment_free(segment);
    } else if (segment->unsure && !segment->failed) {
        stores__segment_ask_unsure(segment);
    } else {
        stores__segment_go_on(segment);
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static int by_row(const void *a, const void *b) {
    const struct stores__write *x = *(struct stores__write *const *)a,
                               *y = *(struct stores__write *const *)b;
    const struct stores__table *s = x->statement->table, *t = y->statement->table;
    if (s != t) return strcmp(s->name, t->name);
    if (x->statement->id != y->statement->id) return x->statement->id < y->statement->id ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void take(struct stores__segment *segment, struct stores__write *write) {
    write->segment = segment;
    stores__list_remove(&write->link);
    stores__list_append(&segment->writes, &write->link);
    segment->order[segment->count++] = write;
}

static bool row_runs_alone(const struct stores__writes *writes, const struct stores__write *write) {
    for (struct stores__list *at = writes->segments.next; at != &writes->segments; at = at->next) {
        const struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        bool single = segment->alone || segment->late || segment->count == 1;
        if (!single || stores__list_empty(&segment->writes)) continue;
        const struct stores__statement *runs =
            STORES__CONTAINER(segment->writes.next, struct stores__write, link)->statement;
        if (runs->table == write->statement->table && runs->id == write->statement->id) return true;
    }
    return false;
}

/* Of the writes to one row only one at a time: the others would wait for it, or with it. */
static struct stores__write *next_alone(const struct stores__writes *writes) {
    for (struct stores__list *at = writes->alone.next; at != &writes->alone; at = at->next) {
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (!row_runs_alone(writes, write)) return write;
    }
    return NULL;
}

/* What a trigger of one table may have written is turned: so those writes do not share a transaction
 * with others, which would be turned with them. */
static void take_alike(struct stores__segment *segment, size_t most) {
    struct stores__list *queue = &segment->engine->writes->queue;
    bool caches = segment->engine->cache != NULL, reaches = false;
    for (struct stores__list *at = queue->next, *next; at != queue; at = next) {
        next = at->next;
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (segment->engine->writes->late > 0 && row_runs_alone(segment->engine->writes, write)) {
            /* one connection that waits for a row is enough */
            stores__list_remove(&write->link);
            stores__list_append(&segment->engine->writes->alone, &write->link);
            continue;
        }
        bool this = caches && stores__statement_reaches(write->statement);
        if (segment->count == 0) reaches = this;
        if (this == reaches) take(segment, write);
        if (segment->count == most) break;
    }
}

static void take_writes(struct stores__segment *segment) {
    struct stores__writes *writes = segment->engine->writes;
    if (segment->alone) {
        struct stores__write *write = next_alone(writes);
        if (write != NULL) take(segment, write);
        return;
    }
    size_t most = segment->engine->config.no_segments ? 1 : STORES__SEGMENT_WRITES;
    take_alike(segment, most);
    /* so that two segments lock rows in one order; writes of one row stay as they came */
    if (segment->count > 1) {
        for (size_t i = 0; i < segment->count; i++) segment->order[i]->order = i;
        qsort(segment->order, segment->count, sizeof *segment->order, by_row);
    }
}

/* Facts that are in doubt are asked for in front. */
static void add_checks(struct stores__segment *segment) {
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__table *table = segment->order[i]->statement->table;
        if (table->known) continue;
        if (segment->checks > 0 && segment->checked[segment->checks - 1] == table) continue;
        const char *values[] = {table->name};
        segment->asked[segment->checks] = stores__facts_ask(segment->engine, true);
        stores__pg_add(segment->conn, &segment->req, stores__facts_sql, 1, values, true);
        segment->checked[segment->checks++] = table;
    }
}

/* Behind the statements: the number of the transaction, and the catalog's word on each table. The
 * writes are ordered by their tables. */
static void add_prints(struct stores__segment *segment) {
    for (size_t i = 0; segment->engine->cache != NULL && i < segment->count; i++) {
        struct stores__table *table = segment->order[i]->statement->table;
        if (segment->prints > 0 && segment->printed[segment->prints - 1] == table) continue;
        const char *values[] = {table->name};
        stores__pg_add(segment->conn, &segment->req, stores__facts_print_sql(table), 1, values,
                       true);
        segment->printed[segment->prints++] = table;
    }
    if (segment->prints == 0) {
        stores__pg_add(segment->conn, &segment->req, stores__commit_xid_sql, 0, NULL, true);
    }
}

static void set_phase(struct stores__segment *segment, enum stores__phase phase) {
    if (!segment->engine->timed) return;
    for (size_t i = 0; i < segment->count; i++) {
        if (segment->order[i]->op != NULL) stores__op_phase(segment->order[i]->op, phase);
    }
}

static void phase_changed(void *arg, enum stores__phase phase) {
    set_phase(arg, phase);
}

static void send_segment(struct stores__segment *segment) {
    struct stores__pg_conn *conn = segment->conn;
    struct stores__pg_req *req = &segment->req;
    bool opened = segment->commit != NULL;
    req->result = took_result;
    req->done = stores__segment_sent;
    stores__pg_begin(conn, req);
    if (segment->engine->cache != NULL) add_checks(segment);
    segment->first = segment->checks;
    if (opened) {
        stores__pg_add(conn, req, "BEGIN", 0, NULL, true);
        segment->first++;
        if (segment->count > 1) {
            /* a segment that waits for a row could wait for somebody who waits for the segment */
            stores__pg_add(conn, req, "SET LOCAL lock_timeout = 50", 0, NULL, true);
            segment->first++;
        } else if (segment->rotates) {
            stores__pg_add(conn, req, "SET LOCAL lock_timeout = 1000", 0, NULL, true);
            segment->first++;
        }
    }
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__statement *statement = segment->order[i]->statement;
        stores__statement_choose(statement, segment->count == 1);
        if (statement->foreign) stores__pg_foreign(conn, statement->sql);
        stores__pg_add(conn, req, statement->sql, statement->count, statement->values, true);
    }
    if (opened) add_prints(segment);
    stores__pg_sync(conn, req);
    set_phase(segment, STORES__PHASE_POSTGRES);
    stores__segments_watch(segment->engine->writes);
    segment->engine->counters.segments++;
    segment->engine->counters.segment_writes += segment->count;
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__segment *segment = STORES__CONTAINER(wait, struct stores__segment, wait);
    stores_engine *engine = segment->engine;
    segment->conn = conn;
    take_writes(segment);
    if (!stores__list_empty(&engine->writes->alone)) {
        stores__flush_at_end(engine, &engine->writes->flush); /* the next one may wait now */
    }
    segment->rotates = segment->alone && !stores__list_empty(&engine->writes->alone);
    bool needs_commit = segment->count > 1 || engine->cache != NULL || segment->rotates;
    if (segment->count > 0 && needs_commit) {
        segment->commit = stores__commit_new(engine);
        if (segment->commit == NULL) {
            stores_error error;
            stores__error_set(&error, STORES_NO_MEMORY, "no memory for a write");
            end_all(segment, &error);
            segment->count = 0;
        }
    }
    if (segment->count == 0) {
        stores__pg_release(conn);
        segment_free(segment);
        return;
    }
    send_segment(segment);
}

/* Those who have waited since then at the latest have no connection, or no memory for one. */
static void fail_waiting(struct stores__list *queue, uint64_t since, const stores_error *error) {
    for (struct stores__list *at = queue->next, *next; at != queue; at = next) {
        next = at->next;
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (write->queued_at <= since) stores__write_over(write, error);
    }
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__segment *segment = STORES__CONTAINER(wait, struct stores__segment, wait);
    struct stores__writes *writes = segment->engine->writes;
    /* those who came after this request began to wait have not waited long enough */
    bool all = error->code != STORES_ACQUIRE_TIMEOUT && error->code != STORES_POOL_FULL;
    uint64_t since = all ? UINT64_MAX : wait->since;
    if (all || segment->alone) fail_waiting(&writes->alone, since, error);
    if (all || !segment->alone) fail_waiting(&writes->queue, since, error);
    segment_free(segment);
}

/* A write that runs alone may wait for a row whose holder waits for another write: those that wait
 * must not stand before the others, nor take every connection. */
static bool may_start(const struct stores__writes *writes, bool alone) {
    if (stores__closing(writes->engine) || stores__segments_crowd(writes)) return false;
    if (!alone) return !stores__list_empty(&writes->queue) && writes->running < SEGMENTS_MAX;
    return writes->running_alone * ALONE_SHARE < writes->engine->pool.size &&
           next_alone(writes) != NULL;
}

/* False: it waits for a connection, and others had better wait with it, not with one request each. */
static bool start_segment(struct stores__writes *writes, bool alone) {
    stores_engine *engine = writes->engine;
    struct stores__segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL) {
        stores_error error;
        stores__error_set(&error, STORES_NO_MEMORY, "no memory for a write");
        /* the end of a segment of this kind begins the next one; without one nobody would */
        if ((alone ? writes->running_alone : writes->running) == 0) {
            fail_waiting(alone ? &writes->alone : &writes->queue, UINT64_MAX, &error);
        }
        return false;
    }
    segment->engine = engine;
    segment->alone = alone;
    stores__list_init(&segment->writes);
    stores__list_append(&writes->segments, &segment->link);
    if (alone) {
        writes->running_alone++;
    } else {
        writes->running++;
    }
    segment->wait.granted = granted;
    segment->wait.failed = refused;
    bool idle = stores__pg_has_idle(&engine->pool);
    stores__pg_acquire(&engine->pool, &segment->wait, STORES__PG_WRITING, "writes");
    return idle;
}

void stores__writes_flush(struct stores__flush *flush) {
    struct stores__writes *writes = STORES__CONTAINER(flush, struct stores__writes, flush);
    while (may_start(writes, true) && start_segment(writes, true)) continue;
    while (may_start(writes, false) && start_segment(writes, false)) continue;
}

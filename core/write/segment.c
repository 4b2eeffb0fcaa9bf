/*
 * One segment: writes in one transaction, one flush to disk. See writes.h.
 *
 *     send ──> sent ──┬────────────────────────────┬──> COMMIT ────> committed ──┐
 *                     ├──> asks, where an INSERT ──┤                             ├──> closed
 *                     │    gave no row             └──> ROLLBACK ──> rolled back ┤
 *                     └──> lost, or it committed itself ─────────────────────────┘
 */
#include "write/writes_internal.h"

#include <stdio.h>

#include "names/names.h"
#include "pg/citus.h"

enum { LOST_TRIES = 1 };

/* ---- The end of a segment -------------------------------------------------------------------- */

void stores__segment_move(struct stores__segment *segment, enum stores__segment_place place) {
    struct stores__writes *writes = segment->engine->writes;
    if (segment->place != SEGMENT_NOWHERE) writes->counts[segment->place]--;
    segment->place = place;
    if (place == SEGMENT_NOWHERE) {
        stores__list_remove(&segment->link);
    } else {
        if (stores__list_empty(&segment->link)) {
            stores__list_append(&writes->segments, &segment->link);
        }
        writes->counts[place]++;
    }
}

void stores__segment_close(struct stores__segment *segment) {
    struct stores__writes *writes = segment->engine->writes;
    if (segment->conn != NULL) stores__pg_release(segment->conn);
    stores__segment_move(segment, SEGMENT_NOWHERE);
    stores__commit_free(segment->commit);
    if (!stores__list_empty(&writes->queue) || !stores__list_empty(&writes->alone)) {
        stores__flush_at_end(writes->engine, &writes->flush);
    }
    free(segment);
}

void stores__segment_end(struct stores__segment *segment, const stores_error *error) {
    while (!stores__list_empty(&segment->writes)) {
        struct stores__write *write = STORES__CONTAINER(segment->writes.next, struct stores__write,
                                                        link);
        stores__write_over(write, error ? error : write->error);
    }
    stores__segment_close(segment);
}

static bool may_run_again(const struct stores__segment *segment, const stores_error *error) {
    if (stores__closing(segment->engine) || error->outcome != STORES_OUTCOME_NONE) return false;
    /* what a segment met may not concern the others; what a single write met is its own */
    if (segment->rotates && error->code == STORES_LOCK_TIMEOUT) return true;
    if (segment->yields && error->code == STORES_CANCELED) return true;
    return segment->count > 1 || segment->stale_plan;
}

static bool runs_again(const struct stores__segment *segment, struct stores__write *write,
                       bool again, bool lost) {
    bool once = segment->stale_plan && segment->count == 1;
    if (again) return !once || write->lost_tries++ < LOST_TRIES;
    return lost && !stores__closing(segment->engine) && write->lost_tries++ < LOST_TRIES;
}

/* The segment was rolled back (outcome none): each write runs again by itself, or hears why not.
 * Where an INSERT failed that did not look, it does the next time, and all run again together. */
static void end_undone(struct stores__segment *segment, const stores_error *error) {
    struct stores__writes *writes = segment->engine->writes;
    void (*run)(struct stores__writes *, struct stores__write *) = stores__write_run_alone;
    if (segment->blind) run = stores__write_run_again;
    bool again = may_run_again(segment, error);
    bool lost = error->outcome == STORES_OUTCOME_NONE &&
                (error->code == STORES_CONNECTION_LOST || segment->stray_cancel);
    if (again) segment->engine->counters.segment_retries++;
    while (!stores__list_empty(&segment->writes)) {
        struct stores__write *write = STORES__CONTAINER(segment->writes.next, struct stores__write,
                                                        link);
        if (runs_again(segment, write, again, lost)) {
            if (write->op != NULL) write->op->retries++;
            run(writes, write);
        } else if (write->op != NULL && stores__table_is_gone(write->op, error)) {
            stores__write_begin_anew(write);
        } else {
            stores__write_over(write, error);
        }
    }
    stores__segment_close(segment);
}

static void committed(void *arg, const stores_error *error) {
    struct stores__segment *segment = arg;
    segment->commit = NULL; /* it frees itself */
    if (error == NULL || error->outcome != STORES_OUTCOME_NONE ||
        error->code == STORES_CACHE_FAILURE) {
        stores__segment_end(segment, error);
    } else {
        segment->stray_cancel = stores__pg_stray_cancel(segment->conn, &segment->req, error);
        end_undone(segment, error);
    }
}

static void rolled_back(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    (void)end; /* a connection that is lost rolls back as well */
    segment->engine->counters.rollbacks++;
    if (segment->stale_plan) stores__pg_forget_statements(segment->conn);
    if (segment->error.code == STORES_TABLE_NOT_FOUND) stores__table_forget_names(segment->engine);
    end_undone(segment, &segment->error);
}

static void roll_back(struct stores__segment *segment) {
    segment->req.result = NULL;
    segment->req.done = rolled_back;
    stores__pg_give_up_in(segment->conn, STORES__PG_GRACE_MS);
    stores__pg_begin(segment->conn, &segment->req);
    stores__pg_add(segment->conn, &segment->req, "ROLLBACK", 0, NULL, false);
    stores__pg_sync(segment->conn, &segment->req);
}

static void set_phase(void *arg, enum stores__phase phase) {
    struct stores__segment *segment = arg;
    if (!segment->engine->timed) return;
    for (size_t i = 0; i < segment->count; i++) {
        if (segment->order[i]->op != NULL) stores__op_phase(segment->order[i]->op, phase);
    }
}

/* ---- Results --------------------------------------------------------------------------------- */

static void fail(struct stores__segment *segment, const stores_error *error) {
    if (segment->failed || error->code == STORES_OK) return; /* the first one says why */
    segment->failed = true;
    segment->error = *error;
    stores__pg_heed(segment->conn, &segment->error);
    if (segment->commit == NULL && stores__pg_in_doubt(segment->conn, &segment->error)) {
        segment->error.outcome = STORES_OUTCOME_UNKNOWN; /* it commits itself, on another server */
        segment->error.retryable = false;
    }
    segment->stray_cancel = stores__pg_stray_cancel(segment->conn, &segment->req, error);
}

static void no_memory(struct stores__segment *segment) {
    stores_error error;
    stores__error_set(&error, STORES_NO_MEMORY, "no memory for a table");
    fail(segment, &error);
}

static void changed(struct stores__segment *segment) {
    stores_error error;
    stores__error_set(&error, STORES_SERIALIZATION,
                      "a table was changed while its writes were under way");
    fail(segment, &error);
}

/* What a result is of, and which one of its section. */
static enum stores__segment_section section_of(const struct stores__segment *segment, int index,
                                               size_t *at) {
    size_t begin = 0;
    int section = SECTION_CHECKS;
    while (section < SECTION_PRINTS && (size_t)index >= segment->ends[section]) {
        begin = segment->ends[section++];
    }
    *at = (size_t)index - begin;
    return section;
}

static void took_error(struct stores__segment *segment, const struct stores__group *group,
                       stores_error *error) {
    stores__group_explain(segment, group, error);
    if (segment->failed || !stores__group_was_blind(group, error)) return;
    stores__shared_taken(segment->order[group->first]->statement->table);
    segment->blind = true;
}

static void took_result(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    size_t at;
    enum stores__segment_section section = section_of(segment, index, &at);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (stores__pg_stale_plan(req)) segment->stale_plan = true;
        if (section == SECTION_WRITES) took_error(segment, &segment->groups[at], &error);
        fail(segment, &error);
    } else if (section == SECTION_WRITES) {
        if (!stores__group_take(segment, &segment->groups[at], result, &error)) {
            fail(segment, &error);
        }
        return;
    } else if (section == SECTION_CHECKS) {
        if (!stores__segment_take_check(segment, at, result)) no_memory(segment);
    } else if (section == SECTION_PRINTS && segment->commit != NULL) {
        if (!stores__segment_take_print(segment, at, result)) changed(segment);
    }
    stores__pg_result_free(result);
}

/* ---- What comes behind the statements -------------------------------------------------------- */

/* Nothing more is to be asked. */
static void go_on(struct stores__segment *segment) {
    if (segment->failed) {
        roll_back(segment);
        return;
    }
    stores__commit_watch(segment->commit, set_phase);
    segment->ending = true;
    stores__commit_start(segment->commit, segment->conn, committed, segment);
}

static void lost(struct stores__segment *segment) {
    if (!segment->failed || segment->error.code != STORES_CONNECTION_LOST) {
        stores__error_set(&segment->error, STORES_CONNECTION_LOST,
                          "the connection was lost while writing");
    }
    if (segment->commit == NULL && segment->req.sent) {
        /* a statement that commits itself: nobody knows */
        segment->error.outcome = STORES_OUTCOME_UNKNOWN;
        segment->error.retryable = false;
    }
    if (segment->error.outcome == STORES_OUTCOME_UNKNOWN) {
        segment->engine->counters.unknown_outcomes++;
        stores__segment_end(segment, &segment->error);
    } else {
        end_undone(segment, &segment->error);
    }
}

static void committed_itself(struct stores__segment *segment) {
    if (segment->stale_plan) stores__pg_forget_statements(segment->conn);
    if (segment->failed && segment->error.outcome == STORES_OUTCOME_UNKNOWN) {
        segment->engine->counters.unknown_outcomes++;
        stores__segment_end(segment, &segment->error);
    } else if (segment->failed) {
        end_undone(segment, &segment->error);
    } else {
        segment->engine->counters.commits++;
        stores__segment_end(segment, NULL);
    }
}

static void took_unsure(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        fail(segment, &error);
    } else {
        stores__segment_take_check(segment, (size_t)index,
                                   result); /* not known: as it was before */
    }
    stores__pg_result_free(result);
}

static void unsure_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    stores_error error;
    if (end == STORES__PG_LOST) {
        lost(segment);
        return;
    }
    if (!segment->failed && !stores__segment_decide_unsure(segment, &error)) fail(segment, &error);
    go_on(segment);
}

static void ask_unsure(struct stores__segment *segment) {
    segment->req.result = took_unsure;
    segment->req.done = unsure_over;
    stores__pg_begin(segment->conn, &segment->req);
    stores__segment_add_unsure(segment);
    stores__pg_sync(segment->conn, &segment->req);
}

static void sent(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    if (end == STORES__PG_LOST) {
        lost(segment);
    } else if (segment->commit == NULL) {
        committed_itself(segment);
    } else if (segment->unsure && !segment->failed) {
        ask_unsure(segment);
    } else {
        go_on(segment);
    }
}

/* ---- Where a statement that committed itself left the server --------------------------------- */

static void sent_first(struct stores__pg_req *req, enum stores__pg_end end) {
    STORES__CONTAINER(req, struct stores__segment, req)->end = end;
}

static void took_mark(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, marks);
    (void)index;
    stores__marking_take(&segment->marking, segment->engine, segment->conn, result);
    stores__pg_result_free(result);
}

static void marked(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, marks);
    if (end == STORES__PG_LOST) stores__mark_untold(segment->engine);
    sent(&segment->req, segment->end);
}

/* It commits with its Sync: this is asked behind that, in the same breath. */
static void ask_mark(struct stores__segment *segment) {
    segment->marks.result = took_mark;
    segment->marks.done = marked;
    stores__pg_begin(segment->conn, &segment->marks);
    stores__marking_add(&segment->marking, segment->engine, segment->conn, &segment->marks,
                        STORES__COMMITTED);
    stores__pg_sync(segment->conn, &segment->marks);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void add(struct stores__segment *segment, const char *sql) {
    stores__pg_add(segment->conn, &segment->req, sql, 0, NULL, true);
}

/* The same for statements over arrays. How long an array is no plan knows that is kept: it is to
 * find the rows by their index also where the table was empty when it was made, and in the order of
 * their ids. */
static const char shared_opening_sql[] =
    "SELECT pg_catalog.set_config('lock_timeout', '50', true),"
    " pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),"
    " pg_catalog.set_config('enable_seqscan', 'off', true),"
    " pg_catalog.set_config('enable_bitmapscan', 'off', true)";

static void add_opening(struct stores__segment *segment) {
    add(segment, "BEGIN");
    if (segment->conn->citus && segment->engine->pool.pooler) {
        /* the limits below are meant for the workers; without a pooler the session has said so */
        add(segment, "SET LOCAL citus.propagate_set_commands = 'local'");
    }
    if (segment->shares) {
        add(segment, shared_opening_sql);
    } else if (segment->count > 1) {
        /* a segment that waits for a row could wait for somebody who waits for the segment */
        add(segment, "SET LOCAL lock_timeout = 50");
    } else if (segment->rotates) {
        /* the first turn is for those whose row is free, and that met others whose rows are not */
        struct stores__write *write = segment->order[0];
        add(segment,
            write->rotated ? "SET LOCAL lock_timeout = 1000" : "SET LOCAL lock_timeout = 50");
        write->rotated = true;
    }
}

static void end_section(struct stores__segment *segment, enum stores__segment_section section) {
    segment->ends[section] = (size_t)segment->req.added;
}

void stores__segment_send(struct stores__segment *segment) {
    bool opened = segment->commit != NULL, marks = !opened && segment->engine->replicas != NULL;
    segment->req.result = took_result;
    segment->req.done = marks ? sent_first : sent;
    stores__segment_group(segment);
    stores__pg_begin(segment->conn, &segment->req);
    if (segment->engine->cache != NULL) stores__segment_add_checks(segment);
    end_section(segment, SECTION_CHECKS);
    if (opened) add_opening(segment);
    end_section(segment, SECTION_OPENING);
    stores__groups_add(segment);
    end_section(segment, SECTION_WRITES);
    if (opened) stores__segment_add_prints(segment);
    end_section(segment, SECTION_PRINTS);
    set_phase(segment, STORES__PHASE_POSTGRES);
    segment->engine->counters.segments++;
    segment->engine->counters.segment_writes += segment->count;
    stores__pg_sync(segment->conn, &segment->req);
    if (marks) ask_mark(segment);
}

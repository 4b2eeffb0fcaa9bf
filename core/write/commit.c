#include "write/commit_internal.h"

#include <stdio.h>

#include "cache/held.h"
#include "names/names.h"
#include "pg/citus.h"

struct stores__commit *stores__commit_new(stores_engine *engine) {
    struct stores__commit *commit = stores__zeroed(sizeof *commit);
    if (commit == NULL) return NULL;
    commit->engine = commit->tell.engine = engine;
    if (engine->cache != NULL) commit->began = stores__held_now();
    commit->rows = stores__settle_new(engine);
    if (commit->rows == NULL) {
        free(commit);
        return NULL;
    }
    return commit;
}

void stores__commit_free(struct stores__commit *commit) {
    if (commit == NULL) return;
    stores__tell_stop(&commit->tell);
    stores__status_free(commit->status);
    stores__settle_free(commit->rows);
    stores__error_free(commit->error);
    for (size_t i = 0; i < commit->turn_count; i++) stores__epoch_let_go(commit->turns[i]);
    free(commit->turns);
    free(commit);
}

static void replace_error(struct stores__commit *commit, stores_error *error) {
    stores__error_free(commit->error);
    commit->error = error;
}

/* Why it fails, in place of what was said before. */
static void fail(struct stores__commit *commit, stores_code code, const char *text) {
    replace_error(commit, stores__error_new(code, "%s", text));
}

/* The one mover. The commit may be gone when this returns: it is the last thing that a caller
 * does. */
static void go(struct stores__commit *commit, enum stores__commit_step to);

/* ---- Which tables were written? -------------------------------------------------------------- */

/* The number that the transaction has at its end. Another one than its first write had: a text of
 * the caller ended it and began the next, and what it wrote before stands where it stands. */
static void take_last_xid(struct stores__commit *commit, const struct pg_result *result) {
    const char *xid = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, NULL) : NULL;
    bool other = commit->xid[0] != '\0' && (xid == NULL || strcmp(commit->xid, xid) != 0);
    if (!other) {
        stores__commit_take_xid(commit, result);
        return;
    }
    stores__turn_all(commit->engine);
    fail(commit, STORES_UNSUPPORTED, "the statements ended the transaction that they ran in");
    stores__error_outcome(&commit->error, STORES_OUTCOME_UNKNOWN);
}

/* Where the transaction reaches further than it says, all that it wrote is turned: what was named,
 * too, also where its lock is gone, for it was given back with a savepoint of the caller. Else the
 * named rows get their intents, but for those of a table with too many. */
static enum stores__commit_step after_statements(struct stores__commit *commit) {
    size_t most = commit->reaches || commit->large ? 0 : STORES__NAMED_ROWS_MAX;
    stores__settle_turn_large(commit->rows, most, commit, stores__commit_turn);
    if (commit->no_memory) {
        fail(commit, STORES_NO_MEMORY, "no memory for the intents");
        return COMMIT_ROLLBACK;
    }
    bool silent = commit->turn_count == 0 && stores__settle_count(commit->rows) == 0;
    return silent ? COMMIT_COMMIT : COMMIT_TELL;
}

static void took_locks(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        stores__pg_explain_read_only(req, &error);
        if (error.code != STORES_OK) replace_error(commit, stores__error_dup(&error));
    } else if (index == commit->asked - 1) {
        stores__commit_take_past(commit, result);
    } else if (index == commit->asked) {
        stores__commit_take_locks(commit, result);
    } else if (index == commit->asked + 1) {
        take_last_xid(commit, result);
    }
    stores__pg_result_free(result);
}

static void asked(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    if (end == STORES__PG_LOST) {
        fail(commit, STORES_CONNECTION_LOST, "the connection was lost before COMMIT");
        go(commit, COMMIT_OVER);
    } else if (commit->error != NULL || !commit->locks_known) {
        /* what was deferred failed, or the transaction before, or an answer was lost for want of
         * memory */
        go(commit, COMMIT_ROLLBACK);
    } else {
        go(commit, after_statements(commit));
    }
}

static void ask(struct stores__commit *commit) {
    commit->req.result = took_locks;
    commit->req.done = asked;
    stores__pg_begin(commit->conn, &commit->req);
    commit->asked = stores__commit_add_question(commit->engine, commit->conn, &commit->req);
    stores__pg_add(commit->conn, &commit->req, stores__commit_xid_if_any_sql, 0, NULL, true);
    if (commit->saves) stores__commit_add_last(commit->conn, &commit->req);
    commit->req.kept = STORES__PG_KEPT_IN_COMMIT;
    stores__pg_sync(commit->conn, &commit->req);
}

/* ---- Redis is told --------------------------------------------------------------------------- */

static void refuse(struct stores__commit *commit) {
    char text[320];
    snprintf(text, sizeof text,
             "Redis did not take the intents of this write, which was rolled back: %s",
             stores__trouble_why(commit->engine->cache));
    fail(commit, STORES_CACHE_FAILURE, text);
}

static void bypass(struct stores__commit *commit) {
    commit->engine->counters.bypassed++;
    /* without names for the keys there is nothing that could be made up for later */
    if (commit->engine->cache->nameless) return;
    for (size_t i = 0; i < commit->turn_count; i++) stores__epoch_bypassed(commit->turns[i]);
    stores__settle_bypass(commit->rows);
}

static void told(struct stores__tell *tell, enum stores__told verdict) {
    struct stores__commit *commit = STORES__CONTAINER(tell, struct stores__commit, tell);
    if (verdict == STORES__TOLD) {
        go(commit, COMMIT_COMMIT);
    } else if (verdict == STORES__MUST_NOT ||
               commit->engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR) {
        refuse(commit);
        go(commit, COMMIT_ROLLBACK);
    } else {
        bypass(commit);
        go(commit, COMMIT_COMMIT);
    }
}

static void tell(struct stores__commit *commit) {
    if (commit->phase != NULL) commit->phase(commit->arg, STORES__PHASE_REDIS);
    commit->tell.xid = commit->xid;
    commit->tell.rows = commit->rows;
    commit->tell.turns = commit->turns;
    commit->tell.turn_count = commit->turn_count;
    commit->tell.done = told;
    stores__tell_start(&commit->tell);
}

/* ---- COMMIT ---------------------------------------------------------------------------------- */

static void took_commit(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_error error;
    if (commit->answered) { /* the first answer counts; else this is a farewell of the server */
        if (index == commit->marking.index) {
            stores__marking_take(&commit->marking, commit->engine, commit->conn, result);
        }
        stores__pg_result_free(result);
        return;
    }
    bool ok = stores__pg_result_ok(result, &error);
    if (ok && index < commit->ended) { /* cursors were closed */
        stores__pg_result_free(result);
        return;
    }
    commit->answered = true;
    if (!ok) {
        stores__error_statement(&error, "COMMIT");
        stores__pg_explain_read_only(req, &error);
        stores__pg_heed(commit->conn, &error);
        /* a coordinator that lost the server that has the rows */
        if (stores__pg_in_doubt(commit->conn, &error)) error.code = STORES_CONNECTION_LOST;
        replace_error(commit, stores__error_dup(&error));
        /* a server that goes down may have done it already */
        if (error.code == STORES_CONNECTION_LOST) {
            stores__error_outcome(&commit->error, STORES_OUTCOME_UNKNOWN);
        }
    } else if (strcmp(stores__pg_tag(result), "COMMIT") != 0) {
        fail(commit, STORES_QUERY_FAILED,
             "the transaction had failed before its COMMIT, and was rolled back");
    } else {
        replace_error(commit, NULL); /* whatever was said before: it is committed */
        commit->unseen = stores__pg_was_warned(commit->conn);
    }
    stores__pg_result_free(result);
}

static bool is_unknown(const struct stores__commit *commit) {
    return commit->error != NULL && commit->error->outcome == STORES_OUTCOME_UNKNOWN;
}

static void commit_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    if (end == STORES__PG_LOST && !commit->answered) {
        fail(commit, STORES_CONNECTION_LOST, "the connection was lost during COMMIT");
        stores__error_outcome(&commit->error,
                              req->sent ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE);
    }
    /* a coordinator that says that it failed knows no more later */
    bool told = commit->answered && commit->error != NULL &&
                stores__pg_in_doubt(commit->conn, commit->error);
    if (end == STORES__PG_LOST) stores__mark_untold(commit->engine);
    bool find = is_unknown(commit) && commit->xid[0] != '\0' && !stores__closing(commit->engine);
    go(commit, find && !told ? COMMIT_FIND : COMMIT_OVER);
}

static void begin_end(struct stores__commit *commit, const char *sql) {
    bool closes = commit->closes && !commit->locks_known && !stores__pg_has_failed(commit->conn);
    stores__pg_begin(commit->conn, &commit->req);
    if (closes) stores__pg_add(commit->conn, &commit->req, stores__commit_close_sql, 0, NULL, true);
    commit->ended = commit->req.added;
    stores__pg_add(commit->conn, &commit->req, sql, 0, NULL, false);
}

static void send_commit(struct stores__commit *commit) {
    if (commit->phase != NULL) commit->phase(commit->arg, STORES__PHASE_POSTGRES);
    commit->req.result = took_commit;
    commit->req.done = commit_over;
    if (commit->locks_known) commit->req.kept = STORES__PG_KEPT_IN_COMMIT;
    begin_end(commit, "COMMIT");
    stores__marking_add(&commit->marking, commit->engine, commit->conn, &commit->req,
                        STORES__COMMITTED);
    stores__pg_sync_last(commit->conn, &commit->req);
}

static void found(struct stores__status *status, enum stores__found found) {
    struct stores__commit *commit = status->arg;
    bool several = commit->engine->pool.common.citus; /* what the coordinator undid others may do */
    if (found == STORES__FOUND_COMMITTED) {
        replace_error(commit, NULL);
        commit->unseen = several;
    } else if (found == STORES__FOUND_ABORTED && !several) {
        stores__error_outcome(&commit->error, STORES_OUTCOME_NONE);
    }
    go(commit, COMMIT_OVER);
}

static void find(struct stores__commit *commit) {
    commit->status = stores__status_new(commit->engine);
    if (commit->status == NULL) { /* no memory: nobody will know */
        go(commit, COMMIT_OVER);
        return;
    }
    commit->status->xid = commit->xid;
    commit->status->started = commit->conn->identity.started;
    commit->status->done = found;
    commit->status->arg = commit;
    stores__status_ask(commit->status);
}

/* ---- ROLLBACK -------------------------------------------------------------------------------- */

static void rolled_back(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* a lost connection rolls back as well */
    go(STORES__CONTAINER(req, struct stores__commit, req), COMMIT_OVER);
}

/* The error is set already; what the server says to the ROLLBACK changes nothing about it. */
static void roll_back(struct stores__commit *commit) {
    commit->req.result = NULL;
    commit->req.done = rolled_back;
    stores__pg_give_up_in(commit->conn, STORES__PG_GRACE_MS);
    begin_end(commit, "ROLLBACK");
    stores__pg_sync_last(commit->conn, &commit->req);
}

/* ---- The steps ------------------------------------------------------------------------------- */

static void finish(struct stores__commit *commit) {
    struct stores__counters *counters = &commit->engine->counters;
    bool unknown = is_unknown(commit), committed = commit->error == NULL;
    if (committed) {
        counters->commits++;
    } else if (unknown) {
        counters->unknown_outcomes++;
    } else {
        counters->rollbacks++;
    }
    if (commit->tell.held) {
        stores__held_timed(commit->engine->cache, stores__held_now() - commit->began);
    }
    if (commit->renames) stores__table_forget_names(commit->engine);
    commit->done(commit->arg, commit->error);
    if (!unknown && !commit->unseen) {
        /* where the outcome is not known, or not seen, the intents stay: who reads them asks */
        stores__settle_send(commit->rows, commit->tell.entry, committed);
        commit->rows = NULL;
    }
    for (size_t i = 0; i < commit->turn_count; i++) stores__epoch_end_turn(commit->turns[i]);
    stores__commit_free(commit);
}

#define STEP(name) (1u << COMMIT_##name)

static void go(struct stores__commit *commit, enum stores__commit_step to) {
    static const unsigned after[] = {
        [COMMIT_GATHER] = STEP(ASK) | STEP(TELL) | STEP(COMMIT) | STEP(ROLLBACK),
        [COMMIT_ASK] = STEP(TELL) | STEP(COMMIT) | STEP(ROLLBACK) | STEP(OVER),
        [COMMIT_TELL] = STEP(COMMIT) | STEP(ROLLBACK),
        [COMMIT_COMMIT] = STEP(FIND) | STEP(OVER),
        [COMMIT_FIND] = STEP(OVER),
        [COMMIT_ROLLBACK] = STEP(OVER),
        [COMMIT_OVER] = 0,
    };
    assert(after[commit->step] & 1u << to);
    commit->step = to;
    switch (to) {
    case COMMIT_ASK: ask(commit); break;
    case COMMIT_TELL: tell(commit); break;
    case COMMIT_COMMIT: send_commit(commit); break;
    case COMMIT_FIND: find(commit); break;
    case COMMIT_ROLLBACK: roll_back(commit); break;
    case COMMIT_OVER: finish(commit); break;
    case COMMIT_GATHER: break;
    }
}

void stores__commit_watch(struct stores__commit *commit,
                          void (*phase)(void *arg, enum stores__phase phase)) {
    commit->phase = phase;
}

void stores__commit_start(struct stores__commit *commit, struct stores__pg_conn *conn,
                          stores__commit_done done, void *arg) {
    commit->conn = conn;
    commit->done = done;
    commit->arg = arg;
    bool ask_first = commit->reaches && !commit->locks_known;
    go(commit, ask_first ? COMMIT_ASK : after_statements(commit));
}

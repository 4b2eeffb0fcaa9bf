#include "write/commit_internal.h"
#include "names/facts.h"
#include "names/names.h"

#include <stdio.h>

enum { NAMED_ROWS_MAX = 5000 }; /* more in one table: its epoch is turned instead */

const char stores__commit_xid_sql[] = "SELECT pg_catalog.pg_current_xact_id()::text";
const char stores__commit_xid_if_any_sql[] =
    "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text";

/* What the transaction itself locked for writing, or more strongly, and what those are partitions of.
 * What it dropped has no row in the catalog any more, but its oid is what it always was. */
const char stores__commit_locks_sql[] =
    "WITH RECURSIVE tree AS ("
    " SELECT l.relation AS oid, l.mode <> 'RowExclusiveLock' AS ddl FROM pg_catalog.pg_locks l"
    " WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() AND l.granted"
    " AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"
    " 'AccessExclusiveLock') AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"
    "  WHERE d.datname = pg_catalog.current_database())"
    " UNION SELECT i.inhparent, tree.ddl FROM pg_catalog.pg_inherits i"
    "  JOIN tree ON i.inhrelid = tree.oid)"
    " SELECT tree.oid, tree.ddl FROM tree LEFT JOIN pg_catalog.pg_class c ON c.oid = tree.oid"
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid IS NULL OR (c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
    " AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema'))";

static const char immediate_sql[] = "SET CONSTRAINTS ALL IMMEDIATE";

/* A cursor WITH HOLD runs to its end inside of COMMIT, and nobody could read it after it. */
int stores__commit_add_question(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    if (conn->texts > 0) stores__pg_add(conn, req, "CLOSE ALL", 0, NULL, true);
    stores__pg_add(conn, req, immediate_sql, 0, NULL, true);
    int asked = req->added;
    stores__pg_add(conn, req, stores__commit_locks_sql, 0, NULL, true);
    return asked;
}

struct stores__commit *stores__commit_new(stores_engine *engine) {
    struct stores__commit *commit = calloc(1, sizeof *commit);
    if (commit == NULL) return NULL;
    commit->engine = engine;
    stores__list_init(&commit->wait.link);
    commit->rows = stores__settle_new(engine);
    if (commit->rows == NULL) {
        free(commit);
        return NULL;
    }
    return commit;
}

void stores__commit_free(struct stores__commit *commit) {
    if (commit == NULL) return;
    stores__timer_stop(&commit->engine->timers, &commit->timer);
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

void stores__commit_fail(struct stores__commit *commit, stores_code code, const char *text) {
    replace_error(commit, stores__error_new(code, "%s", text));
}

void stores__commit_take_xid(struct stores__commit *commit, const struct pg_result *result) {
    const char *xid = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, NULL) : NULL;
    if (xid != NULL) snprintf(commit->xid, sizeof commit->xid, "%s", xid);
}

/* The number that the transaction has at its end. Another one than its first write had: a text of the
 * caller ended it and began the next, and what it wrote before stands where it stands. */
static void take_last_xid(struct stores__commit *commit, const struct pg_result *result) {
    const char *xid = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, NULL) : NULL;
    bool other = commit->xid[0] != '\0' && (xid == NULL || strcmp(commit->xid, xid) != 0);
    if (!other) {
        stores__commit_take_xid(commit, result);
        return;
    }
    stores__turn_all(commit->engine);
    stores__commit_fail(commit, STORES_UNSUPPORTED,
                        "the statements ended the transaction that they ran in");
    stores__error_outcome(&commit->error, STORES_OUTCOME_UNKNOWN);
}

void stores__commit_reaches(struct stores__commit *commit) {
    if (commit->engine->cache != NULL) commit->reaches = true;
}

bool stores__commit_is_reaching(const struct stores__commit *commit) {
    return commit->reaches;
}

static void add_turn(struct stores__commit *commit, uint32_t oid) {
    struct stores__epoch *epoch = stores__epoch_of(commit->engine, oid);
    for (size_t i = 0; epoch != NULL && i < commit->turn_count; i++) {
        if (commit->turns[i] == epoch) {
            stores__epoch_let_go(epoch);
            return;
        }
    }
    if (epoch != NULL && commit->turn_count == commit->turn_room) {
        size_t room = commit->turn_room ? commit->turn_room * 2 : 4;
        struct stores__epoch **turns = realloc(commit->turns, room * sizeof(*turns));
        if (turns == NULL) {
            stores__epoch_let_go(epoch);
            epoch = NULL;
        } else {
            commit->turns = turns;
            commit->turn_room = room;
        }
    }
    if (epoch == NULL) {
        commit->no_memory = true;
        return;
    }
    commit->turns[commit->turn_count++] = epoch;
}

void stores__commit_turn(struct stores__commit *commit, struct stores__table *table) {
    if (commit->engine->cache != NULL) add_turn(commit, table->oid);
}

void stores__commit_row(struct stores__commit *commit, struct stores__table *table, int64_t id,
                        const char *text, size_t len, struct stores__blob *blob, bool publish) {
    if (!stores__cache_covers(table)) return;
    if (!stores__settle_add(commit->rows, table, id, text, len, blob, publish)) {
        commit->no_memory = true;
    }
}

void stores__commit_refuse(struct stores__commit *commit) {
    commit->no_memory = true;
}

bool stores__commit_is_refused(const struct stores__commit *commit) {
    return commit->no_memory;
}

struct stores__epoch **stores__commit_turns(struct stores__commit *commit, size_t *count) {
    struct stores__epoch **turns = commit->turns;
    *count = commit->turn_count;
    commit->turns = NULL;
    commit->turn_count = commit->turn_room = 0;
    return turns;
}

size_t stores__commit_mark(const struct stores__commit *commit) {
    return stores__settle_count(commit->rows);
}

void stores__commit_rolled_back(struct stores__commit *commit, size_t mark) {
    stores__settle_unpublish(commit->rows, mark);
}

/* DDL of our own: what this process knows of the table is asked anew, and what names mean. */
static void doubt(stores_engine *engine, uint32_t oid) {
    stores__table_forget_names(engine);
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (table->oid == oid) stores__facts_doubt(table);
    }
}

void stores__commit_take_lock(struct stores__commit *commit, const struct pg_result *result,
                              int row) {
    const char *text = stores__pg_value(result, row, 0, NULL);
    const char *ddl = stores__pg_value(result, row, 1, NULL);
    if (text == NULL) {
        commit->no_memory = true; /* no server says so; what it wrote cannot be told */
        return;
    }
    uint32_t oid = (uint32_t)strtoul(text, NULL, 10);
    add_turn(commit, oid);
    if (ddl != NULL && ddl[0] == 't') doubt(commit->engine, oid);
}

void stores__commit_take_locks(struct stores__commit *commit, const struct pg_result *result) {
    commit->locks_known = true;
    if (commit->engine->cache == NULL) return;
    for (int row = 0; row < stores__pg_rows(result); row++) {
        stores__commit_take_lock(commit, result, row);
    }
}

bool stores__commit_may_write(const struct stores__table *table, stores_error *error) {
    const stores_engine *engine = table->engine;
    if (engine->cache == NULL || !table->cacheable) return true;
    if (engine->config.on_cache_failure != STORES_CACHE_FAILURE_ERROR) return true;
    if (engine->cache->nameless) {
        stores__error_set(error, STORES_CACHE_FAILURE,
                          "the role of this store may not ask PostgreSQL who it is, so that the "
                          "cache cannot be told, and on_cache_failure is 'error'");
        return false;
    }
    if (stores__cache_up(engine->cache)) return true;
    stores__error_set(error, STORES_CACHE_FAILURE,
                      "Redis is not reachable, and on_cache_failure is 'error': %s",
                      stores__trouble_why(engine->cache));
    return false;
}

/* ---- COMMIT ---------------------------------------------------------------------------------- */

void stores__commit_finish(struct stores__commit *commit) {
    const stores_error *error = commit->error;
    struct stores__counters *counters = &commit->engine->counters;
    if (error == NULL) {
        counters->commits++;
    } else if (error->outcome == STORES_OUTCOME_UNKNOWN) {
        counters->unknown_outcomes++;
    } else {
        counters->rollbacks++;
    }
    bool unknown = error != NULL && error->outcome == STORES_OUTCOME_UNKNOWN;
    bool committed = error == NULL;
    commit->done(commit->arg, error);
    if (!unknown) {
        /* where the outcome is not known the intents stay: who reads them asks the server */
        stores__settle_send(commit->rows, commit->entry, committed);
        commit->rows = NULL;
    }
    for (size_t i = 0; i < commit->turn_count; i++) stores__epoch_end_turn(commit->turns[i]);
    stores__commit_free(commit);
}

static void took_commit(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_error error;
    (void)index;
    if (commit->committed) { /* the first answer counts; this is a farewell of the server */
        stores__pg_result_free(result);
        return;
    }
    commit->committed = true; /* answered */
    if (!stores__pg_result_ok(result, &error)) {
        replace_error(commit, stores__error_dup(&error));
        /* a server that goes down may have done it already */
        if (error.code == STORES_CONNECTION_LOST) {
            stores__error_outcome(&commit->error, STORES_OUTCOME_UNKNOWN);
        }
    } else if (strcmp(stores__pg_tag(result), "COMMIT") != 0) {
        stores__commit_fail(commit, STORES_QUERY_FAILED,
                            "the transaction had failed before its COMMIT, and was rolled back");
    } else {
        replace_error(commit, NULL); /* whatever was said before: it is committed */
    }
    stores__pg_result_free(result);
}

static void commit_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    if (end == STORES__PG_LOST && !commit->committed) {
        stores__commit_fail(commit, STORES_CONNECTION_LOST,
                            "the connection was lost during COMMIT");
        stores__error_outcome(&commit->error,
                              req->sent ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE);
    }
    bool unknown = commit->error != NULL && commit->error->outcome == STORES_OUTCOME_UNKNOWN;
    if (unknown && commit->xid[0] != '\0' && !stores__closing(commit->engine)) {
        stores__commit_ask_status(commit);
    } else {
        stores__commit_finish(commit);
    }
}

static void send_end(struct stores__commit *commit, const char *sql) {
    commit->req.done = commit_over;
    stores__pg_begin(commit->conn, &commit->req);
    stores__pg_add(commit->conn, &commit->req, sql, 0, NULL, false);
    stores__pg_sync_last(commit->conn, &commit->req);
}

void stores__commit_send(struct stores__commit *commit) {
    commit->step = STEP_COMMIT;
    if (commit->phase != NULL) commit->phase(commit->arg, STORES__PHASE_POSTGRES);
    commit->req.result = took_commit;
    send_end(commit, "COMMIT");
}

/* The error is set already; what the server says to the ROLLBACK changes nothing about it. */
static void took_rollback(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    (void)index;
    commit->committed = true;
    stores__pg_result_free(result);
}

static void rollback_over(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* a lost connection rolls back as well */
    stores__commit_finish(STORES__CONTAINER(req, struct stores__commit, req));
}

void stores__commit_roll_back(struct stores__commit *commit) {
    commit->step = STEP_ROLLBACK;
    commit->req.result = took_rollback;
    commit->req.done = rollback_over;
    stores__pg_give_up_in(commit->conn, STORES__PG_GRACE_MS);
    stores__pg_begin(commit->conn, &commit->req);
    stores__pg_add(commit->conn, &commit->req, "ROLLBACK", 0, NULL, false);
    stores__pg_sync_last(commit->conn, &commit->req);
}

/* ---- Start ----------------------------------------------------------------------------------- */

/* What was named is turned with the rest: also where its lock is gone, for it was given back with a
 * savepoint of the caller. */
static void forget_rows(struct stores__commit *commit) {
    stores__settle_turn_large(commit->rows, 0, commit, stores__commit_turn);
}

static void begin_telling(struct stores__commit *commit) {
    if (commit->reaches) {
        forget_rows(commit);
    } else {
        stores__settle_turn_large(commit->rows, NAMED_ROWS_MAX, commit, stores__commit_turn);
    }
    if (commit->no_memory) {
        stores__commit_fail(commit, STORES_NO_MEMORY, "no memory for the intents");
        stores__commit_roll_back(commit);
    } else if (commit->turn_count == 0 && stores__settle_count(commit->rows) == 0) {
        stores__commit_send(commit);
    } else {
        stores__commit_tell(commit);
    }
}

static void took_locks(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        if (error.code != STORES_OK) replace_error(commit, stores__error_dup(&error));
    } else if (index == commit->asked) {
        stores__commit_take_locks(commit, result);
    } else if (index == commit->asked + 1) {
        take_last_xid(commit, result);
    }
    stores__pg_result_free(result);
}

static void locks_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    if (end == STORES__PG_LOST) {
        stores__commit_fail(commit, STORES_CONNECTION_LOST,
                            "the connection was lost before COMMIT");
        stores__commit_finish(commit);
    } else if (commit->error != NULL || !commit->locks_known) {
        /* what was deferred failed, or the transaction before, or an answer was lost for want of
         * memory */
        stores__commit_roll_back(commit);
    } else {
        begin_telling(commit);
    }
}

void stores__commit_ask(struct stores__commit *commit) {
    commit->step = STEP_LOCKS;
    commit->req.result = took_locks;
    commit->req.done = locks_over;
    stores__pg_begin(commit->conn, &commit->req);
    commit->asked = stores__commit_add_question(commit->conn, &commit->req);
    stores__pg_add(commit->conn, &commit->req, stores__commit_xid_if_any_sql, 0, NULL, true);
    stores__pg_sync(commit->conn, &commit->req);
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
    if (commit->reaches && !commit->locks_known) {
        stores__commit_ask(commit);
    } else {
        begin_telling(commit);
    }
}

/* The tables that a query says it writes: what those names are, and their turns around a statement
 * that commits itself. */
#include "write/calls_internal.h"

#include <stdio.h>

#include "cache/held.h"

/* The tables of a list of names and what those are partitions of, in the form of
 * the question of commit_written.c; and, without an oid, the names that are no table. */
static const char names_sql[] =
    "WITH RECURSIVE named AS (SELECT x, c.oid FROM pg_catalog.unnest($1::text[]) x"
    " LEFT JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(x)"
    "  AND c.relkind IN ('r', 'p', 'f', 'm')),"
    " tree AS (SELECT oid FROM named WHERE oid IS NOT NULL"
    " UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN tree ON i.inhrelid = tree.oid)"
    " SELECT c.oid, false, NULL, " STORES__MARK(
        "c.oid::text") " FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid"
                       " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
                       " UNION ALL SELECT NULL, false, x, 0 FROM named WHERE oid IS NULL";

/* A lock of the session, which stands in nobody's way. */
static const char sign_sql[] =
    "SELECT pg_catalog.pg_advisory_lock_shared(" STORES__SIGN_CLASS ","
    " x::pg_catalog.oid::pg_catalog.int8::pg_catalog.bit(32)::pg_catalog.int4)"
    " FROM (WITH RECURSIVE tree AS (SELECT pg_catalog.to_regclass(n)::pg_catalog.oid AS oid"
    "  FROM pg_catalog.unnest($1::text[]) n"
    "  UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN tree ON i.inhrelid = tree.oid)"
    " SELECT oid AS x FROM tree WHERE oid IS NOT NULL) t";

int stores__call_add_names(struct stores__own_call *call) {
    const char *values[] = {call->invalidates};
    int index = call->req.added;
    stores__pg_add(call->conn, &call->req, names_sql, 1, values, true);
    return index;
}

void stores__call_add_signs(struct stores__own_call *call) {
    const char *values[] = {call->invalidates};
    if (call->engine->pool.pooler) return; /* there is no session that could hold it */
    stores__pg_foreign(call->conn, call->sql);
    stores__pg_add(call->conn, &call->req, sign_sql, 1, values, true);
}

static bool was_missing(struct stores__own_call *call, const char *name) {
    char line[STORES__TABLE_NAME_MAX + 2];
    const char *lines = stores__buf_text(&call->missing);
    snprintf(line, sizeof line, "\n%s\n", name);
    return lines != NULL && strstr(lines, line) != NULL;
}

static void no_table(struct stores__own_call *call, const char *name) {
    stores_error error;
    stores__error_set(&error, STORES_TABLE_NOT_FOUND, "invalidates names %s, which is no table",
                      name);
    snprintf(error.table, sizeof error.table, "%s", name);
    stores__error_free(call->error);
    call->error = stores__error_dup(&error);
}

void stores__call_take_names(struct stores__own_call *call, const struct pg_result *result,
                             bool last) {
    bool commits_itself = call->step == CALL_NAMES;
    for (int row = 0; row < stores__pg_rows(result); row++) {
        const char *name = stores__pg_value(result, row, 2, NULL);
        if (name == NULL) {
            stores__commit_take_lock(call->commit, result, row);
            stores__commit_named(call->commit);
        } else if (commits_itself || (last && was_missing(call, name))) {
            no_table(call, name);
        } else if (!last) {
            /* the statement may make it */
            stores__buf_fmt(&call->missing, "\n%s\n", name);
        }
    }
    if (call->missing.failed) {
        stores__call_fail(call, STORES_NO_MEMORY, "no memory for names");
    }
}

void stores__call_bypass_turns(struct stores__own_call *call) {
    for (size_t i = 0; i < call->turned_count; i++) stores__epoch_bypassed(call->turned[i]);
}

static void send_turns(struct stores__own_call *call);

static bool is_up(const struct stores__own_call *call) {
    return stores__epochs_up(call->engine->cache, call->turned, call->turned_count);
}

/* Where Redis came back meanwhile it is told after all. */
static void waited(struct stores__timer *timer) {
    struct stores__own_call *call = STORES__CONTAINER(timer, struct stores__own_call, patience);
    bool is_back = call->redis_away && !stores__closing(call->engine) && is_up(call);
    if (is_back && !call->turned_again) {
        call->turned_again = true;
        send_turns(call);
    } else {
        call->all_turned(call);
    }
}

/* Redis cannot be told, and is bypassed: what others hold of the tables they do not hold for
 * long. */
static bool wait_for_leases(struct stores__own_call *call) {
    stores_engine *engine = call->engine;
    uint64_t ms = 0;
    if (engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR) return false;
    for (size_t i = 0; i < call->turned_count; i++) {
        uint64_t absence = stores__held_absence(call->turned[i]);
        if (absence > ms) ms = absence;
    }
    call->redis_away = !is_up(call);
    call->patience.fire = waited;
    return ms > 0 &&
           stores__timer_set(&engine->timers, &call->patience, uv_hrtime() / 1000000 + ms);
}

static void turned(void *arg, bool ok) {
    struct stores__own_call *call = arg;
    if (!ok) call->turn_failed = true;
    if (--call->turns_waiting > 0) return;
    if (!call->turn_failed || !wait_for_leases(call)) call->all_turned(call);
}

static void send_turns(struct stores__own_call *call) {
    call->turn_failed = false;
    call->turns_waiting = 1; /* ours, so that answers cannot end it before all is sent */
    for (size_t i = 0; i < call->turned_count; i++) {
        call->turns_waiting++;
        if (!stores__epoch_turn(call->turned[i], STORES__TURN_NAMED, turned, call)) {
            call->turns_waiting--;
            call->turn_failed = true;
        }
    }
    turned(call, true);
}

void stores__call_turn(struct stores__own_call *call,
                       void (*all_turned)(struct stores__own_call *call)) {
    call->all_turned = all_turned;
    call->turned_again = false;
    send_turns(call);
}

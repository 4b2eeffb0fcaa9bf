/* What the results of a call with a connection of its own are of. */
#include "write/calls_internal.h"

#include "sql/effect.h"

/* It was said to read only, outside of a transaction that could keep it from writing. */
static bool wrote_unasked(const struct stores__own_call *call, int index, const char *tag) {
    if (call->way != WAY_ITSELF || !call->options.readonly || call->step != CALL_RUNNING) {
        return false;
    }
    bool several = call->options.simple;
    return (several || index == call->statement) &&
           stores__sql_may_have_written(call->sql, several, tag);
}

/* Those of its transaction, of which a cache is told. */
static bool locks_tell(const struct stores__own_call *call) {
    return call->engine->cache != NULL && call->way != WAY_ITSELF;
}

static bool swaps_schemas(const struct stores__own_call *call, const char *tag) {
    return call->way == WAY_ITSELF && strcmp(tag, "ALTER SCHEMA") == 0;
}

/* Of several statements the last one that gave rows counts, else the last one. */
static void keep_result(struct stores__own_call *call, struct pg_result *result) {
    struct pg_result *before = call->result;
    if (before != NULL && stores__pg_has_rows(before) && !stores__pg_has_rows(result)) {
        stores__pg_result_free(result);
        return;
    }
    if (before != NULL) stores__pg_result_free(before);
    call->result = result;
}

void stores__call_took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__own_call *call = STORES__CONTAINER(req, struct stores__own_call, req);
    stores_error error;
    if (index == call->marking.index) {
        stores__marking_take(&call->marking, call->engine, call->conn, result);
        stores__pg_result_free(result);
        return;
    }
    if (!stores__pg_result_ok(result, &error)) {
        if (call->error == NULL && error.code != STORES_OK) {
            stores__pg_explain_read_only(req, &error);
            bool own = call->step == CALL_RUNNING &&
                       (call->options.simple || index == call->statement);
            if (own) stores__table_explain(call->table, call->sql, &error);
            call->error = stores__error_dup(&error);
            call->stray_cancel = stores__pg_stray_cancel(call->conn, req, &error);
        }
        stores__pg_result_free(result);
        return;
    }
    bool simple = call->step == CALL_RUNNING && call->options.simple;
    const char *tag = stores__pg_tag(result);
    bool own = simple || index == call->statement;
    if (wrote_unasked(call, index, tag) || (own && swaps_schemas(call, tag))) call->wrote = true;
    if (simple && stores__sql_tag_controls(tag)) call->ended = true;
    if (own && !locks_tell(call) && stores__sql_renames(call->sql, call->options.simple, tag)) {
        call->renames = true;
    }
    if (own) {
        keep_result(call, result);
        return;
    }
    if (index == call->named || index == call->named_last) {
        stores__call_take_names(call, result, index == call->named_last);
    } else if (call->step == CALL_NAMES ? index == call->named + 1 : index == call->asked - 1) {
        stores__commit_take_past(call->commit, result);
    } else if (index == call->asked) {
        stores__commit_take_locks(call->commit, result);
    }
    stores__pg_result_free(result);
}

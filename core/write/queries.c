/* Selects and queries: their arguments, and what is refused before anything is sent. */
#include "write/calls_internal.h"

#include <stdio.h>

#include "names/names.h"

/* ---- Arguments ------------------------------------------------------------------------------- */

static bool copy_names(struct stores__own_call *call, const stores_query_options *options,
                       stores_error *error) {
    struct stores__buf buf = {0};
    char quoted[STORES__TABLE_NAME_MAX];
    stores__buf_str(&buf, "{");
    for (int i = 0; i < options->invalidates_count; i++) {
        const char *name = options->invalidates[i] ? options->invalidates[i] : "";
        if (!stores__table_parse(name, quoted, sizeof quoted, error)) {
            stores__buf_free(&buf);
            return false;
        }
        stores__buf_str(&buf, i ? ",\"" : "\"");
        for (const char *c = quoted; *c; c++) {
            if (*c == '"' || *c == '\\') stores__buf_str(&buf, "\\");
            stores__buf_add(&buf, c, 1);
        }
        stores__buf_str(&buf, "\"");
    }
    stores__buf_str(&buf, "}");
    const char *text = stores__buf_text(&buf);
    call->invalidates = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    if (call->invalidates == NULL)
        stores__error_set(error, STORES_NO_MEMORY, "no memory for names");
    return call->invalidates != NULL;
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static struct stores__own_call *call_new(stores_op *op, const char *sql,
                                         const stores_params *params) {
    struct stores__own_call *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    call->engine = op->engine;
    call->op = op;
    call->count = params ? params->count : 0;
    call->sql = stores__strdup(sql ? sql : "");
    call->memory = stores__params_copy(params, &call->values);
    stores__list_init(&call->wait.link);
    if (call->sql == NULL || call->memory == NULL) {
        stores__call_free(call);
        return NULL;
    }
    return call;
}

static void dispose_call(stores_op *op) {
    stores__call_free(op->stage);
}

static void start(struct stores__own_call *call) {
    stores_op *op = call->op;
    op->stage = call;
    op->leave = stores__call_leave;
    op->dispose = NULL;
    stores__call_run(call);
}

static void select_resolved(stores_op *op, struct stores__table *table) {
    struct stores__own_call *call = op->stage;
    char *sql = stores__table_expand(table, call->sql);
    if (sql == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return;
    }
    call->given = call->sql;
    call->sql = sql;
    /* what nobody knows to read only, the server keeps from writing */
    call->options.readonly = op->engine->cache != NULL &&
                             !(table->cacheable &&
                               stores__sql_know(&op->engine->pool.common.texts, sql).only_reads);
    call->replica = op->replica;
    call->table = stores__table_hold(table);
    call->wait.topic = &table->topic;
    start(call);
}

stores_op *stores_select(stores_engine *engine, const stores_call *call, const char *table,
                         const char *sql, const stores_params *params) {
    stores_params own;
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING || !stores__params_fit(op, &params, &own)) {
        return op;
    }
    struct stores__own_call *select = call_new(op, sql, params);
    if (select == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return op;
    }
    select->select = true;
    op->verb = STORES__VERB_SELECT;
    op->stage = select;
    op->dispose = dispose_call;
    op->resolved = select_resolved;
    stores__table_resolve(op, table);
    return op;
}

static bool prepare_query(struct stores__own_call *call, stores_error *error) {
    stores_engine *engine = call->engine;
    const stores_query_options *options = &call->options;
    bool named = options->invalidates != NULL;
    struct stores__sql_known known = stores__sql_know(&engine->pool.common.texts, call->sql);
    /* what needs not run outside of transactions is kept from writing by one that reads only */
    if (options->readonly && !options->simple && known.stands_anywhere) {
        call->options.autocommit = false;
    }
    if (!stores__text_fits(&known, options->autocommit, error)) return false;
    /* a SET makes of a transaction that reads only one that writes */
    bool reads = options->readonly && (options->autocommit || !known.sets);
    if (engine->cache == NULL || reads) return true;
    if (options->autocommit && !named) {
        stores__error_set(error, STORES_INVALID_OPTION,
                          "a query outside a transaction must say which tables it writes: "
                          "invalidates = {...}, or readonly = true");
        return false;
    }
    if (engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR &&
        !stores__cache_up(engine->cache)) {
        stores__error_set(error, STORES_CACHE_FAILURE,
                          "Redis is not reachable, and on_cache_failure is 'error'");
        return false;
    }
    if (named && !copy_names(call, options, error)) return false;
    call->commit = stores__commit_new(engine);
    if (call->commit == NULL) stores__error_set(error, STORES_NO_MEMORY, "no memory for a query");
    return call->commit != NULL;
}

stores_op *stores_query(stores_engine *engine, const stores_call *call, const char *sql,
                        const stores_params *params, const stores_query_options *options) {
    stores_error error;
    stores_params own;
    stores_query_options own_options;
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING || !stores__params_fit(op, &params, &own) ||
        !stores__query_options_fit(op, &options, &own_options)) {
        return op;
    }
    struct stores__own_call *query = call_new(op, sql, params);
    if (query == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a statement");
        return op;
    }
    op->verb = STORES__VERB_QUERY;
    if (options != NULL) query->options = *options;
    if (!prepare_query(query, &error)) {
        stores__call_free(query);
        stores__op_fail(op, &error);
        return op;
    }
    query->options.invalidates = NULL; /* the caller's memory; they are copied */
    query->marks = op->replica && query->options.readonly;
    query->replica = query->marks && !query->options.simple;
    start(query);
    return op;
}

#include "statement.h"

#include <stdio.h>

/* The parameters behind the id. */
static const char *param(const stores_change *change, int index) {
    if (change->kind == STORES_MODIFY) return change->params.values[index];
    return index == 0 ? change->json : change->expected;
}

struct stores__statement *stores__statement_new(const stores_change *change) {
    struct stores__statement *statement = calloc(1, sizeof *statement);
    if (statement == NULL) return NULL;
    bool modify = change->kind == STORES_MODIFY;
    bool document = !modify && change->kind != STORES_DELETE;
    bool replaces = change->kind == STORES_UPDATE && change->expected != NULL;
    int params = modify ? change->params.count : document + replaces;
    struct stores__buf buf = {0};
    statement->kind = change->kind;
    statement->id = change->id;
    statement->want_document = change->want_document || modify;
    statement->replaces = replaces;
    statement->count = 1 + params;
    statement->values = calloc((size_t)statement->count, sizeof *statement->values);
    statement->name = stores__strdup(change->table ? change->table : "");
    if (modify) statement->expr = stores__strdup(change->expr ? change->expr : "value");
    stores__buf_fmt(&buf, "%lld", (long long)change->id);
    stores__buf_add(&buf, "", 1);
    for (int i = 0; i < params; i++) {
        const char *value = param(change, i);
        if (value != NULL) stores__buf_add(&buf, value, strlen(value) + 1);
    }
    if (buf.failed || !statement->values || !statement->name || (modify && !statement->expr)) {
        stores__buf_free(&buf);
        stores__statement_free(statement);
        return NULL;
    }
    statement->memory = buf.data;
    const char *at = statement->memory;
    for (int i = 0; i < statement->count; i++) {
        bool null = i > 0 && param(change, i - 1) == NULL;
        statement->values[i] = null ? NULL : at;
        if (!null) at += strlen(at) + 1;
    }
    return statement;
}

bool stores__statement_bind(struct stores__statement *statement, struct stores__table *table) {
    statement->table = table;
    switch (statement->kind) {
    case STORES_INSERT: statement->sql = table->insert_sql; break;
    case STORES_UPDATE:
        statement->sql = statement->replaces ? table->replace_sql : table->update_sql;
        break;
    case STORES_UPSERT: statement->sql = table->upsert_sql; break;
    case STORES_DELETE: statement->sql = table->delete_sql; break;
    case STORES_MODIFY: {
        struct stores__buf buf = {0};
        stores__buf_fmt(&buf, "UPDATE %s SET value = %s WHERE id = $1 RETURNING id, value::text",
                        table->name, statement->expr);
        const char *text = stores__buf_text(&buf);
        free(statement->made);
        statement->made = text ? stores__strdup(text) : NULL;
        stores__buf_free(&buf);
        statement->sql = statement->made;
        break;
    }
    }
    return statement->sql != NULL;
}

void stores__statement_free(struct stores__statement *statement) {
    if (statement == NULL) return;
    free(statement->made);
    free(statement->expr);
    free(statement->name);
    free(statement->memory);
    free(statement->values);
    free(statement);
}

enum stores__verb stores__statement_verb(stores_change_kind kind) {
    static const enum stores__verb verbs[] = {[STORES_INSERT] = STORES__VERB_INSERT,
                                              [STORES_UPDATE] = STORES__VERB_UPDATE,
                                              [STORES_UPSERT] = STORES__VERB_UPSERT,
                                              [STORES_DELETE] = STORES__VERB_DELETE,
                                              [STORES_MODIFY] = STORES__VERB_MODIFY};
    return verbs[kind];
}

bool stores__statement_reaches(const struct stores__statement *statement) {
    const struct stores__table *table = statement->table;
    /* rows of what is not cached itself may be rows of what is: a view, a partition */
    return !table->cacheable || table->any_trigger ||
           (table->cascades && statement->kind == STORES_DELETE);
}

bool stores__statement_take(const struct stores__statement *statement, stores_op *op,
                            struct pg_result *result, struct stores__commit *commit,
                            stores_error *error) {
    bool found = stores__pg_rows(result) > 0;
    if (op != NULL) { /* it may have run before, in a segment that was rolled back */
        op->affected = 0;
        op->inserted = false;
        if (op->doc_count == 1) stores__op_set_doc(op, 0, statement->id, NULL, 0, NULL);
    }
    if (!found) {
        stores__pg_result_free(result);
        if (statement->kind != STORES_INSERT) return true;
        stores__error_set(error, STORES_DUPLICATE, "%s has a row with this id already",
                          statement->table->name);
        snprintf(error->table, sizeof error->table, "%s", statement->table->name);
        return false;
    }
    struct stores__blob *blob = stores__blob_new(result, stores__pg_result_free);
    if (blob == NULL) {
        stores__pg_result_free(result);
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a document");
        if (commit != NULL) {
            stores__commit_refuse(commit); /* a row without its intent must not be committed */
        } else {
            error->outcome = STORES_OUTCOME_COMMITTED;
            error->retryable = false;
        }
        return false;
    }
    size_t len = 0;
    const char *text = statement->kind == STORES_DELETE ? NULL
                                                        : stores__pg_value(result, 0, 1, &len);
    if (op != NULL) {
        op->affected = 1;
        op->source = 'p';
        if (statement->kind == STORES_INSERT) op->inserted = true;
        if (statement->kind == STORES_UPSERT) {
            const char *fresh = stores__pg_value(result, 0, 2, NULL);
            op->inserted = fresh != NULL && fresh[0] == 't';
        }
        if (statement->want_document && op->doc_count == 1) {
            stores__op_set_doc(op, 0, statement->id, text, len, blob);
        }
    }
    if (commit != NULL) {
        bool publish = text != NULL || statement->kind == STORES_DELETE;
        if (op != NULL && !op->cache) publish = false;
        stores__commit_row(commit, statement->table, statement->id, text, len, blob, publish);
    }
    stores__blob_drop(blob);
    return true;
}

#include "write/statement.h"

#include <stdio.h>

#include "base/ids.h"
#include "base/sized.h"
#include "write/arguments.h"

static enum stores__guard guard_of(const stores_change *change) {
    if (change->etag != NULL) return STORES__THAT_ETAG;
    bool replaces = change->kind == STORES_UPDATE && change->expected != NULL;
    return replaces ? STORES__THAT_TEXT : STORES__ANY;
}

static bool has_json(const stores_change *change) {
    return change->kind != STORES_MODIFY && change->kind != STORES_DELETE;
}

/* How many parameters stand between the id and the guard's. */
static int count_own(const struct stores__known_change *known) {
    return has_json(known->change) + (known->params ? known->params->count : 0);
}

/* The parameters behind the id. */
static const char *param(const struct stores__known_change *known, int index) {
    const stores_change *change = known->change;
    if (index == count_own(known)) return change->etag ? change->etag : change->expected;
    if (!has_json(change)) return known->params->values[index];
    return index == 0 ? change->json : known->params->values[index - 1];
}

/* False: the op has failed. */
static bool etag_fits(stores_op *op, const stores_change *change) {
    if (change->etag == NULL) return true;
    if (change->kind == STORES_INSERT) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "what is inserted has no etag yet");
    } else if (change->expected != NULL) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT,
                         "a change expects a text, or an etag, and not both");
    } else if (!stores_is_etag(change->etag, strlen(change->etag))) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "the etag is none: it has 32 hex digits");
    } else {
        return true;
    }
    return false;
}

/* False: the op has failed. */
static bool condition_fits(stores_op *op, const stores_change *change) {
    if (change->condition == NULL) return true;
    if (change->kind == STORES_INSERT || change->kind == STORES_UPSERT) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "what may be inserted has no condition");
    } else if (change->expected != NULL || change->etag != NULL) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT,
                         "a change has a condition, or expects what it is of, and not both");
    } else {
        return true;
    }
    return false;
}

bool stores__change_fits(stores_op *op, const stores_change *given,
                         struct stores__known_change *known) {
    stores_error error;
    const stores_change *change = stores__change_given(given, &known->own_change, &error);
    known->change = change;
    known->params = NULL;
    if (change == NULL) {
        stores__op_fail(op, &error);
    } else if ((unsigned)change->kind > STORES_MODIFY) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "there is no kind of change %d",
                         (int)change->kind);
    } else if (change->kind < STORES_DELETE && change->json == NULL) {
        stores__op_failf(op, STORES_INVALID_DOCUMENT, "the document is missing");
    } else if (etag_fits(op, change) && condition_fits(op, change)) {
        if (change->kind == STORES_MODIFY || change->condition) known->params = change->params;
        return stores__params_fit(op, &known->params, &known->own_params);
    }
    return false;
}

static size_t size_of(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

/* Copies a text to *at, which goes behind it; NULL stays NULL. */
static const char *put(char **at, const char *text) {
    size_t size = size_of(text);
    if (text == NULL) return NULL;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

/* One piece of memory has all of it, for writes come by hundreds in a tick. */
struct stores__statement *stores__statement_new(const struct stores__known_change *known) {
    const stores_change *change = known->change;
    bool modify = change->kind == STORES_MODIFY;
    enum stores__guard guard = guard_of(change);
    int params = count_own(known) + (guard != STORES__ANY);
    const char *name = change->table ? change->table : "";
    const char *expr = !modify ? NULL : change->expr ? change->expr : "value";
    struct stores__statement *statement;
    size_t size = sizeof *statement + (1 + (size_t)params) * sizeof *statement->values +
                  STORES__ID_SIZE + size_of(name) + size_of(expr) + size_of(change->condition);
    for (int i = 0; i < params; i++) size += size_of(param(known, i));
    statement = malloc(size);
    if (statement == NULL) return NULL;
    memset(statement, 0, sizeof *statement);
    /* what has an etag is there: where it is not, nothing is inserted */
    bool updates = change->kind == STORES_UPSERT && guard == STORES__THAT_ETAG;
    statement->kind = updates ? STORES_UPDATE : change->kind;
    statement->id = change->id;
    statement->want_document = change->want_document || modify;
    statement->guard = guard;
    statement->count = 1 + params;
    statement->values = (const char **)(statement + 1);
    char *at = (char *)(statement->values + statement->count);
    statement->values[0] = at;
    at += stores__id_write(change->id, at) + 1;
    for (int i = 0; i < params; i++) statement->values[1 + i] = put(&at, param(known, i));
    statement->name = put(&at, name);
    statement->expr = put(&at, expr);
    statement->condition = put(&at, change->condition);
    return statement;
}

/* The text of a MODIFY, and of what has a condition; NULL: no memory. */
static const char *make_text(struct stores__statement *statement,
                             const struct stores__table *table) {
    struct stores__buf buf = {0};
    bool deletes = statement->kind == STORES_DELETE;
    if (deletes) {
        stores__buf_fmt(&buf, "DELETE FROM %s WHERE id = $1::bigint", table->name);
    } else {
        stores__buf_fmt(&buf, "UPDATE %s SET value = %s WHERE id = $1::bigint", table->name,
                        statement->expr ? statement->expr : "$2");
    }
    if (statement->condition) stores__buf_fmt(&buf, " AND (%s)", statement->condition);
    if (statement->guard == STORES__THAT_ETAG) {
        stores__buf_fmt(&buf, STORES__HAS_ETAG "$%d", statement->count);
    }
    stores__buf_str(&buf, deletes ? " RETURNING id" : " RETURNING id, value::text");
    const char *text = stores__buf_text(&buf);
    /* What the triggers of the table do is known from the table. A setting for the transaction is
     * no matter of others who would share it. */
    struct stores__sql_known known = {.effect = STORES__SQL_SESSION};
    if (text != NULL) known = stores__sql_know(&table->engine->pool.common.texts, text);
    statement->foreign = known.configures || known.effect == STORES__SQL_SESSION;
    free(statement->made);
    statement->made = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    return statement->made;
}

bool stores__statement_bind(struct stores__statement *statement, struct stores__table *table) {
    stores__table_let_go(statement->table);
    statement->table = stores__table_hold(table);
    if (statement->condition != NULL) {
        statement->sql = make_text(statement, table);
        return statement->sql != NULL;
    }
    switch (statement->kind) {
    case STORES_INSERT:
        /* which of them is sent is chosen later: both are there by then */
        statement->sql = stores__table_sql(table, STORES__INSERT_NEW_SQL);
        if (statement->sql != NULL) statement->sql = stores__table_sql(table, STORES__INSERT_SQL);
        break;
    case STORES_UPDATE: {
        static const enum stores__table_text texts[] = {
            [STORES__ANY] = STORES__UPDATE_SQL,
            [STORES__THAT_TEXT] = STORES__REPLACE_SQL,
            [STORES__THAT_ETAG] = STORES__UPDATE_ETAG_SQL};
        statement->sql = stores__table_sql(table, texts[statement->guard]);
        break;
    }
    case STORES_UPSERT:
        statement->sql = stores__table_sql(table, STORES__UPSERT_SQL + table->upsert);
        break;
    case STORES_DELETE:
        statement->sql = stores__table_sql(table, statement->guard ? STORES__DELETE_ETAG_SQL
                                                                   : STORES__DELETE_SQL);
        break;
    case STORES_MODIFY: statement->sql = make_text(statement, table); break;
    }
    return statement->sql != NULL;
}

void stores__statement_free(struct stores__statement *statement) {
    if (statement == NULL) return;
    stores__table_let_go(statement->table);
    free(statement->made);
    free(statement->memory);
    free(statement->apart);
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

bool stores__statement_fires(const struct stores__statement *statement) {
    const struct stores__table *table = statement->table;
    if (!table->known) return false;
    /* a temporary table has no rules and no views, and a reset would empty it */
    if (!table->cacheable && strncmp(table->name, "pg_temp", 7) != 0) return true;
    return table->reaches || (table->cascades && statement->kind == STORES_DELETE);
}

bool stores__statement_reaches(const struct stores__statement *statement) {
    const struct stores__table *table = statement->table;
    /* rows of what is not cached itself may be rows of what is: a view, a partition */
    return !table->known || !table->cacheable || table->reaches ||
           (table->cascades && statement->kind == STORES_DELETE);
}

void stores__statement_choose(struct stores__statement *statement, bool alone) {
    struct stores__table *table = statement->table;
    if (statement->kind != STORES_INSERT) return;
    /* without a unique index ON CONFLICT is refused, and no id comes to be there twice */
    statement->inserts_new = table->unkeyed || (!alone && !table->may_take_rows);
    statement->sql = stores__table_sql(table, statement->inserts_new ? STORES__INSERT_NEW_SQL
                                                                     : STORES__INSERT_SQL);
}

/* ---- Ids that are taken ---------------------------------------------------------------------- */

static void duplicate(const struct stores__statement *statement, stores_error *error) {
    stores__error_set(error, STORES_DUPLICATE, "%s has a row with this id already",
                      statement->table->name);
    snprintf(error->table, sizeof error->table, "%s", statement->table->name);
}

bool stores__statement_is_taken(const struct stores__statement *statement, stores_error *error) {
    if (statement->table->may_take_rows) {
        stores__error_set(error, STORES_SERIALIZATION,
                          "a trigger of the table was met for the first time");
        return false;
    }
    duplicate(statement, error);
    /* as the INSERT that fails where it is alone */
    strcpy(error->sqlstate, "23505");
    stores__error_statement(error, stores__table_sql(statement->table, STORES__INSERT_SQL));
    return true;
}

/* The table's name as the server's fields of errors have it: without schema and quotes. */
static size_t bare_name(const struct stores__table *table, char out[STORES__TABLE_NAME_MAX]) {
    size_t len = 0;
    bool quoted = false;
    for (const char *c = table->name; *c != '\0'; c++) {
        if (*c == '"' && !(quoted && c[1] == '"')) {
            quoted = !quoted;
        } else if (*c == '.' && !quoted) {
            len = 0;
        } else {
            if (*c == '"') c++;
            out[len++] = *c;
        }
    }
    out[len] = '\0';
    return len;
}

/* Whether an error that names a relation may mean this table: of a partition, of what stands behind
 * a view, and where the server gave no name, that is not known. */
static bool may_be(const struct stores__table *table, const char *relation) {
    char name[STORES__TABLE_NAME_MAX];
    size_t len = bare_name(table, name);
    if (relation[0] == '\0' || table->upsert != STORES__UPSERT_XMAX) return true;
    if (strncmp(relation, name, len) != 0) return false;
    /* Citus says the name of the shard, `users_102008` */
    const char *rest = relation + len;
    return rest[0] == '\0' || (rest[0] == '_' && rest[1 + strspn(rest + 1, "0123456789")] == '\0');
}

/* The key stands in the detail, in every language, as "(id)=(7)". */
bool stores__error_is_of_id(const stores_error *error) {
    static const char key[] = "(id)=(";
    const char *first = error->code == STORES_DUPLICATE ? strchr(error->detail, '(') : NULL;
    return first != NULL && strncmp(first, key, sizeof key - 1) == 0;
}

void stores__statement_explain(const struct stores__statement *statement, stores_error *error) {
    stores__table_explain(statement->table, statement->sql, error);
    bool inserts = statement->kind == STORES_INSERT || statement->kind == STORES_UPSERT;
    if (!inserts || !stores__error_is_of_id(error) || !may_be(statement->table, error->table)) {
        return;
    }
    stores_error server = *error;
    duplicate(statement, error);
    memcpy(error->sqlstate, server.sqlstate, sizeof error->sqlstate);
    memcpy(error->statement, server.statement, sizeof error->statement);
}

/* ---- What RETURNING says --------------------------------------------------------------------- */

static void reset_op(const struct stores__statement *statement, stores_op *op) {
    op->id = statement->id; /* it may have run before, in a segment that was rolled back */
    op->affected = 0;
    op->inserted = false;
    if (op->doc_count == 1) stores__op_set_doc(op, 0, statement->id, NULL, 0, NULL);
}

static enum stores__taken no_memory(struct stores__commit *commit, stores_error *error) {
    stores__error_set(error, STORES_NO_MEMORY, "no memory for a document");
    if (commit != NULL) {
        stores__commit_refuse(commit); /* a row without its intent must not be committed */
    } else {
        error->outcome = STORES_OUTCOME_COMMITTED;
        error->retryable = false;
    }
    return STORES__TAKE_FAILED;
}

/* One row, as it is now: its id may be another one, where a trigger rewrites it. */
struct taken_row {
    int index; /* in its result */
    int64_t id;
    const char *text; /* NULL: deleted, or its value is */
    size_t len;
    struct stores__blob *blob;
};

static void answer(const struct stores__statement *statement, stores_op *op,
                   const struct pg_result *result, const struct taken_row *row) {
    op->id = row->id;
    op->affected = 1;
    op->source = 'p';
    if (statement->kind == STORES_INSERT) op->inserted = true;
    if (statement->kind == STORES_UPSERT) {
        const char *fresh = stores__pg_value(result, row->index, 2, NULL);
        op->inserted = fresh != NULL && fresh[0] == 't';
    }
    if (statement->want_document && op->doc_count == 1) {
        /* as reads have it: a row without a value is there, and no document */
        bool empty = row->text == NULL && statement->kind != STORES_DELETE;
        stores__op_set_doc(op, 0, row->id, empty ? "null" : row->text, empty ? 4 : row->len,
                           row->blob);
    }
}

static void tell(const struct stores__statement *statement, const stores_op *op,
                 struct stores__commit *commit, const struct taken_row *row) {
    bool publish = row->text != NULL || statement->kind == STORES_DELETE;
    if (op != NULL && !op->cache) publish = false;
    stores__commit_row(commit, statement->table, row->id, row->text, row->len, row->blob, publish);
    if (row->id != statement->id && statement->kind != STORES_INSERT) {
        stores__commit_row(commit, statement->table, statement->id, NULL, 0, NULL, false);
    }
}

void stores__statement_take_row(const struct stores__statement *statement, stores_op *op,
                                const struct pg_result *result, int index,
                                struct stores__blob *blob, struct stores__commit *commit) {
    struct taken_row row = {.index = index, .blob = blob};
    const char *id = stores__pg_value(result, index, 0, NULL);
    row.id = id ? strtoll(id, NULL, 10) : statement->id;
    if (statement->kind != STORES_DELETE && stores__pg_columns(result) > 1) {
        row.text = stores__pg_value(result, index, 1, &row.len);
    }
    if (op != NULL) reset_op(statement, op);
    if (op != NULL) answer(statement, op, result, &row);
    if (commit != NULL) tell(statement, op, commit, &row);
}

enum stores__taken stores__statement_take_none(const struct stores__statement *statement,
                                               stores_op *op) {
    if (op != NULL) reset_op(statement, op);
    return statement->inserts_new ? STORES__TAKE_UNSURE : STORES__TAKEN;
}

enum stores__taken stores__statement_take(const struct stores__statement *statement, stores_op *op,
                                          struct pg_result *result, struct stores__commit *commit,
                                          stores_error *error) {
    if (stores__pg_rows(result) == 0) {
        stores__pg_result_free(result);
        return stores__statement_take_none(statement, op);
    }
    struct stores__blob *blob = stores__blob_new(result, stores__pg_result_free);
    if (blob == NULL) {
        stores__pg_result_free(result);
        if (op != NULL) reset_op(statement, op);
        return no_memory(commit, error);
    }
    stores__statement_take_row(statement, op, result, 0, blob, commit);
    stores__blob_drop(blob);
    return STORES__TAKEN;
}

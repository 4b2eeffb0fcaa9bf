/* Many rows that a transaction changes by one statement: INSERT, UPDATE or DELETE, whose RETURNING
 * names them, or COPY, whose rows its caller knows. */
#include "write/arguments.h"
#include "write/tx_internal.h"

void stores__tx_copy_free(struct stores__tx_copy *copy) {
    if (copy == NULL) return;
    free(copy->data);
    free(copy->ids);
    free(copy);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static void *duplicate(const void *data, size_t size) {
    void *made = malloc(size + 1);
    if (made != NULL && size > 0) memcpy(made, data, size);
    return made;
}

static struct stores__tx_copy *copy_new(const stores_bulk *bulk) {
    struct stores__tx_copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL) return NULL;
    copy->len = bulk->len;
    copy->data = duplicate(bulk->data, bulk->len);
    copy->count = bulk->ids ? bulk->id_count : 0;
    copy->ids = duplicate(bulk->ids, copy->count * sizeof *copy->ids);
    if (copy->data != NULL && copy->ids != NULL) return copy;
    stores__tx_copy_free(copy);
    return NULL;
}

bool stores__tx_bulk_take(struct stores__txop *txop, const stores_bulk *bulk,
                          const stores_params *params) {
    struct stores__statement *statement = calloc(1, sizeof *statement);
    txop->statement = statement;
    if (statement == NULL) return false;
    statement->kind = bulk->kind;
    statement->count = params ? params->count : 0;
    statement->memory = stores__params_copy(params, &statement->apart);
    statement->values = statement->apart;
    txop->sql = stores__strdup(bulk->sql);
    if (bulk->data != NULL) txop->copy = copy_new(bulk);
    return statement->memory != NULL && txop->sql != NULL &&
           (bulk->data == NULL || txop->copy != NULL);
}

bool stores__tx_bulk_bind(struct stores__txop *txop, struct stores__table *table) {
    struct stores__statement *statement = txop->statement;
    statement->table = stores__table_hold(table);
    statement->sql = statement->made = stores__table_expand(table, txop->sql);
    if (statement->sql == NULL) return false;
    /* the caller's expressions may leave something in the session */
    struct stores__sql_texts *texts = &table->engine->pool.common.texts;
    struct stores__sql_known known = stores__sql_know(texts, statement->sql);
    statement->foreign = txop->copy == NULL && known.effect == STORES__SQL_SESSION;
    return true;
}

/* ---- COPY ------------------------------------------------------------------------------------ */

bool stores__tx_copy_owes(const stores_tx *tx) {
    const struct stores__tx_copy *copy = tx->txop->copy;
    if (copy->sent == COPY_ITSELF) return copy->confirms || !tx->xid_known;
    return copy->sent == COPY_OPENING;
}

static bool wants_opening(const stores_tx *tx, bool begin) {
    return begin || (tx->engine->cache != NULL && stores__facts_must_ask(tx->txop->table));
}

static void send_copy(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    txop->copy->sent = COPY_ITSELF;
    txop->at = 0;
    stores__pg_copy(tx->conn, &tx->req, txop->statement->sql, txop->copy->data, txop->copy->len);
}

static void send_question(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    txop->copy->sent = COPY_QUESTION;
    txop->at = -1; /* its answer is the first one */
    stores__pg_begin(tx->conn, &tx->req);
    stores__tx_add_behind(tx, txop->copy->confirms);
    stores__pg_sync(tx->conn, &tx->req);
}

/* Of what it names the server says no place, and before it has begun no trigger ran that could miss
 * a table: it is its own that is gone, or the schema of that. */
void stores__tx_copy_refused(const stores_tx *tx, stores_error *error) {
    static const char copy[] = "COPY ";
    bool no_schema = strcmp(error->sqlstate, "3F000") == 0;
    if (!no_schema && error->code != STORES_TABLE_NOT_FOUND) return;
    if (error->position > 0 || stores__pg_copy_was_taken(tx->conn)) return;
    if (strncmp(tx->txop->statement->sql, copy, sizeof copy - 1) != 0) return;
    error->code = STORES_TABLE_NOT_FOUND;
    error->position = sizeof copy; /* which is counted from 1 */
}

bool stores__tx_copy_send(stores_tx *tx, bool begin) {
    struct stores__tx_copy *copy = tx->txop->copy;
    if (copy->sent == COPY_ITSELF) {
        send_question(tx);
    } else if (copy->sent == COPY_OPENING) {
        send_copy(tx);
    } else if (wants_opening(tx, begin)) {
        copy->sent = COPY_OPENING;
        return false;
    } else {
        /* its facts are known: nothing is asked in front of it */
        copy->confirms = tx->engine->cache != NULL && stores__tx_add_facts(tx);
        send_copy(tx);
    }
    return true;
}

/* ---- Results --------------------------------------------------------------------------------- */

static int64_t id_at(const struct stores__txop *txop, const struct pg_result *result, size_t i) {
    if (txop->copy != NULL) return txop->copy->ids[i];
    const char *id = stores__pg_value(result, (int)i, 0, NULL);
    return id ? strtoll(id, NULL, 10) : 0;
}

void stores__tx_bulk_took(stores_tx *tx, const struct pg_result *result) {
    const struct stores__txop *txop = tx->txop;
    size_t count = txop->copy ? txop->copy->count : (size_t)stores__pg_rows(result);
    if (stores__statement_fires(txop->statement)) {
        stores__pg_foreign(tx->conn, NULL);
        if (txop->copy != NULL) tx->conn->texts++; /* nobody asks what it left (tx_path.c) */
    }
    if (!stores__commit_has_room(tx->commit, count)) {
        stores__commit_large(tx->commit, txop->table);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        stores__commit_row(tx->commit, txop->table, id_at(txop, result, i), NULL, 0, NULL, false);
    }
}

/* What callers may ask of a transaction: one op at a time. */
#include "base/sized.h"
#include "write/arguments.h"
#include "write/tx_internal.h"

int stores_tx_levels(const stores_tx *tx) {
    bool is_over = tx->state == TX_ENDED || tx->state == TX_ENDING;
    if (is_over || tx->late || tx->ended_by != STORES_OK) return -1;
    if (tx->conn == NULL) return 0;
    return tx->depth + (tx->keeps || !stores__pg_has_failed(tx->conn));
}

static void resolve(stores_tx *tx, stores_op *op, const char *table) {
    const char *encoding = tx->conn ? stores__pg_parameter(tx->conn, "client_encoding") : "";
    if (encoding[0] != '\0' && strcmp(encoding, "UTF8") != 0) {
        stores__op_failf(op, STORES_UNSUPPORTED,
                         "the transaction's own SQL has set client_encoding, and verbs speak UTF8");
        return;
    }
    /* after a text of the caller this session alone knows what a name means in it; a snapshot that
     * is older than the question may show the catalog as it was */
    bool keep = tx->options.isolation == STORES_READ_COMMITTED;
    if (tx->conn != NULL) {
        stores__table_resolve_on(op, table, tx->conn, &tx->names, keep);
    } else {
        stores__table_resolve(op, table);
    }
}

static void no_memory(stores_op *op) {
    stores__op_failf(op, STORES_NO_MEMORY, "no memory for a transaction");
}

/* What a view or a policy calls may write: the server keeps it from that, but for a lock of the
 * row, which counts as writing. */
static void guard_find(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    if (tx->engine->cache == NULL || tx->options.readonly || tx->options.session) return;
    if (txop->lock) {
        stores__commit_reaches(tx->commit);
    } else {
        txop->guarded = true;
    }
}

static void find_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    struct stores__txop *txop = tx->txop;
    struct stores__buf buf = {0};
    txop->table = stores__table_hold(table);
    if (op->doc_count == 0) {
        stores__tx_answer(tx, NULL);
        return;
    }
    /* of other servers: while a shard moves, what was locked without a write is locked no more */
    bool writes = txop->lock && table->spread != STORES__SPREAD_NONE;
    const char *sql = stores__table_sql(table, writes               ? STORES__LOCK_SQL
                                               : op->doc_count == 1 ? STORES__FIND_SQL
                                                                    : STORES__FIND_ANY_SQL);
    if (sql == NULL) {
        no_memory(op);
        return;
    }
    stores__buf_str(&buf, sql);
    if (txop->lock && !writes) stores__buf_str(&buf, " FOR UPDATE");
    if (table->runs) guard_find(tx);
    const char *text = stores__buf_text(&buf);
    txop->sql = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    if (op->doc_count > 1) stores__buf_str(&buf, "{");
    for (size_t i = 0; i < op->doc_count; i++) {
        stores__buf_fmt(&buf, i ? ",%lld" : "%lld", (long long)op->docs[i].id);
    }
    if (op->doc_count > 1) stores__buf_str(&buf, "}");
    const char *ids = stores__buf_text(&buf);
    stores_params params = {.count = 1, .values = &ids};
    txop->memory = ids ? stores__params_copy(&params, &txop->values) : NULL;
    txop->count = 1;
    stores__buf_free(&buf);
    if (txop->sql == NULL || txop->memory == NULL) {
        no_memory(op);
    } else {
        stores__tx_start(tx);
    }
}

stores_op *stores_tx_find_many(stores_tx *tx, const stores_call *call, const char *table,
                               const int64_t *ids, size_t count) {
    struct stores__txop *txop;
    stores_op *op = stores__txop_new(tx, call, TXOP_FIND, &txop);
    if (txop == NULL) return op;
    if (!stores__op_docs(op, count)) {
        no_memory(op);
        return op;
    }
    for (size_t i = 0; i < count; i++) op->docs[i].id = ids[i];
    op->resolved = find_resolved;
    resolve(tx, op, table);
    return op;
}

stores_op *stores_tx_find(stores_tx *tx, const stores_call *call, const char *table, int64_t id,
                          bool lock) {
    struct stores__txop *txop;
    stores_op *op = stores__txop_new(tx, call, TXOP_FIND, &txop);
    if (txop == NULL) return op;
    txop->lock = lock;
    stores__op_docs(op, 1);
    op->docs[0].id = id;
    op->resolved = find_resolved;
    resolve(tx, op, table);
    return op;
}

static void start_write(stores_tx *tx, stores_op *op, struct stores__table *table) {
    stores_error error;
    if (tx->options.session && stores__cache_covers(table)) {
        stores__op_failf(op, STORES_UNSUPPORTED,
                         "a session has no transaction whose writes could be told to Redis");
    } else if (!stores__commit_may_write(table, &error)) {
        stores__op_fail(op, &error);
    } else {
        stores__tx_start(tx);
    }
}

static void write_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    tx->txop->table = stores__table_hold(table);
    if (!stores__statement_bind(tx->txop->statement, table)) {
        no_memory(op);
    } else {
        start_write(tx, op, table);
    }
}

stores_op *stores_tx_write(stores_tx *tx, const stores_call *call, const stores_change *change,
                           bool commit) {
    struct stores__known_change known;
    struct stores__txop *txop;
    stores_op *op = stores__txop_new(tx, call, TXOP_WRITE, &txop);
    if (txop == NULL || !stores__change_fits(op, change, &known)) return op;
    txop->statement = stores__statement_new(&known);
    txop->commit = commit;
    if (txop->statement == NULL || !stores__op_docs(op, 1)) {
        no_memory(op);
        return op;
    }
    op->id = op->docs[0].id = known.change->id;
    op->resolved = write_resolved;
    resolve(tx, op, known.change->table);
    return op;
}

static void bulk_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    tx->txop->table = stores__table_hold(table);
    if (!stores__tx_bulk_bind(tx->txop, table)) {
        no_memory(op);
    } else {
        start_write(tx, op, table);
    }
}

stores_op *stores_tx_bulk(stores_tx *tx, const stores_call *call, const stores_bulk *given) {
    struct stores__txop *txop;
    stores_error error;
    stores_bulk own;
    stores_params own_params;
    stores_op *op = stores__txop_new(tx, call, TXOP_BULK, &txop);
    if (txop == NULL) return op;
    const stores_bulk *bulk = stores__bulk_given(given, &own, &error);
    if (bulk == NULL) {
        stores__op_fail(op, &error);
        return op;
    }
    const stores_params *params = bulk->params;
    if (!stores__params_fit(op, &params, &own_params)) return op;
    if ((unsigned)bulk->kind >= STORES_MODIFY || bulk->sql == NULL) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "the rows have no statement, or no kind");
        return op;
    }
    if (!stores__tx_bulk_take(txop, bulk, params)) {
        no_memory(op);
        return op;
    }
    op->resolved = bulk_resolved;
    resolve(tx, op, bulk->table);
    return op;
}

static bool take_text(struct stores__txop *txop, const char *sql, const stores_params *params) {
    txop->sql = stores__strdup(sql ? sql : "");
    txop->count = params ? params->count : 0;
    txop->memory = stores__params_copy(params, &txop->values);
    return txop->sql != NULL && txop->memory != NULL;
}

static struct stores__sql_known know(stores_tx *tx, const char *sql) {
    return stores__sql_know(&tx->engine->pool.common.texts, sql);
}

/* What a text writes in it is to be told to a cache, or kept from being written. */
static bool tells_a_cache(const stores_tx *tx) {
    return tx->engine->cache != NULL && !tx->options.readonly && !tx->options.session;
}

/* A text of which it is not known that it only reads, as a view may call what writes, is kept from
 * it by the server, but for one that locks rows, which counts as writing. */
static void guard_select(stores_tx *tx, const struct stores__table *table) {
    struct stores__txop *txop = tx->txop;
    if (!tells_a_cache(tx)) return;
    struct stores__sql_known known = know(tx, txop->sql);
    if (table->cacheable && known.only_reads) return;
    txop->guarded = !known.locks_rows;
    if (known.locks_rows) stores__commit_reaches(tx->commit);
}

static void select_resolved(stores_op *op, struct stores__table *table) {
    stores_tx *tx = op->stage;
    char *sql = stores__table_expand(table, tx->txop->sql);
    if (sql == NULL) {
        no_memory(op);
        return;
    }
    free(tx->txop->sql);
    tx->txop->sql = sql;
    tx->txop->table = stores__table_hold(table);
    guard_select(tx, table);
    stores__tx_start(tx);
}

stores_op *stores_tx_select(stores_tx *tx, const stores_call *call, const char *table,
                            const char *sql, const stores_params *params) {
    struct stores__txop *txop;
    stores_params own;
    stores_op *op = stores__txop_new(tx, call, TXOP_SELECT, &txop);
    if (txop == NULL || !stores__params_fit(op, &params, &own)) return op;
    if (!take_text(txop, sql, params)) {
        no_memory(op);
        return op;
    }
    op->resolved = select_resolved;
    resolve(tx, op, table);
    return op;
}

stores_op *stores_tx_query(stores_tx *tx, const stores_call *call, const char *sql,
                           const stores_params *params, const stores_query_options *options) {
    struct stores__txop *txop;
    stores_params own;
    stores_query_options own_options;
    stores_op *op = stores__txop_new(tx, call, TXOP_QUERY, &txop);
    if (txop == NULL || !stores__params_fit(op, &params, &own)) return op;
    if (!stores__query_options_fit(op, &options, &own_options)) return op;
    if (!take_text(txop, sql, params)) {
        no_memory(op);
        return op;
    }
    struct stores__sql_known known = know(tx, txop->sql);
    stores_error error;
    if (!stores__text_fits(&known, tx->options.session, &error)) {
        stores__op_fail(op, &error);
        return op;
    }
    txop->simple = options && options->simple;
    txop->readonly = options && options->readonly;
    if (tx->options.readonly && known.sets) {
        stores__commit_reaches(tx->commit); /* it may write from here on */
    } else if (tells_a_cache(tx)) {
        /* whatever its words are: what a view, an operator or a cast calls they do not tell. Of one
         * that locks rows, which the server takes for a write, they are believed */
        bool locks = txop->readonly && known.locks_rows;
        txop->guarded = txop->readonly && !txop->simple && !locks;
        if (!txop->guarded && !(locks && known.only_reads)) stores__commit_reaches(tx->commit);
    }
    stores__tx_start(tx);
    return op;
}

static stores_op *plain_op(stores_tx *tx, const stores_call *call, enum stores__txop_kind kind) {
    struct stores__txop *txop;
    /* until the server has done it: whatever comes between, what was to be undone is not
     * committed */
    if (kind == TXOP_ROLLBACK_TO && tx->depth > 0) tx->doomed = true;
    stores_op *op = stores__txop_new(tx, call, kind, &txop);
    if (txop == NULL) return op;
    if ((kind == TXOP_SAVEPOINT && tx->depth == STORES__SAVEPOINTS_MAX) ||
        ((kind == TXOP_RELEASE || kind == TXOP_ROLLBACK_TO) && tx->depth == 0)) {
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "savepoints nest at most %d deep",
                         STORES__SAVEPOINTS_MAX);
        return op;
    }
    if (kind == TXOP_SAVEPOINT && tx->marks == NULL) {
        tx->marks = calloc(STORES__SAVEPOINTS_MAX, sizeof *tx->marks);
        if (tx->marks == NULL) {
            no_memory(op);
            return op;
        }
    }
    stores__tx_start(tx);
    return op;
}

stores_op *stores_tx_savepoint(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_SAVEPOINT);
}

stores_op *stores_tx_release(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_RELEASE);
}

stores_op *stores_tx_rollback_to(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_ROLLBACK_TO);
}

stores_op *stores_tx_commit(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_COMMIT);
}

stores_op *stores_tx_rollback(stores_tx *tx, const stores_call *call) {
    return plain_op(tx, call, TXOP_ROLLBACK);
}

/*
 * What names mean in a transaction in which code of somebody's ran unseen, as that of a trigger:
 * it may have set search_path, or made the first temporary table. The schemas are asked for in
 * front of it, and behind it. Where they are others names are asked for anew, as after a text.
 */
#include "sql/effect.h"
#include "write/tx_internal.h"

static const char path_sql[] = "SELECT pg_catalog.current_schemas(true)::text";

static bool may_run_code(const stores_tx *tx) {
    const struct stores__txop *txop = tx->txop;
    switch (txop->kind) {
    case TXOP_WRITE:
    case TXOP_BULK: return !txop->table->known || stores__statement_fires(txop->statement);
    case TXOP_FIND: return txop->table->runs;
    case TXOP_QUERY: { /* of a worse one nobody believes that it left anything as it was */
        struct stores__sql_known known = stores__sql_know(&tx->engine->pool.common.texts,
                                                          txop->sql);
        /* SET LOCAL calls nobody, and a question would forbid SET TRANSACTION behind it */
        return known.effect == STORES__SQL_ROWS && !known.sets;
    }
    default: return false;
    }
}

static void add(stores_tx *tx, int *at) {
    *at = tx->req.added;
    stores__pg_add(tx->conn, &tx->req, path_sql, 0, NULL, true);
}

void stores__tx_path_before(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    txop->looks = !tx->options.session && may_run_code(tx);
    bool known = tx->path != 0 && tx->path_texts == tx->conn->texts;
    if (txop->looks && !known) add(tx, &txop->path_at);
}

void stores__tx_path_behind(stores_tx *tx) {
    if (tx->txop->looks) add(tx, &tx->txop->path_behind);
}

bool stores__tx_path_take(stores_tx *tx, int index, const struct pg_result *result) {
    const struct stores__txop *txop = tx->txop;
    bool before = txop->path_at >= 0 && index == txop->path_at;
    if (!before && (txop->path_behind < 0 || index != txop->path_behind)) return false;
    size_t len = 0;
    const char *path = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, &len) : NULL;
    uint64_t hash = path ? stores__hash(path, len) : 0;
    if (!before && (hash == 0 || hash != tx->path)) tx->conn->texts++;
    tx->path = hash;
    tx->path_texts = tx->conn->texts;
    return true;
}

/*
 * What names mean in a transaction in which code of somebody's ran unseen, as that of a trigger:
 * it may have set search_path, or made a temporary table. The schemas are asked for in front of it,
 * and behind it, and what is in that of temporary tables, which stays the session's behind the
 * first of them. Where they are others names are asked for anew, as after a text.
 */
#include "sql/effect.h"
#include "write/tx_internal.h"

static const char path_sql[] =
    "SELECT pg_catalog.concat_ws(' ', pg_catalog.current_schemas(true)::text,"
    " (SELECT pg_catalog.string_agg(d.objid::text, ' ' ORDER BY d.objid)"
    "  FROM pg_catalog.pg_depend d WHERE d.refobjid = pg_catalog.pg_my_temp_schema()"
    "  AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass))";

static bool may_run_code(const stores_tx *tx) {
    const struct stores__txop *txop = tx->txop;
    switch (txop->kind) {
    case TXOP_WRITE:
    case TXOP_BULK: return !txop->table->known || stores__statement_fires(txop->statement);
    case TXOP_FIND:
    case TXOP_SELECT: return txop->table->runs;
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
    if (!before && (hash == 0 || hash != tx->path)) {
        stores__pg_foreign(tx->conn, NULL); /* and not for the transaction alone, perhaps */
        tx->conn->texts++;
    }
    tx->path = hash;
    tx->path_texts = tx->conn->texts;
    return true;
}

/*
 * How far the writes of a transaction reach, by what the catalog says of their tables. It is asked
 * behind the first write of each, when its lock keeps the answer true until the transaction ends,
 * or goes back to a savepoint.
 */
#include "write/tx_internal.h"

void stores__tx_forget_facts(stores_tx *tx) {
    while (tx->table_count > 0) stores__table_let_go(tx->tables[--tx->table_count].table);
}

static struct stores__tx_table *confirmed(stores_tx *tx, const struct stores__table *table) {
    for (int i = 0; i < tx->table_count; i++) {
        if (tx->tables[i].table == table) return &tx->tables[i];
    }
    return NULL;
}

/* How far the write under way reaches, by facts that its lock on the table keeps as they are. */
static void look_at_reach(stores_tx *tx, const struct stores__tx_table *facts) {
    bool deletes = tx->txop->statement->kind == STORES_DELETE;
    if (facts->reaches || (facts->cascades && deletes)) stores__commit_reaches(tx->commit);
}

void stores__tx_confirm_facts(stores_tx *tx, const struct pg_result *result) {
    struct stores__table *table = tx->txop->table;
    bool right = stores__facts_confirm(table, result);
    if (!right) {
        stores__pg_foreign(tx->conn, NULL); /* perhaps a trigger that came meanwhile */
        tx->conn->texts++;
    }
    struct stores__tx_table facts = {.table = table,
                                     .reaches = !right || !table->cacheable || table->reaches,
                                     .cascades = table->cascades};
    look_at_reach(tx, &facts);
    if (right && !table->loose && tx->table_count < STORES__TX_TABLES) {
        tx->tables[tx->table_count++] = facts;
        stores__table_hold(table);
    }
}

void stores__tx_ask_facts(stores_tx *tx, enum stores__facts_depth depth) {
    struct stores__table *table = tx->txop->table;
    const char *values[] = {table->name};
    tx->txop->asked = stores__facts_ask_to_write(table, depth, false);
    stores__pg_add(tx->conn, &tx->req, stores__facts_sql(tx->engine, depth), 1, values, true);
}

void stores__tx_take_facts(stores_tx *tx, const struct pg_result *result) {
    stores__facts_take(tx->txop->table, result, &tx->txop->asked);
}

bool stores__tx_add_facts(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    struct stores__table *table = txop->table;
    const struct stores__tx_table *known = confirmed(tx, table);
    if (tx->options.isolation != STORES_READ_COMMITTED) {
        /* the catalog is seen as it was when the transaction began, triggers fire as they are
         * now */
        stores__commit_reaches(tx->commit);
    }
    if (stores__commit_is_reaching(tx->commit)) return false; /* all is turned anyway */
    if (known != NULL) {
        look_at_reach(tx, known);
        return false;
    }
    if (stores__facts_must_ask(table)) {
        txop->facts_at = tx->req.added;
        stores__tx_ask_facts(tx, stores__facts_depth(table));
    }
    return true;
}

void stores__tx_add_behind(stores_tx *tx, bool confirms) {
    struct stores__txop *txop = tx->txop;
    if (confirms) {
        const char *values[] = {txop->table->name};
        txop->behind = BEHIND_PRINT;
        stores__pg_add(tx->conn, &tx->req, stores__facts_print_sql(txop->table), 1, values, true);
    } else if (!tx->xid_known) {
        /* for the intents, and to ask after a COMMIT that was lost */
        txop->behind = BEHIND_XID;
        stores__pg_add(tx->conn, &tx->req, stores__commit_xid_sql, 0, NULL, true);
    }
    if (!tx->xid_known) stores__commit_add_past(tx->engine, tx->conn, &tx->req);
}

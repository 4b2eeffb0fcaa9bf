/* Tells of each statement that PostgreSQL answered, where somebody asked to hear of them; where
 * nobody did, an entry has no trace, and nothing is measured. Parameters are never told. */
#include "pg/wire.h"

struct stores__pg_trace {
    uint64_t sent_ns;
    char sql[];
};

void stores__pg_trace_start(struct stores__pg_wire *wire, struct stores__pg_entry *entry,
                            const char *sql) {
    if (wire->conn->common->statement == NULL) return;
    /* the session's set-up is no statement of a call, and may hold what the user keeps secret */
    if (entry->req == &wire->greeting || entry->req == &wire->conn->reset) return;
    size_t len = strlen(sql);
    entry->trace = malloc(sizeof *entry->trace + len + 1);
    if (entry->trace == NULL) return; /* it is not told */
    entry->trace->sent_ns = uv_hrtime();
    memcpy(entry->trace->sql, sql, len + 1);
}

static void tell(struct stores__pg_wire *wire, const struct stores__pg_entry *entry,
                 const stores_error *error, int64_t rows) {
    const struct stores__pg_common *common = wire->conn->common;
    uint64_t now = uv_hrtime(), sent = entry->trace->sent_ns;
    uint64_t begun = wire->answered_ns > sent ? wire->answered_ns : sent;
    wire->answered_ns = now;
    if (common->statement == NULL) return;
    stores_statement statement = {.size = sizeof statement,
                                  .sql = entry->trace->sql,
                                  .connection = wire->conn->serial,
                                  .rows = rows,
                                  .queue = (double)(begun - sent) / 1e9,
                                  .postgres = (double)(now - begun) / 1e9};
    if (error != NULL) {
        statement.code = error->code;
        memcpy(statement.sqlstate, error->sqlstate, sizeof statement.sqlstate);
    }
    common->statement(common->statement_arg, &statement);
}

void stores__pg_trace_answer(struct stores__pg_wire *wire, const struct stores__pg_entry *entry,
                             const PGresult *result) {
    stores_error error;
    if (entry->trace == NULL) return;
    if (stores__pg_result_ok(result, &error)) {
        bool rows = stores__pg_has_rows(result);
        tell(wire, entry, NULL, rows ? stores__pg_rows(result) : stores__pg_affected(result));
    } else if (error.code != STORES_OK) { /* else it stood behind a failed one, and never ran */
        tell(wire, entry, &error, 0);
    }
}

void stores__pg_trace_lost(struct stores__pg_wire *wire, const struct stores__pg_entry *entry) {
    stores_error error;
    if (entry->trace == NULL) return;
    stores__error_set(&error, STORES_CONNECTION_LOST, "the connection was lost");
    tell(wire, entry, &error, 0);
}

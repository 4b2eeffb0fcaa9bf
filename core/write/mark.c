/*
 * The mark of a table whose rows processes hold in their memory, made by the first of them: a type
 * of the table's schema, for whose facts it is one look into pg_class (names/facts.c); and another
 * one by the first whose leases are longer than a second, or than those that were. The lock keeps
 * all writers away, so that each either sees the mark, or was over before it was there; and as any
 * DDL it turns the table, so that whoever trusts older facts under its epoch hears of it.
 */
#include "write/writes.h"

#include <stdio.h>

#include "cache/held.h"
#include "names/facts.h"
#include "names/names.h"

#define LOCK_TIMEOUT "250ms" /* writers queue behind a lock that is waited for */

enum { TIMEOUT_MS = 5000, AGAIN_MS = 1000, REFUSED_AGAIN_MS = 60 * 1000 };

struct marking {
    struct stores__table *table; /* held */
};

/* The length of the schema in "schema"."table". */
static size_t schema_len(const char *name) {
    size_t at = 0;
    if (name[0] != '"') return strcspn(name, ".");
    for (at = 1; name[at] != '\0'; at++) {
        if (name[at] == '"' && name[at + 1] != '"') return at + 1;
        if (name[at] == '"') at++;
    }
    return at;
}

static void marked(stores_op *op, void *arg) {
    struct marking *marking = arg;
    struct stores__table *table = marking->table;
    stores_engine *engine = table->engine;
    const stores_error *error = stores_op_error(op);
    uint64_t again = 0;
    if (error != NULL && strcmp(error->sqlstate, "42710") == 0) {
        stores__facts_doubt(table); /* somebody else has made it */
    } else if (error != NULL && !stores__closing(engine)) {
        bool busy = error->code == STORES_LOCK_TIMEOUT || error->retryable;
        again = busy ? AGAIN_MS : REFUSED_AGAIN_MS;
        bool held = table->epoch != NULL && stores__epoch_marked(table->epoch);
        if (!busy && held) stores__held_shorter(engine->cache, error->message);
        if (!busy && !held) stores__held_refused(engine->cache, error->message);
    }
    table->mark_at = stores__now(engine) + again;
    table->marking = false;
    free(marking);
    stores_op_free(op);
    stores__table_let_go(table);
}

void stores__mark(struct stores__table *table) {
    stores_engine *engine = table->engine;
    char sql[4 * STORES__TABLE_NAME_MAX];
    if (table->marking || stores__now(engine) < table->mark_at || stores__closing(engine)) return;
    struct marking *marking = malloc(sizeof *marking);
    if (marking == NULL) return;
    int schema = (int)schema_len(table->name);
    int len = snprintf(sql, sizeof sql,
                       "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;" /* see commit_written.c */
                       "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "';"
                       "LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE",
                       table->name);
    if (!stores__epoch_marked(table->epoch)) {
        len += snprintf(sql + len, sizeof sql - (size_t)len,
                        ";CREATE TYPE %.*s.stores_held_%u AS ()", schema, table->name, table->oid);
    }
    unsigned seconds = stores__held_seconds(engine->cache);
    if (seconds > 1) {
        snprintf(sql + len, sizeof sql - (size_t)len, ";CREATE TYPE %.*s.stores_held_%u_%u AS ()",
                 schema, table->name, table->oid, seconds);
    }
    stores_query_options options = STORES_QUERY_OPTIONS_INIT;
    stores_call call = {
        .size = sizeof call, .timeout_ms = TIMEOUT_MS, .cb = marked, .arg = marking};
    options.simple = true;
    marking->table = stores__table_hold(table);
    table->marking = true;
    stores_op *op = stores_query(engine, &call, sql, NULL, &options);
    if (op != NULL) return;
    table->marking = false;
    stores__table_let_go(table);
    free(marking);
}

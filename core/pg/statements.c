/* The prepared statements of a connection: found by their text, the longest unused one goes. */
#include <stdio.h>

#include "pg/wire.h"

enum { LOST_STATEMENTS = 2 }; /* after so many nothing is prepared any more */

static void unlink_statement(struct stores__pg_wire *wire, struct stores__pg_statement *statement) {
    struct stores__pg_statement **at = &wire->buckets[statement->hash % STATEMENT_BUCKETS];
    while (*at != statement) at = &(*at)->chain;
    *at = statement->chain;
    stores__list_remove(&statement->lru);
    wire->statement_count--;
}

/* The server keeps a statement until it is told; the answer concerns nobody. */
static bool evict_oldest(struct stores__pg_wire *wire, struct stores__pg_req *req) {
    struct stores__pg_statement *oldest = STORES__CONTAINER(wire->lru.next,
                                                            struct stores__pg_statement, lru);
    char sql[sizeof "DEALLOCATE " + STATEMENT_NAME];
    snprintf(sql, sizeof sql, "DEALLOCATE %s", oldest->name);
    unlink_statement(wire, oldest);
    free(oldest);
    struct stores__pg_entry entry = {.req = req, .kind = ENTRY_INTERNAL};
    return PQsendQueryParams(wire->pg, sql, 0, NULL, NULL, NULL, NULL, 0) &&
           stores__pg_ring_push(&wire->ring, &entry);
}

struct stores__pg_statement *stores__pg_statement_get(struct stores__pg_wire *wire,
                                                      struct stores__pg_req *req, const char *sql,
                                                      int nparams, bool *fresh) {
    size_t len = strlen(sql);
    uint64_t hash = stores__sql_hash(sql, len);
    struct stores__pg_statement *statement = wire->buckets[hash % STATEMENT_BUCKETS];
    *fresh = false;
    for (; statement != NULL; statement = statement->chain) {
        if (statement->hash == hash && strcmp(statement->sql, sql) == 0) {
            stores__list_remove(&statement->lru);
            stores__list_append(&wire->lru, &statement->lru);
            return statement;
        }
    }
    bool full = wire->statement_count >= STATEMENTS_MAX && !wire->in_error;
    if (full && !evict_oldest(wire, req)) return NULL;
    statement = calloc(1, sizeof *statement + len + 1);
    if (statement == NULL) return NULL;
    memcpy(statement->sql, sql, len + 1);
    statement->hash = hash;
    statement->number = wire->next_statement++;
    snprintf(statement->name, sizeof statement->name, "%s_%u", wire->mark, statement->number);
    struct stores__pg_entry entry = {
        .req = req, .kind = ENTRY_PREPARE, .statement = statement->number};
    if (!PQsendPrepare(wire->pg, statement->name, sql, nparams, NULL) ||
        !stores__pg_ring_push(&wire->ring, &entry)) {
        free(statement);
        return NULL;
    }
    statement->chain = wire->buckets[hash % STATEMENT_BUCKETS];
    wire->buckets[hash % STATEMENT_BUCKETS] = statement;
    stores__list_append(&wire->lru, &statement->lru);
    wire->statement_count++;
    wire->conn->common->stats.prepares++;
    *fresh = true;
    return statement;
}

void stores__pg_statement_drop(struct stores__pg_wire *wire, unsigned number) {
    for (struct stores__list *at = wire->lru.next; at != &wire->lru; at = at->next) {
        struct stores__pg_statement *statement = STORES__CONTAINER(at, struct stores__pg_statement,
                                                                   lru);
        if (statement->number == number) {
            unlink_statement(wire, statement);
            free(statement);
            return;
        }
    }
}

void stores__pg_statements_clear(struct stores__pg_wire *wire) {
    while (!stores__list_empty(&wire->lru)) {
        struct stores__pg_statement *statement = STORES__CONTAINER(
            wire->lru.next, struct stores__pg_statement, lru);
        unlink_statement(wire, statement);
        free(statement);
    }
}

/* ---- What is prepared no more ---------------------------------------------------------------- */

/* Codes of the parser: types or columns are others than when it was prepared. */
static bool is_of_analysis(const char *sqlstate) {
    static const char *const states[] = {"42883", "42804", "42846", "42703",
                                         "42P10", "42P18", "42725", "42P08"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(sqlstate, states[i]) == 0) return true;
    }
    return false;
}

/* No text of anybody dropped it: the session behind this connection is another one than before. */
static void lost_statement(struct stores__pg_common *common) {
    if (++common->lost_statements >= LOST_STATEMENTS) common->shares_sessions = true;
}

bool stores__pg_statement_is_stale(struct stores__pg_wire *wire,
                                   const struct stores__pg_entry *entry, const PGresult *result) {
    if (PQresultStatus(result) != PGRES_FATAL_ERROR) return false;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate == NULL) return false;
    bool absent = strcmp(sqlstate, "26000") == 0, there = strcmp(sqlstate, "42P05") == 0;
    if ((absent && entry->reused) || (there && entry->prepared_here)) {
        if (wire->conn->texts == 0) lost_statement(wire->conn->common);
        return true;
    }
    if (absent) return true;
    /* what a trigger or a function fails with has a context */
    if (entry->reused && is_of_analysis(sqlstate)) {
        return PQresultErrorField(result, PG_DIAG_CONTEXT) == NULL;
    }
    /* the only 0A000 of the plan cache; its function name is not translated */
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    return strcmp(sqlstate, "0A000") == 0 && function != NULL &&
           strcmp(function, "RevalidateCachedQuery") == 0;
}

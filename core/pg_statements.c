/* The prepared statements of a connection: found by their text, the longest unused one goes. */
#include <stdio.h>

#include "pg_wire.h"

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
           stores__pg_push(wire, &entry);
}

/* Eight bytes at a time: every statement that is sent is looked up by its text. */
static uint64_t hash_sql(const char *sql, size_t len) {
    const uint64_t prime = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = len, word;
    for (; len >= sizeof word; sql += sizeof word, len -= sizeof word) {
        memcpy(&word, sql, sizeof word);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, sql, len);
    hash = (hash ^ word) * prime;
    return hash ^ hash >> 32;
}

struct stores__pg_statement *stores__pg_statement_get(struct stores__pg_wire *wire,
                                                      struct stores__pg_req *req, const char *sql,
                                                      int nparams, bool *fresh) {
    size_t len = strlen(sql);
    uint64_t hash = hash_sql(sql, len);
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
        !stores__pg_push(wire, &entry)) {
        free(statement);
        return NULL;
    }
    statement->chain = wire->buckets[hash % STATEMENT_BUCKETS];
    wire->buckets[hash % STATEMENT_BUCKETS] = statement;
    stores__list_append(&wire->lru, &statement->lru);
    wire->statement_count++;
    stores__pg_pool_stats(wire->conn->pool)->prepares++;
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

#include "names/facts.h"

#include <stdio.h>

#include "cache/cache.h"
#include "names/names.h"
#include "names/spread.h"

/* The columns behind all others: of the brief answer its depth, of the others the mark, and where
 * it is asked for how the table is spread. */
enum { DEPTH = 14, MARK = 14, SPREAD = 15 };
enum { FRESH_MS = 10000 }; /* what DDL of others changed is seen after it, at the latest */

struct stores__facts_asked stores__facts_ask(stores_engine *engine, enum stores__facts_depth depth,
                                             bool committed) {
    if (engine->pool.common.citus) depth = STORES__FACTS_ALL;
    return (struct stores__facts_asked){
        .serial = ++engine->facts_serial, .depth = depth, .committed = committed};
}

struct stores__facts_asked stores__facts_ask_to_write(struct stores__table *table,
                                                      enum stores__facts_depth depth,
                                                      bool committed) {
    table->asked_at = stores__now(table->engine);
    return stores__facts_ask(table->engine, depth, committed);
}

enum stores__facts_depth stores__facts_depth(const struct stores__table *table) {
    return table->known ? table->depth : STORES__FACTS_ALL;
}

bool stores__facts_are_told(const struct pg_result *result, struct stores__facts_asked *asked) {
    bool has_row = stores__pg_rows(result) == 1;
    const char *depth = NULL;
    switch (asked->depth) {
    case STORES__FACTS_BRIEF:
        if (has_row) depth = stores__pg_value(result, 0, DEPTH, NULL);
        if (depth == NULL || depth[0] == '0') return true;
        asked->depth = depth[0] == '1' ? STORES__FACTS_ALONE : STORES__FACTS_ALL;
        return false;
    case STORES__FACTS_ALONE:
        if (!has_row) asked->depth = STORES__FACTS_ALL; /* it is not alone any more, or gone */
        return has_row;
    case STORES__FACTS_ALL: break;
    }
    return true;
}

static bool says(const struct pg_result *result, int column) {
    const char *value = stores__pg_value(result, 0, column, NULL);
    return value != NULL && value[0] == 't';
}

/* text NULL: there is none. False: no memory. */
static bool keep(char **kept, const char *text) {
    free(*kept);
    *kept = text != NULL ? stores__strdup(text) : NULL;
    return text == NULL || *kept != NULL;
}

/* False: no memory. */
static bool take_texts(struct stores__table *table, const char *lacks, const char *print) {
    if (lacks != NULL && lacks[0] == '\0') lacks = NULL;
    return keep(&table->lacks, lacks) && keep(&table->print, print);
}

bool stores__facts_learn(struct stores__table *table, const struct pg_result *result,
                         const struct stores__facts_asked *asked) {
    const char *oid = stores__pg_value(result, 0, 1, NULL);
    const char *print = stores__pg_value(result, 0, 6, NULL);
    if (asked->serial < table->facts_serial) return true;
    uint32_t now = oid ? (uint32_t)strtoul(oid, NULL, 10) : 0;
    const char *why = stores__pg_value(result, 0, 2, NULL);
    if (!take_texts(table, stores__pg_value(result, 0, 13, NULL), print)) {
        table->known = false;
        return false;
    }
    if (table->engine->cache != NULL && (table->epoch == NULL || now != table->oid)) {
        struct stores__epoch *epoch = stores__epoch_of(table->engine, now);
        if (epoch == NULL) {
            table->known = false;
            return false;
        }
        stores__epoch_let_go(table->epoch);
        table->epoch = epoch;
    }
    table->oid = now;
    table->facts_serial = asked->serial;
    table->facts_at = stores__now(table->engine);
    snprintf(table->uncached, sizeof table->uncached, "%s", why ? why : "unknown");
    table->cacheable = table->uncached[0] == '\0';
    table->reaches = says(result, 3);
    table->cascades = says(result, 4);
    table->wide = says(result, 5);
    const char *upsert = stores__pg_value(result, 0, 8, NULL);
    table->may_take_rows = says(result, 7);
    table->upsert = upsert ? (enum stores__upsert)(upsert[0] - '0') : STORES__UPSERT_XMAX;
    table->unkeyed = says(result, 9);
    table->calls = says(result, 11);
    table->loose = table->calls || says(result, 10);
    table->runs = says(result, 12);
    table->depth = asked->depth;
    bool is_told = stores__pg_columns(result) > SPREAD;
    stores__spread_take(table, is_told ? stores__pg_value(result, 0, SPREAD, NULL) : NULL);
    table->facts_committed = asked->committed;
    if (table->epoch != NULL && asked->depth != STORES__FACTS_BRIEF) {
        stores__epoch_mark(table->epoch, stores__pg_value(result, 0, MARK, NULL));
    }
    table->known = print != NULL;
    return true;
}

bool stores__facts_take(struct stores__table *table, const struct pg_result *result,
                        struct stores__facts_asked *asked) {
    if (stores__pg_rows(result) == 1 && stores__facts_are_told(result, asked)) {
        return stores__facts_learn(table, result, asked);
    }
    stores__facts_doubt(table);
    return true;
}

bool stores__facts_hold(const struct stores__table *table) {
    return table->known && table->facts_committed &&
           table->facts_serial > stores__epoch_valid_since(table);
}

static bool are_old(const struct stores__table *table) {
    return stores__now(table->engine) - table->facts_at >= FRESH_MS;
}

bool stores__facts_must_ask(const struct stores__table *table) {
    uint64_t now = stores__now(table->engine);
    if (!table->known) return true;
    return table->engine->cache != NULL && are_old(table) && now - table->asked_at >= FRESH_MS;
}

bool stores__facts_are_due(const struct stores__table *table) {
    if (table->engine->cache == NULL) return false;
    if (!table->known || are_old(table)) return true;
    return table->cacheable && stores__epoch_state(table) == STORES__EPOCH_VALID &&
           !stores__facts_hold(table);
}

void stores__facts_doubt(struct stores__table *table) {
    table->known = false;
    stores__table_forget(table);
}

bool stores__facts_confirm(struct stores__table *table, const struct pg_result *result) {
    const char *print = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 1, NULL) : NULL;
    if (table->known && print != NULL && strcmp(print, table->print) == 0) return true;
    stores__facts_doubt(table);
    return false;
}

bool stores_may_keep(stores_engine *engine, const char *table) {
    const struct stores__table *met = stores__table_known(engine, table);
    if (met == NULL || !met->known || met->spread != STORES__SPREAD_NONE) return true;
    return met->reaches || !met->cacheable;
}

void stores_uncached(stores_engine *engine,
                     void (*uncached)(void *arg, const char *table, const char *why), void *arg) {
    if (engine->cache == NULL) return;
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        const struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (table->known && !table->cacheable) uncached(arg, table->name, table->uncached);
    }
}

void stores_tables(stores_engine *engine,
                   void (*table)(void *arg, const char *name, uint32_t oid, const char *uncached,
                                 bool reaches, bool cascades),
                   void *arg) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        const struct stores__table *met = STORES__CONTAINER(at, struct stores__table, link);
        if (!met->known) continue;
        table(arg, met->name, met->oid, met->uncached, met->reaches, met->cascades);
    }
}

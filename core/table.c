#include "table.h"

#include "cache.h"
#include "reads.h"

struct stores__table *stores__table_known(stores_engine *engine, const char *quoted) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (strcmp(table->name, quoted) == 0) return table;
    }
    return NULL;
}

static void free_table(struct stores__table *table) {
    stores__list_remove(&table->link);
    stores__orphans_free(table);
    stores__epoch_let_go(table->epoch);
    stores__reads_free(table);
    stores__table_sql_free(table);
    free(table);
}

struct stores__table *stores__table_get(stores_engine *engine, const char *quoted) {
    struct stores__table *table = stores__table_known(engine, quoted);
    if (table != NULL) return table;
    table = calloc(1, sizeof *table);
    if (table == NULL) return NULL;
    stores__list_init(&table->link);
    table->engine = engine;
    strncpy(table->name, quoted, sizeof table->name - 1);
    if (!stores__table_sql_make(table) || !stores__reads_new(table)) {
        free_table(table);
        return NULL;
    }
    stores__list_append(&engine->tables, &table->link);
    return table;
}

void stores__tables_free(stores_engine *engine) {
    while (!stores__list_empty(&engine->tables)) {
        free_table(STORES__CONTAINER(engine->tables.next, struct stores__table, link));
    }
}

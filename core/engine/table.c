#include "engine/table.h"

#include "engine/part.h"

/* More than names are remembered (names/names.c): whoever learns that its facts are old forgets the
 * name, and what the next question and Redis say of the table has to meet what was learned
 * before. */
enum { TABLES_MAX = 1024 + 128 };

static struct stores__table *known(stores_engine *engine, const char *quoted) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (strcmp(table->name, quoted) == 0) return table;
    }
    return NULL;
}

static void free_table(struct stores__table *table) {
    stores__list_remove(&table->link);
    stores__list_remove(&table->unused);
    stores__pg_forget_topic(&table->engine->pool, &table->topic);
    STORES__DOWNWARDS(table->engine, table_free, table);
    stores__table_sql_free(table);
    table->engine->table_count--;
    free(table->shards);
    free(table->lacks);
    free(table->print);
    free(table);
}

static void make_room(stores_engine *engine) {
    if (engine->table_count > TABLES_MAX && !stores__list_empty(&engine->tables_unused)) {
        stores__flush_at_end(engine, &engine->tables_flush);
    }
}

static bool make_parts(struct stores__table *table) {
    const stores_engine *engine = table->engine;
    for (int i = 0; i < engine->part_count; i++) {
        const struct stores__part *part = &engine->parts[i];
        if (part->table_new != NULL && !part->table_new(table)) return false;
    }
    return true;
}

struct stores__table *stores__table_get(stores_engine *engine, const char *quoted) {
    struct stores__table *table = known(engine, quoted);
    if (table != NULL) return stores__table_hold(table);
    size_t size = strlen(quoted) + 1;
    table = calloc(1, sizeof *table + size);
    if (table == NULL) return NULL;
    stores__list_init(&table->link);
    stores__list_init(&table->unused);
    table->engine = engine;
    memcpy(table->name, quoted, size);
    stores__list_append(&engine->tables, &table->link);
    table->holders = 1;
    engine->table_count++;
    if (!make_parts(table)) {
        free_table(table);
        return NULL;
    }
    make_room(engine);
    return table;
}

/* ---- Those that nobody holds ----------------------------------------------------------------- */

void stores__table_used(struct stores__table *table) {
    stores__list_remove(&table->unused);
}

void stores__table_unused(struct stores__table *table) {
    stores_engine *engine = table->engine;
    stores__list_append(&engine->tables_unused, &table->unused);
    make_room(engine);
}

static void free_unused(struct stores__flush *flush) {
    stores_engine *engine = STORES__CONTAINER(flush, stores_engine, tables_flush);
    while (engine->table_count > TABLES_MAX && !stores__list_empty(&engine->tables_unused)) {
        free_table(STORES__CONTAINER(engine->tables_unused.next, struct stores__table, unused));
    }
}

void stores__tables_init(stores_engine *engine) {
    stores__list_init(&engine->tables);
    stores__list_init(&engine->tables_unused);
    stores__list_init(&engine->tables_flush.link);
    engine->tables_flush.run = free_unused;
}

void stores__tables_free(stores_engine *engine) {
    while (!stores__list_empty(&engine->tables)) {
        free_table(STORES__CONTAINER(engine->tables.next, struct stores__table, link));
    }
}

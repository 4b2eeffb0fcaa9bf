/* Of which tables, by their names, rows are held in memory (cache/held.h). */
#include "names/internal.h"

struct stores__hold {
    struct stores__list link; /* names->holds */
    char name[]; /* as stores__name_plain writes it */
};

static struct stores__hold *find(const stores_engine *engine, const char *text) {
    const struct stores__list *holds = &engine->names->holds;
    char name[STORES__TABLE_NAME_MAX];
    if (stores__list_empty(holds) || !stores__name_plain(text, name)) return NULL;
    for (struct stores__list *at = holds->next; at != holds; at = at->next) {
        struct stores__hold *hold = STORES__CONTAINER(at, struct stores__hold, link);
        if (strcmp(hold->name, name) == 0) return hold;
    }
    return NULL;
}

void stores__hold_give(stores_engine *engine, const char *text, struct stores__table *table) {
    if (find(engine, text) != NULL) table->hold = true;
}

bool stores_hold(stores_engine *engine, const char *table) {
    char name[STORES__TABLE_NAME_MAX];
    if (stores__closing(engine) || stores__engine_forked(engine)) return false;
    if (engine->cache == NULL || find(engine, table) != NULL) return true;
    if (!stores__name_plain(table, name)) return false;
    struct stores__hold *hold = calloc(1, sizeof *hold + strlen(name) + 1);
    if (hold == NULL) return false;
    strcpy(hold->name, name);
    stores__list_append(&engine->names->holds, &hold->link);
    struct stores__list *known = &engine->names->used;
    for (struct stores__list *at = known->next; at != known; at = at->next) {
        struct stores__table_name *met = STORES__CONTAINER(at, struct stores__table_name, lru);
        stores__hold_give(engine, met->text, met->table);
    }
    return true;
}

void stores__holds_free(stores_engine *engine) {
    for (struct stores__list *at; (at = stores__list_shift(&engine->names->holds)) != NULL;) {
        free(STORES__CONTAINER(at, struct stores__hold, link));
    }
}

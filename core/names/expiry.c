/* Of which tables, by their names, documents are past at a time that stands in them. */
#include "base/json_at.h"
#include "cache/life.h"
#include "names/internal.h"

bool stores__name_plain(const char *text, char out[STORES__TABLE_NAME_MAX]) {
    static const char prefix[] = "\"public\".";
    stores_error error;
    if (!stores__table_parse(text, out, STORES__TABLE_NAME_MAX, &error)) return false;
    if (strncmp(out, prefix, sizeof prefix - 1) == 0) {
        const char *rest = out + sizeof prefix - 1;
        memmove(out, rest, strlen(rest) + 1);
    }
    return true;
}

static struct stores__expiry *find(const struct stores__list *expiries, const char *text) {
    char name[STORES__TABLE_NAME_MAX];
    if (stores__list_empty(expiries) || !stores__name_plain(text, name)) return NULL;
    for (struct stores__list *at = expiries->next; at != expiries; at = at->next) {
        struct stores__expiry *expiry = STORES__CONTAINER(at, struct stores__expiry, link);
        if (strcmp(expiry->name, name) == 0) return expiry;
    }
    return NULL;
}

void stores__expiry_give(stores_engine *engine, const char *text, struct stores__table *table) {
    struct stores__expiry *expiry = find(&engine->names->expiries, text);
    if (expiry != NULL) table->expiry = expiry;
}

static struct stores__expiry *make(stores_engine *engine, const char *text) {
    char name[STORES__TABLE_NAME_MAX];
    if (!stores__name_plain(text, name)) return NULL;
    struct stores__expiry *expiry = calloc(1, sizeof *expiry + strlen(name) + 1);
    if (expiry == NULL) return NULL;
    strcpy(expiry->name, name);
    stores__list_append(&engine->names->expiries, &expiry->link);
    return expiry;
}

bool stores_expires(stores_engine *engine, const char *table, const char *const *path,
                    size_t count) {
    struct stores__buf names = {0};
    if (stores__closing(engine) || stores__engine_forked(engine)) return false;
    struct stores__expiry *expiry = find(&engine->names->expiries, table);
    if (expiry == NULL && count == 0) return true;
    if (expiry == NULL) expiry = make(engine, table);
    for (size_t i = 0; i < count; i++) stores__json_name(&names, path[i]);
    if (expiry == NULL || names.failed) {
        stores__buf_free(&names);
        return false;
    }
    free(expiry->path);
    expiry->path = names.data;
    expiry->count = count;
    struct stores__list *known = &engine->names->used;
    for (struct stores__list *at = known->next; at != known; at = at->next) {
        struct stores__table_name *name = STORES__CONTAINER(at, struct stores__table_name, lru);
        stores__expiry_give(engine, name->text, name->table);
    }
    return true;
}

void stores__expiries_free(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        STORES__CONTAINER(at, struct stores__table, link)->expiry = NULL;
    }
    for (struct stores__list *at; (at = stores__list_shift(&engine->names->expiries)) != NULL;) {
        struct stores__expiry *expiry = STORES__CONTAINER(at, struct stores__expiry, link);
        free(expiry->path);
        free(expiry);
    }
}

/* The names whose tables are known: everybody's, and a transaction's own. */
#include "names/internal.h"

enum { NAMES_MAX = 1024 /* that are remembered: they may come from outside */ };

/* ---- What is remembered ---------------------------------------------------------------------- */

static struct stores__table_name **bucket_of(stores_engine *engine, uint64_t hash) {
    return &engine->names->buckets[hash % STORES__NAME_BUCKETS];
}

void stores__names_drop(stores_engine *engine, struct stores__table_name *name) {
    struct stores__table_name **at = bucket_of(engine, name->hash);
    while (*at != name) at = &(*at)->chain;
    *at = name->chain;
    stores__list_remove(&name->lru);
    engine->names->count--;
    if (engine->names->last == name) engine->names->last = NULL;
    stores__table_let_go(name->table);
    free(name);
}

struct stores__table_name *stores__names_find(stores_engine *engine, const char *text) {
    struct stores__table_name *name = engine->names->last;
    if (name != NULL && strcmp(name->text, text) == 0) return name;
    uint64_t hash = stores__hash(text, strlen(text));
    for (name = *bucket_of(engine, hash); name != NULL; name = name->chain) {
        if (name->hash != hash || strcmp(name->text, text) != 0) continue;
        stores__list_remove(&name->lru);
        stores__list_append(&engine->names->used, &name->lru);
        engine->names->last = name;
        return name;
    }
    return NULL;
}

struct stores__table *stores__table_known(stores_engine *engine, const char *text) {
    struct stores__table_name *name = stores__names_find(engine, text);
    return name != NULL ? name->table : NULL;
}

static struct stores__table_name *oldest(stores_engine *engine) {
    return STORES__CONTAINER(engine->names->used.next, struct stores__table_name, lru);
}

void stores__names_remember(stores_engine *engine, const char *text, struct stores__table *table) {
    struct stores__table_name *name = stores__names_find(engine, text);
    if (name == NULL) {
        size_t len = strlen(text);
        name = calloc(1, sizeof *name + len + 1);
        if (name == NULL) return;
        if (engine->names->count >= NAMES_MAX) stores__names_drop(engine, oldest(engine));
        memcpy(name->text, text, len + 1);
        name->bare = strchr(text, '.') == NULL;
        name->hash = stores__hash(text, len);
        stores__list_append(&engine->names->used, &name->lru);
        name->chain = *bucket_of(engine, name->hash);
        *bucket_of(engine, name->hash) = name;
        engine->names->count++;
    }
    stores__table_hold(table);
    stores__table_let_go(name->table);
    name->table = table;
    stores__expiry_give(engine, text, table);
    stores__hold_give(engine, text, table);
    name->asked_at = stores__now(engine);
}

static void forget(stores_engine *engine, const struct stores__table *table) {
    engine->names->forgotten++;
    struct stores__list *names = &engine->names->used;
    for (struct stores__list *at = names->next, *next; at != names; at = next) {
        struct stores__table_name *name = STORES__CONTAINER(at, struct stores__table_name, lru);
        next = at->next;
        if (table == NULL || name->table == table) stores__names_drop(engine, name);
    }
}

void stores__table_forget_names(stores_engine *engine) {
    forget(engine, NULL);
}

void stores__table_forget(struct stores__table *table) {
    forget(table->engine, table);
}

/* ---- What a transaction remembers ------------------------------------------------------------ */

static void own_drop(struct stores__own_name *name) {
    stores__table_let_go(name->table);
    free(name->text);
}

void stores__own_names_free(struct stores__own_names *own) {
    for (int i = 0; i < own->count; i++) own_drop(&own->names[i]);
    own->count = own->next = 0;
    free(own->names);
    own->names = NULL;
}

struct stores__table *stores__own_names_find(struct stores__own_names *own, const char *text,
                                             unsigned texts) {
    if (own->texts != texts) stores__own_names_free(own);
    own->texts = texts;
    for (int i = 0; i < own->count; i++) {
        if (strcmp(own->names[i].text, text) == 0) return own->names[i].table;
    }
    return NULL;
}

void stores__own_names_remember(struct stores__own_names *own, const char *text,
                                struct stores__table *table) {
    if (own->names == NULL) own->names = calloc(STORES__OWN_NAMES, sizeof *own->names);
    char *copy = own->names != NULL ? stores__strdup(text) : NULL;
    if (copy == NULL) return;
    struct stores__own_name *name = &own->names[own->next];
    if (own->count < STORES__OWN_NAMES) {
        own->count++;
    } else {
        own_drop(name);
    }
    own->next = (own->next + 1) % STORES__OWN_NAMES;
    name->text = copy;
    name->table = stores__table_hold(table);
}

/* ---- The engine's part ----------------------------------------------------------------------- */

bool stores__names_open(stores_engine *engine, const stores_config *config, stores_error *error) {
    struct stores__names *names = calloc(1, sizeof *names);
    (void)config;
    if (names == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory");
        return false;
    }
    stores__list_init(&names->used);
    stores__list_init(&names->expiries);
    stores__list_init(&names->holds);
    for (int i = 0; i < STORES__NAME_BUCKETS; i++) stores__list_init(&names->asked[i]);
    engine->names = names;
    return true;
}

void stores__names_free(stores_engine *engine) {
    if (engine->names == NULL) return;
    stores__table_forget_names(engine);
    stores__expiries_free(engine);
    stores__holds_free(engine);
    free(engine->names);
    engine->names = NULL;
}

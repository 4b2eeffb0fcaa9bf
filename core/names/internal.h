/*
 * internal.h - names as the files of this room see them. Each calls those above it alone:
 *
 *   holds.c       of which names the rows are held in memory
 *   expiry.c      of which names the documents have a time at which they are past
 *   remembered.c  which table a name was said to mean
 *   spread.c      on which of several servers rows are
 *   facts_sql.c   what the catalog is asked of a table
 *   facts.c       what the catalog says of a table; where it changed, its names are forgotten
 *   names.c       the questions to the server, and who waits for an answer
 *   invalidate.c  a verb that needs the table of a name, and tells Redis of it
 */
#ifndef STORES_NAMES_INTERNAL_H
#define STORES_NAMES_INTERNAL_H

#include "names/names.h"

enum { STORES__NAME_BUCKETS = 256 };

/* A name whose table is known. */
struct stores__table_name {
    struct stores__table_name *chain; /* of its bucket */
    struct stores__list lru; /* names->used */
    struct stores__table *table; /* held */
    uint64_t hash, asked_at;
    bool bare; /* it has no schema */
    char text[];
};

/* What an engine remembers of names, and asks of them. */
struct stores__names {
    struct stores__table_name *buckets[STORES__NAME_BUCKETS];
    struct stores__table_name *last; /* the one that was asked for last; NULL: none */
    struct stores__list used; /* the longest unused first */
    struct stores__list asked[STORES__NAME_BUCKETS];
    struct stores__list expiries; /* struct stores__expiry */
    struct stores__list holds; /* struct stores__hold: the names whose tables are held */
    int count;
    unsigned forgotten; /* how often: an answer to an older question is not kept */
};

/* The table that the name means has the expiry of the name, where there is one. */
void stores__expiry_give(stores_engine *engine, const char *text, struct stores__table *table);
void stores__expiries_free(stores_engine *engine);
/* `users` and `public.users` are one name. False: it is none. */
bool stores__name_plain(const char *text, char out[STORES__TABLE_NAME_MAX]);

/* The table that the name means is held where the name is to be. */
void stores__hold_give(stores_engine *engine, const char *text, struct stores__table *table);
void stores__holds_free(stores_engine *engine);

/* NULL: it is not known. */
struct stores__table_name *stores__names_find(stores_engine *engine, const char *text);
/* Without memory for it the name is asked for again next time. */
void stores__names_remember(stores_engine *engine, const char *text, struct stores__table *table);
void stores__names_drop(stores_engine *engine, struct stores__table_name *name);

/* texts: how many of its caller the transaction has run; what was said before the last is
 * forgotten. */
struct stores__table *stores__own_names_find(struct stores__own_names *own, const char *text,
                                             unsigned texts);
void stores__own_names_remember(struct stores__own_names *own, const char *text,
                                struct stores__table *table);

#endif

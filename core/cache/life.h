/*
 * life.h - how long a document may stay in the cache: `ttl`, and where its table says at which path
 * of it the time stands at which it is past, not beyond that.
 */
#ifndef STORES_CACHE_LIFE_H
#define STORES_CACHE_LIFE_H

#include "engine/table.h"

/* Where the time stands, of the tables of one name; owned by names/expiry.c. */
struct stores__expiry {
    struct stores__list link;
    char *path; /* as stores__json_at takes it */
    size_t count; /* of its names; 0: nowhere */
    char name[]; /* as stores__table_parse writes it, without "public" */
};

/* The lifetime, in ms, as text. text NULL: there is no such row. */
void stores__cache_life(const struct stores__table *table, const char *text, size_t len,
                        char out[24]);
/* When a document is past, in seconds since 1970, rounded down: the time is a number of them, or a
 * text of RFC 3339 in UTC. False: there is none. */
bool stores__expiry_time(const char *value, size_t len, int64_t *seconds);

#endif

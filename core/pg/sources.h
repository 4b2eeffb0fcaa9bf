/*
 * sources.h - what libpq itself makes of the keywords of a connection: a service file, its
 * environment (PGHOST, PGSSLMODE, ..) and what it was compiled with. A default of ours counts only
 * where none of them says anything.
 */
#ifndef STORES_PG_SOURCES_H
#define STORES_PG_SOURCES_H

#include <libpq-fe.h>

#include "base/err.h"

/* Who says what a keyword is; the earlier one holds. */
enum stores__pg_source {
    STORES__PG_NOBODY, /* libpq's own default, or none at all */
    STORES__PG_ENVIRONMENT,
    STORES__PG_SERVICE,
    STORES__PG_CALLER
};

struct stores__pg_sources {
    PQconninfoOption *words; /* each keyword with the value that libpq would use */
    bool *given; /* beside each of them: whether it is the caller's */
    const char *service; /* which one is in force; NULL: none. Not owned */
};

/* Connects to nothing. False: what is said is no use, and *error says why (never a password). */
bool stores__pg_sources_read(struct stores__pg_sources *sources, const char *const *keys,
                             const char *const *values, stores_error *error);
void stores__pg_sources_free(struct stores__pg_sources *sources);

/* Says that there is no memory for keywords. False, for who returns that. */
bool stores__pg_no_keywords(stores_error *error);

/* NULL: there is no value. */
const char *stores__pg_word(const struct stores__pg_sources *sources, const char *key);
enum stores__pg_source stores__pg_source_of(const struct stores__pg_sources *sources,
                                            const char *key);

/* Whether the file that libpq finds a service in gives it this keyword (service.c). libpq tells
 * what a service gives, but not that it gives what would hold anyway. False also where the service
 * stands in a file that we do not know of, or in LDAP. */
bool stores__pg_service_says(const char *service, const char *key);

#endif

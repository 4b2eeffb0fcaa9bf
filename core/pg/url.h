/*
 * url.h - the url of a PostgreSQL: libpq reads it, and what is wrong with one is said here, for
 * libpq's own text quotes what may be a piece of the password.
 */
#ifndef STORES_PG_URL_H
#define STORES_PG_URL_H

#include <libpq-fe.h>

#include "base/err.h"

/* What the url gives, to be freed with PQconninfoFree. NULL: *error says why. */
PQconninfoOption *stores__pg_url_parse(const char *url, stores_error *error);

#endif

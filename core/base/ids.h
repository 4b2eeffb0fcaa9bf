/*
 * ids.h - ids as text: a signed 64-bit decimal in its one canonical form, the form PostgreSQL
 * prints. Two texts of one number would be two keys of the cache.
 */
#ifndef STORES_IDS_H
#define STORES_IDS_H

#include "base/base.h"

#define STORES__ID_SIZE 21 /* "-9223372036854775808" and its NUL */

/* False: e is filled with invalid_id, whose message says what is wrong and what to write. */
bool stores__id_parse(const char *text, size_t len, int64_t *id, stores_error *e);
/* Writes the canonical text and a NUL; returns its length. */
size_t stores__id_write(int64_t id, char out[STORES__ID_SIZE]);

#endif

/*
 * array.h - an array of PostgreSQL in its binary form, as a parameter: nothing is quoted, and the
 * server finds each element by its length. And documents as one jsonb, which is an array of them:
 * the server reads it faster than a jsonb for each, and finds each document at once.
 */
#ifndef STORES_PG_ARRAY_H
#define STORES_PG_ARRAY_H

#include "base/base.h"

/* Of one statement: ids, values, and what those are to replace. */
enum { STORES__PG_ARRAYS_MAX = 3 };

/* The oids of types that are the server's own (pg_type.dat), the same on every server. */
enum stores__pg_type { STORES__PG_INT8 = 20, STORES__PG_TEXT = 25 };

/* Replaces what the buffer has by an array of so many elements, none of them null, which are added
 * one by one. */
void stores__pg_array_begin(struct stores__buf *buf, enum stores__pg_type type, size_t count);
void stores__pg_array_int8(struct stores__buf *buf, int64_t value);
void stores__pg_array_text(struct stores__buf *buf, const char *text, size_t len);

/* Replaces what the buffer has by documents, of which there is one at least. */
void stores__pg_documents_begin(struct stores__buf *buf);
/* One that stays one between others (base/json_one.h). */
void stores__pg_documents_add(struct stores__buf *buf, const char *text, size_t len);
void stores__pg_documents_end(struct stores__buf *buf);

#endif

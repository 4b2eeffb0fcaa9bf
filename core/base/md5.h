/*
 * md5.h - MD5 (RFC 1321), which PostgreSQL has a function for that every index, and Citus, takes.
 * Not for secrets: nothing here depends on MD5 being hard to break.
 */
#ifndef STORES_MD5_H
#define STORES_MD5_H

#include <stddef.h>

enum { STORES__MD5_HEX = 32 };

/* Writes the 32 lower-case hex digits of the digest of data, and a NUL. */
void stores__md5_hex(const void *data, size_t len, char out[STORES__MD5_HEX + 1]);

#endif

/*
 * sha1.h - SHA-1 (RFC 3174), which Redis names its scripts by. Not for secrets: nothing here
 * depends on SHA-1 being hard to break.
 */
#ifndef STORES_SHA1_H
#define STORES_SHA1_H

#include <stddef.h>

/* Writes the 40 lower-case hex digits of the digest of data, and a NUL. */
void stores__sha1_hex(const void *data, size_t len, char out[41]);

#endif

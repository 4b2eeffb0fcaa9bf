/*
 * keys.h - names of members as two words, so that one that was read before is found by
 * comparing two numbers: the same few names come with every document.
 */
#ifndef STORES_BINDINGS_JSON_KEYS_H
#define STORES_BINDINGS_JSON_KEYS_H

#include "codec.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define STORES__KEYS_KEPT 1
#else
#define STORES__KEYS_KEPT 0
#endif

/* The first bytes of a word: 0 to 8 of them. */
static inline uint64_t stores__key_bytes(uint64_t word, size_t bytes) {
    return bytes >= 8 ? word : word & ((UINT64_C(1) << 8 * bytes) - 1);
}

/* The key of len bytes at start, which are plain text. False: it is too long, or too near to the
 * end of what may be read. */
static inline bool stores__key_of(struct stores__key *key, const unsigned char *start, size_t len,
                                  const unsigned char *end) {
    if (!STORES__KEYS_KEPT || len == 0 || len > STORES__KEY_BYTES ||
        end - start < STORES__KEY_BYTES) {
        return false;
    }
    memcpy(&key->low, start, 8);
    memcpy(&key->high, start + 8, 8);
    key->low = stores__key_bytes(key->low, len);
    key->high = stores__key_bytes(key->high, len > 8 ? len - 8 : 0);
    key->len = len;
    return true;
}

static inline bool stores__key_same(const struct stores__key *a, const struct stores__key *b) {
    return a->low == b->low && a->high == b->high && a->len == b->len;
}

/* Where it is kept: the highest bits of a product (Knuth, The Art of Computer Programming, 6.4). */
static inline int stores__key_place(const struct stores__key *key) {
    uint64_t mixed = (key->low ^ key->high * UINT64_C(0xff51afd7ed558ccd)) *
                     UINT64_C(0x9e3779b97f4a7c15);
    return (int)(mixed >> 57);
}

_Static_assert(STORES__KEYS == 1 << (64 - 57), "a place for each");

#endif

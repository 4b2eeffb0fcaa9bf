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
static inline uint64_t stores__key_mask(size_t bytes) {
    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;
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
    key->low_mask = stores__key_mask(len);
    key->high_mask = stores__key_mask(len > 8 ? len - 8 : 0);
    key->low &= key->low_mask;
    key->high &= key->high_mask;
    key->len = len;
    return true;
}

/* Whether the text at start is the key, with a quote behind it. */
static inline bool stores__key_begins(const struct stores__key *key, const unsigned char *start,
                                      const unsigned char *end) {
    uint64_t low, high;
    if (key->len == 0 || end - start <= STORES__KEY_BYTES) return false;
    memcpy(&low, start, 8);
    memcpy(&high, start + 8, 8);
    return (((low ^ key->low) & key->low_mask) | ((high ^ key->high) & key->high_mask)) == 0 &&
           start[key->len] == '"';
}

static inline bool stores__key_same(const struct stores__key *a, const struct stores__key *b) {
    return a->low == b->low && a->high == b->high && a->len == b->len;
}

/* Where it belongs: the highest bits of a product (Knuth, The Art of Computer Programming, 6.4). */
static inline int stores__key_hash(const struct stores__key *key) {
    uint64_t mixed = (key->low ^ key->high * UINT64_C(0xff51afd7ed558ccd)) *
                     UINT64_C(0x9e3779b97f4a7c15);
    return (int)(mixed >> 57);
}

/* Where it is kept, or is to be: there, or beside it where that is taken. Of a document's few names
 * two often belong in one place, and would drive each other out each time. */
static inline int stores__key_place(const struct stores__key *keys, const struct stores__key *key) {
    int place = stores__key_hash(key), beside = place ^ 1;
    if (stores__key_same(&keys[place], key)) return place;
    if (stores__key_same(&keys[beside], key)) return beside;
    return keys[place].len > 0 && keys[beside].len == 0 ? beside : place;
}

_Static_assert(STORES__KEYS == 1 << (64 - 57), "a place for each");

#endif

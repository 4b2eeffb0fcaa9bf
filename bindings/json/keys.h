/*
 * keys.h - names of members as words, so that one that was read before is found by comparing
 * numbers, two for most of them: the same few names come with every document.
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

/* The key of len bytes at start, which are text without escapes. False: it is too long. */
static inline bool stores__key_of(struct stores__key *key, const unsigned char *start, size_t len,
                                  const unsigned char *end) {
    if (!STORES__KEYS_KEPT || len == 0 || len > STORES__KEY_BYTES) return false;
    if (end - start >= STORES__KEY_BYTES) {
        memcpy(key->text, start, STORES__KEY_BYTES);
    } else {
        memset(key->text, 0, STORES__KEY_BYTES);
        memcpy(key->text, start, len);
    }
    for (size_t i = 0; i < STORES__KEY_WORDS; i++) {
        key->words[i] &= stores__key_mask(len > 8 * i ? len - 8 * i : 0);
    }
    key->masks[0] = stores__key_mask(len);
    key->masks[1] = stores__key_mask(len > 8 ? len - 8 : 0);
    key->len = len;
    key->next = 0;
    key->used = key->wanted = false;
    return true;
}

/* Whether the text at start is the key, with a quote behind it. */
static inline bool stores__key_begins(const struct stores__key *key, const unsigned char *start,
                                      const unsigned char *end) {
    uint64_t words[2];
    size_t left = (size_t)(end - start);
    if (left <= key->len || start[key->len] != '"' || key->len == 0) return false;
    if (key->len > sizeof words || left < sizeof words) {
        return memcmp(start, key->text, key->len) == 0;
    }
    memcpy(words, start, sizeof words);
    return (((words[0] ^ key->words[0]) & key->masks[0]) |
            ((words[1] ^ key->words[1]) & key->masks[1])) == 0;
}

static inline bool stores__key_same(const struct stores__key *a, const struct stores__key *b) {
    uint64_t differs = a->len ^ b->len;
    for (size_t i = 0; i < STORES__KEY_WORDS; i++) differs |= a->words[i] ^ b->words[i];
    return differs == 0;
}

/* Where it belongs: the highest bits of a product (Knuth, The Art of Computer Programming, 6.4). */
static inline int stores__key_hash(const struct stores__key *key) {
    uint64_t mixed = 0;
    for (size_t i = 0; i < STORES__KEY_WORDS; i++) {
        mixed = mixed * UINT64_C(0xff51afd7ed558ccd) ^ key->words[i];
    }
    return (int)(mixed * UINT64_C(0x9e3779b97f4a7c15) >> 57);
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

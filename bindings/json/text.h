/*
 * text.h - looking through the bytes of JSON strings, eight at a time, and what UTF-8 is.
 */
#ifndef STORES_BINDINGS_JSON_TEXT_H
#define STORES_BINDINGS_JSON_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define STORES__ONES UINT64_C(0x0101010101010101)
#define STORES__TOPS UINT64_C(0x8080808080808080)

/* Has a top bit set somewhere if and only if one of eight bytes is a control character, '"', '\\'
 * or not ASCII. The lowest such bit is true; those above it may be a borrow's. */
static inline uint64_t stores__text_special(uint64_t word) {
    uint64_t quote = word ^ STORES__ONES * '"', slash = word ^ STORES__ONES * '\\';
    return ((word - STORES__ONES * 0x20) | (quote - STORES__ONES) | (slash - STORES__ONES) | word) &
           STORES__TOPS;
}

/* 0 where a byte stands for itself. A table, for comparisons cost more where text is mixed. */
static const unsigned char stores__text_marks[256] = {
    [0 ... 0x1f] = 1, ['"'] = 1, ['\\'] = 1, [0x80 ... 0xff] = 2};

static inline bool stores__text_plain(unsigned char c) {
    return stores__text_marks[c] == 0;
}

/* How many plain bytes lie before the first special one; where the machine's byte order hides
 * that, 0 says "look at each". */
static inline size_t stores__text_plain_bytes(uint64_t special) {
    if (special == 0) return 8;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (size_t)__builtin_ctzll(special) >> 3;
#else
    return 0;
#endif
}

/* The first byte from at on that is not plain ASCII text of a JSON string, or end. */
static inline const unsigned char *stores__text_skip(const unsigned char *at,
                                                     const unsigned char *end) {
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        size_t plain = stores__text_plain_bytes(stores__text_special(word));
        at += plain;
        if (plain < 8) break;
    }
    while (at < end && stores__text_plain(*at)) at++;
    return at;
}

/* Copies a string that is plain all through, which most are, by words that may overlap. False: it
 * is not, and what is behind out is of no use. */
static inline bool stores__text_copy_plain(char *out, const unsigned char *text, size_t len) {
    uint64_t word;
    if (len >= 8) {
        for (size_t at = 0; at + 8 < len; at += 8) {
            memcpy(&word, text + at, 8);
            if (stores__text_special(word)) return false;
            memcpy(out + at, &word, 8);
        }
        memcpy(&word, text + len - 8, 8);
        memcpy(out + len - 8, &word, 8);
        return !stores__text_special(word);
    }
    if (len >= 4) {
        uint32_t front, back;
        memcpy(&front, text, 4);
        memcpy(&back, text + len - 4, 4);
        memcpy(out, &front, 4);
        memcpy(out + len - 4, &back, 4);
        return !stores__text_special((uint64_t)front << 32 | back);
    }
    for (size_t at = 0; at < len; at++) {
        if (!stores__text_plain(text[at])) return false;
        out[at] = (char)text[at];
    }
    return true;
}

static inline bool stores__text_continues(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

/* How many bytes the UTF-8 character at the front of [at, end) has; 0 where it is malformed:
 * truncated, overlong, a surrogate, or above U+10FFFF. */
static inline int stores__text_utf8(const unsigned char *at, const unsigned char *end) {
    unsigned char lead = at[0];
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4 || end - at < 2 || !stores__text_continues(at[1])) return 0;
    if (lead < 0xe0) return 2;
    if (end - at < 3 || !stores__text_continues(at[2])) return 0;
    if (lead == 0xe0 && at[1] < 0xa0) return 0;
    if (lead == 0xed && at[1] > 0x9f) return 0;
    if (lead < 0xf0) return 3;
    if (end - at < 4 || !stores__text_continues(at[3])) return 0;
    if (lead == 0xf0 && at[1] < 0x90) return 0;
    if (lead == 0xf4 && at[1] > 0x8f) return 0;
    return 4;
}

/* The four hex digits of a \\u escape. */
static inline bool stores__text_hex4(const unsigned char *at, const unsigned char *end,
                                     unsigned *code) {
    if (end - at < 4) return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = at[i], low = c | 0x20;
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (low >= 'a' && low <= 'f')
            digit = low - 'a' + 10u;
        else
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* Writes a character, up to 4 bytes; returns how many. */
static inline size_t stores__text_put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

#endif

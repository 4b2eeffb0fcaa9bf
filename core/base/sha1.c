/* sha1.c - see sha1.h. */
#include "base/sha1.h"

#include <stdint.h>
#include <string.h>

#define BLOCK 64

static uint32_t rotate(uint32_t value, int bits) {
    return value << bits | value >> (32 - bits);
}

static void add_block(uint32_t state[5], const unsigned char *block) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    int i;

    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (i = 0; i < 80; i++) {
        uint32_t f, k, next;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5A827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ED9EBA1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8F1BBCDC;
        } else {
            f = b ^ c ^ d;
            k = 0xCA62C1D6;
        }
        next = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void stores__sha1_hex(const void *data, size_t len, char out[41]) {
    static const char digits[] = "0123456789abcdef";
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char last[2 * BLOCK] = {0};
    const unsigned char *at = data;
    uint64_t bits = (uint64_t)len * 8;
    size_t rest, end;
    int i;

    for (rest = len; rest >= BLOCK; rest -= BLOCK, at += BLOCK) add_block(state, at);
    if (rest > 0) memcpy(last, at, rest);
    last[rest] = 0x80;
    end = rest < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    for (i = 0; i < 8; i++) last[end - 1 - (size_t)i] = (unsigned char)(bits >> (8 * i));
    add_block(state, last);
    if (end > BLOCK) add_block(state, last + BLOCK);
    for (i = 0; i < 40; i++) out[i] = digits[state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[40] = '\0';
}

/* test_sha1.c - the vectors of RFC 3174 and FIPS 180, and every length around the block's end. */
#include "base/sha1.h"

#include <stdlib.h>

#include "check.h"

int main(void) {
    char hex[41], *million = malloc(1000000), rows[200 * 40], data[200];
    size_t i;

    stores__sha1_hex("", 0, hex);
    CHECK_STR(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    stores__sha1_hex("abc", 3, hex);
    CHECK_STR(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    stores__sha1_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    CHECK_STR(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    memset(million, 'a', 1000000);
    stores__sha1_hex(million, 1000000, hex);
    CHECK_STR(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(million);

    /* The digest of the digests of 0, 1 .. 199 bytes, as hashlib gives it. */
    memset(data, 'x', sizeof data);
    for (i = 0; i < 200; i++) {
        stores__sha1_hex(data, i, hex);
        memcpy(rows + 40 * i, hex, 40);
    }
    stores__sha1_hex(rows, sizeof rows, hex);
    CHECK_STR(hex, "f024a06f9df4db3a81e536a8d16895eb9a9defb5");
    return check_report();
}

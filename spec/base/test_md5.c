/* test_md5.c - the vectors of RFC 1321, and every length around the block's end. */
#include "base/md5.h"

#include <stdlib.h>

#include "check.h"

int main(void) {
    char hex[33], *million = malloc(1000000), rows[200 * 32], data[200];

    stores__md5_hex("", 0, hex);
    CHECK_STR(hex, "d41d8cd98f00b204e9800998ecf8427e");
    stores__md5_hex("abc", 3, hex);
    CHECK_STR(hex, "900150983cd24fb0d6963f7d28e17f72");
    stores__md5_hex("abcdefghijklmnopqrstuvwxyz", 26, hex);
    CHECK_STR(hex, "c3fcd3d76192e4007dfb496cca67e13b");
    memset(million, 'a', 1000000);
    stores__md5_hex(million, 1000000, hex);
    CHECK_STR(hex, "7707d6ae4e027c70eea2a935c2296f21");
    free(million);

    /* The digest of the digests of 0, 1 .. 199 bytes, as hashlib gives it. */
    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < 200; i++) {
        stores__md5_hex(data, i, hex);
        memcpy(rows + 32 * i, hex, 32);
    }
    stores__md5_hex(rows, sizeof rows, hex);
    CHECK_STR(hex, "0f0e2ac786e6a42eac7e7de3a518cd0c");
    return check_report();
}

/* size.c - how large a text would be as jsonb: see jsonb_util.c of PostgreSQL. */
#include "codec.h"

size_t stores__json_size(const char *at, const char *end) {
    size_t bytes = 0;
    while (at < end) {
        char c = *at++;
        if (c == '"') {
            bytes += 4;
            for (; *at != '"'; at++, bytes++) {
                if (*at == '\\') at += at[1] == 'u' ? 5 : 1;
            }
            at++;
        } else if (c == '[' || c == '{') {
            bytes += 8;
        } else if (c == 't' || c == 'f' || c == 'n') {
            bytes += 4;
            while (at < end && *at >= 'a' && *at <= 'z') at++;
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            bytes += 10;
            at += strspn(at, "0123456789.eE+-");
        }
    }
    return bytes - 4; /* its own word belongs to what it lies in */
}

/*
 * escape.c - strings that are not plain all through as JSON strings. What is no UTF-8, and a NUL,
 * is a fault.
 */
#include "encoder.h"
#include "text.h"

#define SLICE 4096 /* bytes of a string with escapes that are written at once */

/* What stands for a byte that cannot stand for itself, and in the last place how long that is: one
 * copy of eight bytes writes it. */
#define ESCAPE_2(c)                                                                                \
    { '\\', c, 0, 0, 0, 0, 0, 2 }
#define ESCAPE_6(high, low)                                                                        \
    { '\\', 'u', '0', '0', high, low, 0, 6 }
static const char escapes['\\' + 1][8] = {
    ESCAPE_6('0', '0'),    ESCAPE_6('0', '1'),     ESCAPE_6('0', '2'), ESCAPE_6('0', '3'),
    ESCAPE_6('0', '4'),    ESCAPE_6('0', '5'),     ESCAPE_6('0', '6'), ESCAPE_6('0', '7'),
    ESCAPE_2('b'),         ESCAPE_2('t'),          ESCAPE_2('n'),      ESCAPE_6('0', 'b'),
    ESCAPE_2('f'),         ESCAPE_2('r'),          ESCAPE_6('0', 'e'), ESCAPE_6('0', 'f'),
    ESCAPE_6('1', '0'),    ESCAPE_6('1', '1'),     ESCAPE_6('1', '2'), ESCAPE_6('1', '3'),
    ESCAPE_6('1', '4'),    ESCAPE_6('1', '5'),     ESCAPE_6('1', '6'), ESCAPE_6('1', '7'),
    ESCAPE_6('1', '8'),    ESCAPE_6('1', '9'),     ESCAPE_6('1', 'a'), ESCAPE_6('1', 'b'),
    ESCAPE_6('1', 'c'),    ESCAPE_6('1', 'd'),     ESCAPE_6('1', 'e'), ESCAPE_6('1', 'f'),
    ['"'] = ESCAPE_2('"'), ['\\'] = ESCAPE_2('\\')};

/* Copies text with its escapes up to a byte that makes it invalid, or to the end. There is room for
 * six bytes each, and a word more. Words are tried only where eight plain bytes have just gone by:
 * other languages are no plain runs. */
static inline char *copy_escaped(char *out, const unsigned char **from, const unsigned char *end) {
    const unsigned char *at = *from, *run = at;
    while (at < end) {
        unsigned char c = *at, mark = stores__text_marks[c];
        if (mark == 0) {
            *out++ = (char)c;
            at++;
            if (at - run < 8) continue;
            while (end - at >= 8) {
                uint64_t word;
                memcpy(&word, at, 8);
                memcpy(out, &word, 8);
                size_t plain = stores__text_plain_bytes(stores__text_special(word));
                at += plain;
                out += plain;
                if (plain < 8) break;
            }
        } else if (mark == 2) {
            int bytes = stores__text_utf8(at, end);
            if (bytes == 0) break;
            memcpy(out, at, 2);
            if (bytes > 2) {
                out[2] = (char)at[2];
                if (bytes > 3) out[3] = (char)at[3];
            }
            out += bytes;
            at += bytes;
        } else {
            if (c == 0) break;
            memcpy(out, escapes[c], 8);
            out += escapes[c][7];
            at++;
        }
        run = at;
    }
    *from = at;
    return out;
}

/* In slices whose escapes there is room for; the next slice begins with what is left of a character
 * that the last one cut. */
enum fault stores__json_put_escaped(struct encoder *e, const unsigned char *at, size_t len) {
    const unsigned char *end = at + len;
    e->buf->len++; /* the quote is there */
    while (at < end) {
        const unsigned char *stop = end - at > SLICE ? at + SLICE : end;
        if (!room(e, (size_t)(stop - at) * 6 + 16)) return FAULT_REFUSED;
        char *out = copy_escaped(e->buf->data + e->buf->len, &at, stop);
        e->buf->len = (size_t)(out - e->buf->data);
        if (at < stop && (stop == end || stop - at >= 4 || *at == 0))
            return *at == 0 ? FAULT_NUL : FAULT_UTF8;
    }
    if (!room(e, 16)) return FAULT_REFUSED;
    e->buf->data[e->buf->len++] = '"';
    return FAULT_NONE;
}

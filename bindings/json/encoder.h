/*
 * encoder.h - a value that is being written, as the files of the encoder see it: encode.c,
 * encoder.c for what they share, escape.c for strings that are not plain, and members.c for the
 * order of members.
 */
#ifndef STORES_BINDINGS_JSON_ENCODER_H
#define STORES_BINDINGS_JSON_ENCODER_H

#include "codec.h"
#include "path.h"

#define STORES__JSONB_MOST ((size_t)0x0fffffff) /* bytes of a string, array or object of jsonb */

enum { MEMBERS_MOST = 32 }; /* of all objects that are being written at once */

/* Of the text: its key lies behind the quote that it starts with, as it is. */
struct member {
    size_t start, len, key_len;
};

struct encoder {
    lua_State *L;
    struct stores__codec *codec;
    struct stores__buf *buf;
    struct stores__json_level *level;
    struct member *members; /* MEMBERS_MOST of them; those of outer objects before those inside */
    int member_count;
    int env;
    int depth;
};

/* Pushes the message; where is the innermost part of the path. Returns false, for callers. */
bool stores__json_refuse(struct encoder *e, const struct stores__json_level *where,
                         const char *kind);

/* Room for so many bytes more, which the buffer has not. Raises where memory ran out; false: the
 * message is pushed. */
bool stores__json_make_room(struct encoder *e, size_t more);

static inline bool room(struct encoder *e, size_t more) {
    if (e->buf->cap - e->buf->len >= more) return true;
    return stores__json_make_room(e, more);
}

static inline bool put(struct encoder *e, char c) {
    if (!room(e, 1)) return false;
    e->buf->data[e->buf->len++] = c;
    return true;
}

static inline bool put_text(struct encoder *e, const char *text, size_t len) {
    if (!room(e, len)) return false;
    memcpy(e->buf->data + e->buf->len, text, len);
    e->buf->len += len;
    return true;
}

enum fault {
    FAULT_NONE,
    FAULT_UTF8,
    FAULT_NUL,
    FAULT_LONG,
    FAULT_REFUSED /* the message is pushed */
};

/* Writes a string that may hold anything, and its closing quote; the opening one lies at the end of
 * the buffer, not counted yet. There is room for two characters more then. */
enum fault stores__json_put_escaped(struct encoder *e, const unsigned char *at, size_t len);

/* Puts the members from first on, which are all of an object, in jsonb's order. Its text ends with
 * the last one. Raises where memory ran out; false: the message is pushed. */
bool stores__json_arrange(struct encoder *e, int first);

#endif

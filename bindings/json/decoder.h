/*
 * decoder.h - a value that is being read, as the files of the decoder see it: decode.c,
 * decode_string.c for strings, and deep.c for what lies deeper than the stack of C and Lua's own
 * are to grow.
 */
#ifndef STORES_BINDINGS_JSON_DECODER_H
#define STORES_BINDINGS_JSON_DECODER_H

#include "codec.h"

#define STORES__JSON_STACKED 512 /* levels that use the stack; deeper ones are deep.c's */

struct decoder {
    lua_State *L;
    struct stores__codec *codec;
    const unsigned char *start, *at, *end;
    const char *wrong; /* what is wrong at `at`, where a function returned false */
    int env, array_metatable; /* stack indexes */
    int depth;
    int64_t id; /* of the row whose value this is */
    int own; /* the index of the string that it was asked for by; 0: there is none */
    bool at_id; /* the member that is being read is the `id` of the outermost object */
    bool strict; /* a number that jsonb has no place for is none */
    bool has_id; /* the last member `id` of the outermost object is the string of that id */
    struct stores__key *name; /* of the member that was read last; NULL: it is not a kept one */
};

static inline bool fail(struct decoder *d, const unsigned char *at, const char *wrong) {
    d->at = at;
    d->wrong = wrong;
    return false;
}

static inline void skip_space(struct decoder *d) {
    const unsigned char *at = d->at;
    if (at < d->end && *at == ' ') at++; /* PostgreSQL writes one after ':' and ',' */
    while (at < d->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    d->at = at;
}

/* Pushes the value at d->at. False: d->wrong says why not. */
bool stores__json_read_value(struct decoder *d);
/* The same for a string; d->at: behind the opening quote. */
bool stores__json_read_string(struct decoder *d);
/* The same for the member `id` of the outermost object; says whether it is the id of the row. */
bool stores__json_read_id(struct decoder *d);
/* Pushes the name of a member, and goes to its value. */
bool stores__json_read_name(struct decoder *d);
/* The same as read_value for an array or object, in room that does not depend on its depth. */
bool stores__json_read_deep(struct decoder *d);

#endif

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
/* Moves d->at to the next quote or backslash; what lies before it is valid text. False: there is
 * none. */
bool stores__json_skip_text(struct decoder *d);
/* The same for the member `id` of the outermost object; says whether it is the id of the row. */
bool stores__json_read_id(struct decoder *d);
enum { STORES__NAME_PUSHED = -1, STORES__NAME_FAILED = -2 };
/* The name of a member, d->at being behind its opening quote: the place of a kept one, or it is
 * pushed. expected: the place that it had the last time, which is written there; NULL: nobody
 * knows. */
int stores__json_find_name(struct decoder *d, unsigned char *expected);
/* Pushes the name that is kept at place. */
void stores__json_push_name(struct decoder *d, int place);
/* Before a value is read: gives places that others want to whoever comes first now. */
void stores__json_give_places(struct stores__codec *codec);
/* Pushes the name of a member, and goes to its value. */
bool stores__json_read_name(struct decoder *d);
/* The same as read_value for an array or object, in room that does not depend on its depth. */
bool stores__json_read_deep(struct decoder *d);

#endif

/*
 * names.c - the names of members. Most were read before, and then they need no look into Lua's
 * strings. The documents of a table mostly have the same names in the same order, which is
 * PostgreSQL's: so a name is looked for where the one was that came here the last time.
 */
#include "decoder.h"
#include "keys.h"
#include "shape.h"

/* The name that is kept at place; start: its text, with the quote behind it. */
static int known_name(struct decoder *d, int place, const unsigned char *start) {
    struct stores__key *key = &d->codec->keys[place];
    key->used = true;
    d->at = start + key->len + 1;
    d->at_id = d->depth == 1 && key->len == 2 && memcmp(start, "id", 2) == 0;
    return place;
}

void stores__json_push_name(struct decoder *d, int place) {
    lua_rawgeti(d->L, d->env, STORES__CODEC_KEYS + place);
}

/* Keeps a name where nobody's is; else it may have that place from the next value on. Those that
 * are kept stay as long as a value is read: what gathers is known by their places. */
static int keep_name(struct decoder *d, const struct stores__key *key, int place,
                     const unsigned char *start) {
    struct stores__key *known = &d->codec->keys[place];
    lua_pushlstring(d->L, (const char *)start, key->len);
    if (known->len > 0) {
        known->wanted = d->codec->keys_wanted = true;
        d->at = start + key->len + 1;
        return STORES__NAME_PUSHED;
    }
    lua_rawseti(d->L, d->env, STORES__CODEC_KEYS + place);
    *known = *key;
    return known_name(d, place, start);
}

int stores__json_find_name(struct decoder *d, unsigned char *expected) {
    const unsigned char *start = d->at;
    if (expected != NULL && stores__key_begins(&d->codec->keys[*expected], start, d->end)) {
        return known_name(d, *expected, start);
    }
    struct stores__key key;
    if (!stores__json_skip_text(d)) return STORES__NAME_FAILED;
    if (*d->at != '"' || !stores__key_of(&key, start, (size_t)(d->at - start), d->end)) {
        d->at = start;
        return stores__json_read_string(d) ? STORES__NAME_PUSHED : STORES__NAME_FAILED;
    }
    int place = stores__key_place(d->codec->keys, &key);
    if (expected != NULL) *expected = (unsigned char)place;
    if (stores__key_same(&d->codec->keys[place], &key)) return known_name(d, place, start);
    return keep_name(d, &key, place, start);
}

void stores__json_give_places(struct stores__codec *codec) {
    codec->keys_wanted = false;
    for (int place = 0; place < STORES__KEYS; place++) {
        struct stores__key *key = &codec->keys[place];
        if (!key->wanted) continue;
        key->wanted = false;
        if (!key->used) {
            stores__shapes_forget(codec, place);
            key->len = 0;
        }
        key->used = false;
    }
}

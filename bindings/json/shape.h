/*
 * shape.h - which names come together. An object whose names came often in this order is made by a
 * function of Lua, which copies a table that has the names already: putting them into an empty one,
 * one after the other, is most of what a small object costs.
 */
#ifndef STORES_BINDINGS_JSON_SHAPE_H
#define STORES_BINDINGS_JSON_SHAPE_H

#include "codec.h"

/* The members of an object that is being read, while their values gather on Lua's stack. */
struct stores__members {
    unsigned char places[STORES__SHAPE_MEMBERS]; /* of their names; zeros behind them */
    unsigned char count;
    unsigned hash;
};

static inline void stores__members_add(struct stores__members *members, int place) {
    members->places[members->count++] = (unsigned char)place;
    members->hash = members->hash * 31 + (unsigned)place + 1;
}

/* Puts the table of the members in the place of their values, which are on top of the stack. */
void stores__shape_make(lua_State *L, struct stores__codec *codec, int env,
                        const struct stores__members *members);
/* A kept name has no place any more; nor have the shapes that it is in. */
void stores__shapes_forget(struct stores__codec *codec, int place);

#endif

/*
 * deep.c - arrays and objects however deep they are nested: jsonb takes some ten thousand levels,
 * and json any. Those that are open are in a table, the innermost one is on Lua's stack; each is
 * put into the one around it as soon as it is begun.
 */
#include "decoder.h"

struct deep {
    struct decoder *d;
    int open, inner; /* stack indexes: the table of those around, and the innermost one */
    int count; /* of those around */
    bool array; /* the innermost one is an array */
    int elements; /* that it has so far */
};

/* Pushes an empty one for the bracket at d->at. */
static void push_empty(struct decoder *d) {
    bool array = *d->at++ == '[';
    lua_createtable(d->L, 0, 0);
    if (!array) return;
    lua_pushvalue(d->L, d->array_metatable);
    lua_setmetatable(d->L, -2);
}

/* Stack: the name, in an object, and the value, which go into the innermost one. */
static void put(struct deep *deep) {
    if (deep->array) {
        lua_rawseti(deep->d->L, deep->inner, ++deep->elements);
    } else {
        lua_rawset(deep->d->L, deep->inner);
    }
}

static void enter(struct deep *deep) {
    lua_State *L = deep->d->L;
    bool array = *deep->d->at == '[';
    push_empty(deep->d);
    lua_pushvalue(L, -1);
    if (!deep->array) lua_insert(L, -3); /* below the name, to be left when the name goes */
    put(deep);
    lua_pushvalue(L, deep->inner);
    lua_rawseti(L, deep->open, ++deep->count);
    lua_replace(L, deep->inner);
    deep->array = array;
    deep->elements = 0;
}

static void leave(struct deep *deep) {
    lua_State *L = deep->d->L;
    lua_rawgeti(L, deep->open, deep->count);
    lua_replace(L, deep->inner);
    lua_pushnil(L);
    lua_rawseti(L, deep->open, deep->count--);
    deep->array = lua_getmetatable(L, deep->inner);
    if (deep->array) lua_pop(L, 1);
    deep->elements = deep->array ? (int)lua_objlen(L, deep->inner) : 0;
}

/* A member of the innermost one: where it is an array or object, that one is the innermost then. */
static bool read_member(struct deep *deep, bool *entered) {
    struct decoder *d = deep->d;
    if (!deep->array && !stores__json_read_name(d)) return false;
    if (d->at == d->end) return fail(d, d->at, "unexpected end");
    *entered = *d->at == '[' || *d->at == '{';
    if (*entered) {
        enter(deep);
        return true;
    }
    if (!stores__json_read_value(d)) return false;
    put(deep);
    return true;
}

bool stores__json_read_deep(struct decoder *d) {
    struct deep deep = {.d = d, .array = *d->at == '['};
    enum { FIRST, MEMBER, MORE } next = FIRST;
    bool entered;
    if (!lua_checkstack(d->L, 16)) return fail(d, d->at, "too deep for the stack");
    lua_createtable(d->L, 0, 0);
    deep.open = lua_gettop(d->L);
    push_empty(d);
    deep.inner = deep.open + 1;
    for (;;) {
        skip_space(d);
        if (d->at == d->end) return fail(d, d->at, "unexpected end");
        if (next != MEMBER && *d->at == (deep.array ? ']' : '}')) {
            d->at++;
            if (deep.count == 0) break;
            leave(&deep);
            next = MORE;
        } else if (next == MORE) {
            if (*d->at != ',') return fail(d, d->at, "unexpected character");
            d->at++;
            next = MEMBER;
        } else {
            if (!read_member(&deep, &entered)) return false;
            next = entered ? FIRST : MORE;
        }
    }
    lua_remove(d->L, deep.open);
    return true;
}

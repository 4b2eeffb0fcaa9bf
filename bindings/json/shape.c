/*
 * shape.c - see shape.h. A few shapes are kept, each in one of two places that its names lead to;
 * the one that comes more often stays. What is made for them is never compiled further: a trace
 * that C enters is left at once, which costs more than the few instructions that it has.
 */
#include "shape.h"

#include <stdio.h>

enum { OFTEN = 16 }; /* so often a shape is seen before a function is made for it */

static bool is_of(const struct stores__shape *shape, const struct stores__members *members) {
    return shape->count == members->count &&
           memcmp(shape->places, members->places, sizeof shape->places) == 0;
}

/* Where the shape is kept, or is from now on; -1: those that are there stay. */
static int find(struct stores__codec *codec, const struct stores__members *members) {
    int place = (int)((members->hash ^ members->hash >> 7) % STORES__SHAPES), beside = place ^ 1;
    struct stores__shape *shapes = codec->shapes;
    if (is_of(&shapes[place], members)) return place;
    if (is_of(&shapes[beside], members)) return beside;
    int weaker = shapes[beside].seen < shapes[place].seen ? beside : place;
    if (shapes[weaker].seen > 0) {
        shapes[weaker].seen--;
        return -1;
    }
    memcpy(shapes[weaker].places, members->places, sizeof members->places);
    shapes[weaker].count = members->count;
    shapes[weaker].made = false;
    return weaker;
}

/* Of a name that comes twice the last one counts: such an object is made member by member. */
static bool has_twins(const struct stores__members *members) {
    for (int i = 1; i < members->count; i++) {
        if (memchr(members->places, members->places[i], (size_t)i) != NULL) return true;
    }
    return false;
}

/* The text of the function. Names that are kept need no escapes. */
static size_t write_maker(char *out, size_t room, const struct stores__codec *codec,
                          const struct stores__members *members) {
    size_t len = (size_t)snprintf(out, room, "return function(");
    for (int i = 0; i < members->count; i++) {
        len += (size_t)snprintf(out + len, room - len, i > 0 ? ",v%d" : "v%d", i);
    }
    len += (size_t)snprintf(out + len, room - len, ") return {");
    for (int i = 0; i < members->count; i++) {
        const struct stores__key *key = &codec->keys[members->places[i]];
        len += (size_t)snprintf(out + len, room - len, "[\"%.*s\"]=v%d,", (int)key->len, key->text,
                                i);
    }
    return len + (size_t)snprintf(out + len, room - len, "} end");
}

/* Argument: the text. Returns the function. */
static int load_maker(lua_State *L) {
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    if (luaL_loadbuffer(L, text, len, "=stores.json") != 0) return lua_error(L);
    lua_call(L, 0, 1);
    luaJIT_setmode(L, -1, LUAJIT_MODE_FUNC | LUAJIT_MODE_OFF);
    return 1;
}

/* False: it cannot be made now; inside of a finalizer LuaJIT takes no modes. */
static bool make_maker(lua_State *L, const struct stores__codec *codec, int env, int place,
                       const struct stores__members *members) {
    char text[64 + STORES__SHAPE_MEMBERS * (STORES__KEY_BYTES + 16)];
    size_t len = write_maker(text, sizeof text, codec, members);
    lua_pushcfunction(L, load_maker);
    lua_pushlstring(L, text, len);
    bool ok = lua_pcall(L, 1, 1, 0) == 0;
    if (ok) {
        lua_rawseti(L, env, STORES__CODEC_SHAPES + place);
    } else {
        lua_pop(L, 1);
    }
    return ok;
}

static void make_by_hand(lua_State *L, int env, const struct stores__members *members) {
    int first = lua_gettop(L) - members->count + 1;
    lua_createtable(L, 0, members->count);
    for (int i = 0; i < members->count; i++) {
        lua_rawgeti(L, env, STORES__CODEC_KEYS + members->places[i]);
        lua_pushvalue(L, first + i);
        lua_rawset(L, -3);
    }
    lua_replace(L, first);
    lua_settop(L, first);
}

void stores__shape_make(lua_State *L, struct stores__codec *codec, int env,
                        const struct stores__members *members) {
    int place = find(codec, members);
    struct stores__shape *shape = place >= 0 ? &codec->shapes[place] : NULL;
    if (shape != NULL && shape->seen < UINT8_MAX) shape->seen++;
    if (shape != NULL && !shape->made && shape->seen % OFTEN == 0 && !has_twins(members)) {
        /* a finalizer that read JSON meanwhile may have brought another shape here */
        shape->made = make_maker(L, codec, env, place, members) && is_of(shape, members);
    }
    /* a hook would see the function, and may raise */
    if (shape == NULL || !shape->made || lua_gethook(L) != NULL) {
        make_by_hand(L, env, members);
        return;
    }
    lua_rawgeti(L, env, STORES__CODEC_SHAPES + place);
    lua_insert(L, -1 - members->count);
    lua_call(L, members->count, 1);
}

void stores__shapes_forget(struct stores__codec *codec, int place) {
    for (int i = 0; i < STORES__SHAPES; i++) {
        struct stores__shape *shape = &codec->shapes[i];
        if (memchr(shape->places, place, shape->count) != NULL) memset(shape, 0, sizeof *shape);
    }
}

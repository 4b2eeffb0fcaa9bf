/*
 * decode.c - JSON text as Lua values. Strict: what PostgreSQL would not take as jsonb is not
 * read either.
 *
 * Elements, and the values of members, gather on the Lua stack, so that a small table is made once,
 * in its right size, and by what is known of such ones (shape.h). Deep down, where the stack could
 * run out, they go into the table one by one.
 */
#include <stdio.h>

#include "decimal.h"
#include "decoder.h"
#include "shape.h"
#include "text.h"

#define GATHERED 8 /* elements that wait on the stack */
#define GATHER_DEPTH 24 /* how deep that is done */
/* Room on the stack is asked for in steps of so many members: a coroutine's stack that grew for
 * more than it holds is shrunk by the next collection, and grows again, in turns. */
#define GATHER_STEP 8

static bool read_value(struct decoder *d);

/* ---- Numbers -------------------------------------------------------------------------------- */

/* Any literal, exactly: what the fast path below leaves over. */
static bool read_any_number(struct decoder *d) {
    const char *text = (const char *)d->at;
    struct stores__decimal decimal = stores__json_decimal(text, (const char *)d->end);
    if (decimal.len == 0) return fail(d, d->at, "invalid number");
    if (d->strict && !stores__json_decimal_fits(&decimal)) {
        return fail(d, d->at, "number beyond the range of numeric");
    }
    double value;
    if (stores__json_decimal_exact(&decimal, &value))
        lua_pushnumber(d->L, value);
    else
        stores__json_number_push(d->L, d->env, text, decimal.len);
    d->at += decimal.len;
    return true;
}

/* As much as a division leaves behind the point; of more jsonb may take none. */
enum { PLAIN_FRACTION = 40 };

/* Up to 15 digits with a point anywhere: digits and power of ten are exact as doubles, so one
 * division is, too. Zeros at the end, which numeric keeps of a division, are none of them. */
static bool read_number(struct decoder *d) {
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const unsigned char *at = d->at, *end = d->end;
    bool negative = *at == '-';
    at += negative;
    const unsigned char *whole = at;
    uint64_t digits = 0;
    while (at < end && (unsigned)(*at - '0') < 10) digits = digits * 10 + (*at++ - '0');
    size_t count = (size_t)(at - whole), after = 0;
    if (count == 0 || (*whole == '0' && count > 1)) return read_any_number(d);
    if (at < end && *at == '.') {
        const unsigned char *fraction = ++at;
        while (at < end && (unsigned)(*at - '0') < 10) at++;
        if (at == fraction || at - fraction > PLAIN_FRACTION) return read_any_number(d);
        after = (size_t)(at - fraction);
        while (after > 0 && fraction[after - 1] == '0') after--;
        for (size_t i = 0; i < after; i++) digits = digits * 10 + (fraction[i] - '0');
    }
    if (count + after > 15 || (at < end && (*at | 0x20) == 'e')) return read_any_number(d);
    double value = (double)digits / powers[after];
    lua_pushnumber(d->L, negative && digits ? -value : value);
    d->at = at;
    return true;
}

/* ---- Arrays and objects --------------------------------------------------------------------- */

static bool make_room(struct decoder *d, int slots) {
    return lua_checkstack(d->L, slots) || fail(d, d->at, "too deep for the stack");
}

static bool enter(struct decoder *d) {
    d->depth++;
    if (!make_room(d, 8)) return false;
    d->at++;
    skip_space(d);
    return true;
}

/* The usual case of a ':' or ',', as PostgreSQL writes it: nothing before it, and one space behind
 * it. True: d->at is at what follows. */
static inline bool pass(struct decoder *d, unsigned char mark) {
    const unsigned char *at = d->at;
    if (d->end - at < 3 || at[0] != mark || at[1] != ' ' || at[2] <= ' ') return false;
    d->at = at + 2;
    return true;
}

/* Behind a member: true where another one follows. */
static bool more(struct decoder *d, unsigned char closing, bool *failed) {
    if (pass(d, ',')) return true;
    skip_space(d);
    if (d->at < d->end && *d->at == ',') {
        d->at++;
        skip_space(d);
        return true;
    }
    if (d->at < d->end && *d->at == closing)
        d->at++;
    else
        *failed = !fail(d, d->at, d->at == d->end ? "unexpected end" : "unexpected character");
    return false;
}

/* Puts the elements that lie from base on into a new array, which takes their place. */
static void gather_array(struct decoder *d, int base, int count, int room) {
    lua_State *L = d->L;
    lua_createtable(L, room, 0);
    lua_pushvalue(L, d->array_metatable);
    lua_setmetatable(L, -2);
    if (count == 0) return;
    lua_insert(L, base);
    for (int i = count; i > 0; i--) lua_rawseti(L, base, i);
}

static bool read_array(struct decoder *d) {
    lua_State *L = d->L;
    int base = lua_gettop(L) + 1, count = 0;
    int gathered = d->depth < GATHER_DEPTH ? GATHERED : 0;
    if (!enter(d)) return false;
    bool failed = false, table = false;
    if (d->at < d->end && *d->at == ']') {
        d->at++;
    } else {
        do {
            if (!table && count == gathered) {
                gather_array(d, base, count, 2 * count);
                table = true;
            } else if (!table && count % GATHER_STEP == 0 && !make_room(d, GATHER_STEP + 8)) {
                return false;
            }
            if (!read_value(d)) return false;
            count++;
            if (table) lua_rawseti(L, base, count);
        } while (more(d, ']', &failed));
        if (failed) return false;
    }
    if (!table) gather_array(d, base, count, count);
    d->depth--;
    return true;
}

/* The same for the members that gathered, of which those behind them take no part; of a name that
 * comes twice the last one counts. on_top: how many values lie behind them, which stay on top. */
static void gather_object(struct decoder *d, int base, const struct stores__members *members,
                          int on_top) {
    lua_State *L = d->L;
    lua_createtable(L, 0, members->count + GATHERED / 2);
    lua_insert(L, base);
    for (int i = 0; i < members->count; i++) {
        stores__json_push_name(d, members->places[i]);
        lua_pushvalue(L, base + 1 + i);
        lua_rawset(L, base);
    }
    if (on_top > 0 && members->count > 0) lua_replace(L, base + 1);
    lua_settop(L, base + on_top);
}

static int read_member_name(struct decoder *d, unsigned char *expected) {
    if (d->at == d->end) return fail(d, d->at, "unexpected end"), STORES__NAME_FAILED;
    if (*d->at != '"') return fail(d, d->at, "unexpected character"), STORES__NAME_FAILED;
    d->at++;
    int place = stores__json_find_name(d, expected);
    if (place == STORES__NAME_FAILED || pass(d, ':')) return place;
    skip_space(d);
    if (d->at == d->end) return fail(d, d->at, "unexpected end"), STORES__NAME_FAILED;
    if (*d->at != ':') return fail(d, d->at, "unexpected character"), STORES__NAME_FAILED;
    d->at++;
    skip_space(d);
    return place;
}

/* Where is written which name the last object of this depth began with. */
static unsigned char *first_name(struct decoder *d) {
    return d->depth <= STORES__KEY_DEPTHS ? &d->codec->first[d->depth - 1] : NULL;
}

/* The members of an object that has some. Their values gather on the stack from base on, as long as
 * their names are kept ones; then, at base, is the table. */
static bool read_members(struct decoder *d, int base) {
    lua_State *L = d->L;
    struct stores__members members = {.count = 0};
    int most = d->depth <= GATHER_DEPTH ? STORES__SHAPE_MEMBERS : 0;
    bool failed = false, table = false;
    unsigned char *expected = first_name(d);
    do {
        int place = read_member_name(d, expected);
        if (place == STORES__NAME_FAILED) return false;
        if (!table && (place == STORES__NAME_PUSHED || members.count == most)) {
            gather_object(d, base, &members, place == STORES__NAME_PUSHED);
            table = true;
        } else if (!table && members.count % GATHER_STEP == 0 && !make_room(d, GATHER_STEP + 8)) {
            return false;
        }
        if (table && place >= 0) stores__json_push_name(d, place);
        if (!(d->at_id ? stores__json_read_id(d) : read_value(d))) return false;
        if (table) {
            lua_rawset(L, base);
        } else {
            stores__members_add(&members, place);
        }
        expected = place >= 0 ? &d->codec->keys[place].next : NULL;
    } while (more(d, '}', &failed));
    if (failed) return false;
    if (!table) stores__shape_make(L, d->codec, d->env, &members);
    return true;
}

static bool read_object(struct decoder *d) {
    int base = lua_gettop(d->L) + 1;
    if (!enter(d)) return false;
    if (d->at < d->end && *d->at == '}') {
        d->at++;
        lua_createtable(d->L, 0, 0);
    } else if (!read_members(d, base)) {
        return false;
    }
    d->depth--;
    return true;
}

/* ---- Values --------------------------------------------------------------------------------- */

static bool read_word(struct decoder *d, const char *word, size_t len) {
    if ((size_t)(d->end - d->at) < len || memcmp(d->at, word, len) != 0)
        return fail(d, d->at, "unexpected character");
    d->at += len;
    return true;
}

static bool read_value(struct decoder *d) {
    if (d->at == d->end) return fail(d, d->at, "unexpected end");
    switch (*d->at) {
    case '"': d->at++; return stores__json_read_string(d);
    case '{': return d->depth < STORES__JSON_STACKED ? read_object(d) : stores__json_read_deep(d);
    case '[': return d->depth < STORES__JSON_STACKED ? read_array(d) : stores__json_read_deep(d);
    case 't':
        if (!read_word(d, "true", 4)) return false;
        lua_pushboolean(d->L, 1);
        return true;
    case 'f':
        if (!read_word(d, "false", 5)) return false;
        lua_pushboolean(d->L, 0);
        return true;
    case 'n':
        if (!read_word(d, "null", 4)) return false;
        lua_pushlightuserdata(d->L, NULL);
        return true;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return read_number(d);
    default: return fail(d, d->at, "unexpected character");
    }
}

bool stores__json_read_value(struct decoder *d) {
    return read_value(d);
}

bool stores__json_read_name(struct decoder *d) {
    int place = read_member_name(d, NULL);
    if (place >= 0) stores__json_push_name(d, place);
    return place != STORES__NAME_FAILED;
}

/* Pushes the value of the text, or the message. */
static int decode(struct decoder *d, const char *text, size_t len) {
    lua_State *L = d->L;
    luaL_checkstack(L, 16, "JSON");
    lua_rawgeti(L, d->env, STORES__CODEC_ARRAY);
    d->array_metatable = lua_gettop(L);
    d->start = d->at = (const unsigned char *)text;
    d->end = d->start + len;

    /* what gathers for who reads around this one is known by the places of its names */
    const char *here = __builtin_frame_address(0), *around = d->codec->reader;
    bool inside = stores__json_inside(around, here);
    if (!inside && d->codec->keys_wanted) stores__json_give_places(d->codec);
    if (!inside) d->codec->reader = here;
    skip_space(d);
    bool ok = read_value(d);
    if (!inside) d->codec->reader = NULL;
    if (ok) {
        skip_space(d);
        if (d->at < d->end) ok = fail(d, d->at, "text behind the value");
    }
    if (ok) {
        lua_replace(L, d->array_metatable);
        return 0;
    }
    lua_settop(L, d->array_metatable - 1);
    char place[32];
    snprintf(place, sizeof place, "%zu", (size_t)(d->at - d->start) + 1);
    lua_pushfstring(L, "invalid JSON at byte %s: %s", place, d->wrong);
    return STORES__JSON_REFUSED;
}

int stores__json_decode(lua_State *L, struct stores__codec *codec, int env, const char *text,
                        size_t len) {
    struct decoder d = {.L = L, .codec = codec, .env = env};
    return decode(&d, text, len);
}

int stores__json_decode_document(lua_State *L, struct stores__codec *codec, int env,
                                 const char *text, size_t len, int64_t id, int own, bool *has_id) {
    struct decoder d = {.L = L, .codec = codec, .env = env, .id = id, .own = own};
    size_t at = 0;
    while (at < len && (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r'))) at++;
    bool object = at < len && text[at] == '{';
    int refused = decode(&d, text, len);
    *has_id = d.has_id;
    if (refused || object) return refused;
    lua_pop(L, 1);
    return STORES__JSON_NOT_A_DOCUMENT;
}

/* Upvalues: the codec, its environment. What is read here is to be stored: as jsonb. */
int stores__json_decode_lua(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct decoder d = {.L = L, .strict = true};
    d.codec = lua_touserdata(L, lua_upvalueindex(1));
    d.env = lua_upvalueindex(2);
    lua_settop(L, 1);
    if (decode(&d, text, len) == 0) return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

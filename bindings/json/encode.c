/*
 * encode.c - Lua values as JSON text. One pass over each table decides what it is while it is
 * written; only arrays that Lua keeps out of order take a second.
 *
 * Nothing here may leave by an error of Lua's except through the protected call that
 * stores__json_encode makes, for the buffer is the caller's.
 */
#include <math.h>

#include "decimal.h"
#include "digits.h"
#include "encoder.h"
#include "text.h"

#define STACK_LEVELS 16 /* the Lua stack grows for so many levels at once */
#define STACK_SLOTS 6
/* Text from which on an array or object is measured: the least text that a byte of jsonb comes from
 * is a sixth of one ("1," makes an entry of 4 and a number of 8). */
#define LARGE (STORES__JSONB_MOST / 8)

static bool encode_value(struct encoder *e);
static bool encode_foreign(struct encoder *e, const char *kind);

_Static_assert(STORES__JSON_WRITE_DEPTH <= STORES__JSON_PATH_LEVELS, "a path holds every level");

/* ---- Strings -------------------------------------------------------------------------------- */

/* Writes a string with its quotes. There is room for two characters more then. */
static inline enum fault put_string(struct encoder *e, const char *text, size_t len) {
    if (len > STORES__JSONB_MOST) return FAULT_LONG;
    if (!room(e, len + 16)) return FAULT_REFUSED;
    char *out = e->buf->data + e->buf->len;
    out[0] = '"';
    if (!stores__text_copy_plain(out + 1, (const unsigned char *)text, len))
        return stores__json_put_escaped(e, (const unsigned char *)text, len);
    out[len + 1] = '"';
    e->buf->len += len + 2;
    return FAULT_NONE;
}

static bool encode_string(struct encoder *e) {
    size_t len;
    const char *text = lua_tolstring(e->L, -1, &len);
    switch (put_string(e, text, len)) {
    case FAULT_NONE: return true;
    case FAULT_UTF8: return stores__json_refuse(e, e->level, "string that is not UTF-8");
    case FAULT_NUL: return stores__json_refuse(e, e->level, "string with \\u0000");
    case FAULT_LONG: return stores__json_refuse(e, e->level, "string of more than 256 MB");
    default: return false;
    }
}

/* The key of the table whose level is given. A wrong key is no part of the path. */
static bool encode_key(struct encoder *e, struct stores__json_level *level) {
    switch (put_string(e, level->key, level->key_len)) {
    case FAULT_NONE: e->buf->data[e->buf->len++] = ':'; return true;
    case FAULT_UTF8: return stores__json_refuse(e, level->up, "key that is not UTF-8");
    case FAULT_NUL: return stores__json_refuse(e, level->up, "key with \\u0000");
    case FAULT_LONG: return stores__json_refuse(e, level->up, "key of more than 256 MB");
    default: return false;
    }
}

/* ---- Numbers -------------------------------------------------------------------------------- */

static bool encode_number(struct encoder *e) {
    double value = lua_tonumber(e->L, -1);
    if (isnan(value)) return stores__json_refuse(e, e->level, "NaN");
    if (isinf(value)) return stores__json_refuse(e, e->level, "infinity");
    if (!room(e, STORES__DIGITS_ROOM)) return false;
    e->buf->len += stores__digits_write(e->buf->data + e->buf->len, value);
    return true;
}

static bool encode_userdata(struct encoder *e) {
    size_t len;
    const char *text = stores__json_number_text(e->L, e->codec, -1, &len);
    if (!text) return encode_foreign(e, "userdata");
    struct stores__decimal decimal = stores__json_decimal(text, text + len);
    if (!stores__json_decimal_fits(&decimal))
        return stores__json_refuse(e, e->level, "number beyond the range of numeric");
    return put_text(e, text, len);
}

/* The value on top of the stack is an int64_t or uint64_t, or refused. */
static bool encode_cdata(struct encoder *e) {
    lua_State *L = e->L;
    lua_rawgeti(L, e->env, STORES__CODEC_CDATA);
    lua_pushvalue(L, -2);
    lua_call(L, 1, 1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (!text)
        return stores__json_refuse(e, e->level,
                                   "cdata; of a shared document stores.clone gives a table");
    bool ok = put_text(e, text, len);
    if (ok) lua_pop(L, 1);
    return ok;
}

/* ---- Tables --------------------------------------------------------------------------------- */

static const char mixed[] = "table with array and other keys";
static const char sparse[] = "sparse array; the names of an object are strings";

/* What is wrong with a table that has the key on top of the stack, beside what it should be. */
static const char *wrong_key(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TSTRING: return mixed;
    case LUA_TNUMBER: {
        double key = lua_tonumber(L, index);
        return key >= 1 && key == floor(key) ? sparse : "key that is no array index";
    }
    case LUA_TBOOLEAN: return "key of type boolean";
    case LUA_TTABLE: return "key of type table";
    case LUA_TFUNCTION: return "key of type function";
    case LUA_TTHREAD: return "key of type thread";
    case LUA_TLIGHTUSERDATA:
    case LUA_TUSERDATA: return "key of type userdata";
    default: return "key of type cdata";
    }
}

/* The whole table by its indexes, for it is no sequence in the order in which Lua walks it. */
static bool encode_shuffled(struct encoder *e, struct stores__json_level *level, int table) {
    lua_State *L = e->L;
    size_t count = 0;
    double highest = 0;
    const char *wrong = NULL;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        const char *other = wrong_key(L, -1);
        double key = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (other != sparse && (!wrong || other == mixed)) wrong = other;
        if (key > highest) highest = key;
        count++;
    }
    if (wrong) return stores__json_refuse(e, level->up, wrong);
    if ((double)count != highest) return stores__json_refuse(e, level->up, sparse);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, table, (int)i);
        level->index = i;
        if (i > 1 && !put(e, ',')) return false;
        if (!encode_value(e)) return false;
        lua_pop(L, 1);
    }
    return put(e, ']');
}

/* Stack: the first key and value. */
static bool encode_array(struct encoder *e, struct stores__json_level *level, int table) {
    lua_State *L = e->L;
    size_t start = e->buf->len;
    if (!put(e, '[')) return false;
    level->key = NULL;
    level->index = 0;
    do {
        if (lua_type(L, -2) != LUA_TNUMBER || lua_tonumber(L, -2) != (double)(level->index + 1)) {
            lua_pop(L, 2);
            e->buf->len = start + 1;
            return encode_shuffled(e, level, table);
        }
        if (level->index++ > 0 && !put(e, ',')) return false;
        if (!encode_value(e)) return false;
        lua_pop(L, 1);
    } while (lua_next(L, table));
    return put(e, ']');
}

/* Notes the member whose key was written last. False: those of this object are too many, or its key
 * has escapes, so that the text does not show the order. */
static inline bool note_member(struct encoder *e, const struct stores__json_level *level,
                               size_t start) {
    if (e->member_count == MEMBERS_MOST || e->buf->len - start != level->key_len + 3) return false;
    e->members[e->member_count++] = (struct member){.start = start, .key_len = level->key_len};
    return true;
}

/* Stack: the first key and value. */
static bool encode_object(struct encoder *e, struct stores__json_level *level, int table) {
    lua_State *L = e->L;
    char before = '{';
    int first = e->member_count;
    bool noted = true;
    do {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pushvalue(L, -2);
            const char *wrong = wrong_key(L, -1);
            return stores__json_refuse(e, level->up, wrong == sparse ? mixed : wrong);
        }
        level->key = lua_tolstring(L, -2, &level->key_len);
        if (!put(e, before)) return false;
        size_t start = e->buf->len;
        if (!encode_key(e, level)) return false;
        noted = noted && note_member(e, level, start);
        if (!encode_value(e)) return false;
        before = ',';
        lua_pop(L, 1);
    } while (lua_next(L, table));
    if (noted && !stores__json_arrange(e, first)) return false;
    e->member_count = first;
    return put(e, '}');
}

/* What the table on top is by its metatable. */
static enum stores__foreign marked_as(struct encoder *e) {
    if (!lua_getmetatable(e->L, -1)) return STORES__FOREIGN_UNKNOWN;
    if (lua_topointer(e->L, -1) != e->codec->array_metatable) {
        return stores__json_foreign(e->L, e->env, false);
    }
    lua_pop(e->L, 1);
    return STORES__FOREIGN_ARRAY;
}

/* An empty table is an object where nothing says otherwise; another library's might be anything. */
static bool encode_empty(struct encoder *e, enum stores__foreign mark) {
    if (mark == STORES__FOREIGN_UNKNOWN && lua_getmetatable(e->L, -1)) {
        return stores__json_refuse(e, e->level, "empty table with a foreign metatable");
    }
    return put_text(e, mark == STORES__FOREIGN_ARRAY ? "[]" : "{}", 2);
}

/* What is no table and no value of ours: a null or an empty array of another library. */
static bool encode_foreign(struct encoder *e, const char *kind) {
    switch (stores__json_foreign(e->L, e->env, true)) {
    case STORES__FOREIGN_ARRAY: return put_text(e, "[]", 2);
    case STORES__FOREIGN_NULL: return put_text(e, "null", 4);
    default: return stores__json_refuse(e, e->level, kind);
    }
}

static bool fits_jsonb(struct encoder *e, size_t start) {
    if (stores__json_size(e->buf->data + start, e->buf->data + e->buf->len) <= STORES__JSONB_MOST)
        return true;
    return stores__json_refuse(e, e->level, "more than 256 MB of jsonb");
}

static bool encode_table(struct encoder *e) {
    lua_State *L = e->L;
    struct stores__json_level level = {.up = e->level, .table = lua_topointer(L, -1)};
    for (struct stores__json_level *up = e->level; up; up = up->up)
        if (up->table == level.table) return stores__json_refuse(e, e->level, "cycle");
    if (e->depth == STORES__JSON_WRITE_DEPTH)
        return stores__json_refuse(e, e->level, "deeper than 512 levels");

    if (e->depth % STACK_LEVELS == 0)
        luaL_checkstack(L, STACK_LEVELS * STACK_SLOTS, "cannot store the value");
    int table = lua_gettop(L);
    enum stores__foreign mark = marked_as(e);
    if (mark == STORES__FOREIGN_NULL) return put_text(e, "null", 4);
    if (mark == STORES__FOREIGN_OTHER) {
        return stores__json_refuse(e, e->level,
                                   "table that another JSON library writes in its own way");
    }
    lua_pushnil(L);
    if (!lua_next(L, table)) return encode_empty(e, mark);

    e->depth++;
    e->level = &level;
    size_t start = e->buf->len;
    bool array = mark == STORES__FOREIGN_ARRAY ||
                 (mark == STORES__FOREIGN_UNKNOWN && lua_type(L, -2) == LUA_TNUMBER);
    bool ok = array ? encode_array(e, &level, table) : encode_object(e, &level, table);
    e->level = level.up;
    e->depth--;
    return ok && (e->buf->len - start <= LARGE || fits_jsonb(e, start));
}

/* The value on top of the stack, which stays there. False: a message is on top instead. */
static bool encode_value(struct encoder *e) {
    lua_State *L = e->L;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: return encode_string(e);
    case LUA_TNUMBER: return encode_number(e);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? put_text(e, "true", 4) : put_text(e, "false", 5);
    case LUA_TTABLE: return encode_table(e);
    case LUA_TLIGHTUSERDATA:
        return lua_touserdata(L, -1) ? encode_foreign(e, "userdata") : put_text(e, "null", 4);
    case LUA_TUSERDATA: return encode_userdata(e);
    case LUA_TFUNCTION: return stores__json_refuse(e, e->level, "function");
    case LUA_TTHREAD: return stores__json_refuse(e, e->level, "thread");
    case LUA_TNIL: return stores__json_refuse(e, e->level, "nil");
    default: return encode_cdata(e);
    }
}

/* ---- Entry ---------------------------------------------------------------------------------- */

/* Upvalue: the codec. Stack: the environment, the value. Returns nothing, or the message. */
int stores__json_encode_protected(lua_State *L) {
    struct stores__codec *codec = lua_touserdata(L, lua_upvalueindex(1));
    struct encoder *e = codec->call;
    e->L = L;
    e->env = 1;
    return encode_value(e) ? 0 : 1;
}

/* Nothing before the protected call allocates, not even room for a pointer. */
int stores__json_encode(lua_State *L, int index, struct stores__buf *buf) {
    if (index < 0 && index > LUA_REGISTRYINDEX) index = lua_gettop(L) + index + 1;
    size_t start = buf->len;
    bool failed = buf->failed;
    struct member members[MEMBERS_MOST];
    struct encoder e = {.buf = buf, .codec = stores__json_codec(L), .members = members};
    lua_rawgeti(L, -1, STORES__CODEC_ENCODE);
    lua_insert(L, -2);
    lua_pushvalue(L, index);
    e.codec->call = &e;
    int raised = lua_pcall(L, 2, 1, 0);
    if (raised == 0 && lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    buf->len = start;
    buf->failed = failed;
    return raised ? STORES__JSON_NO_MEMORY : STORES__JSON_REFUSED;
}

/* Upvalues: the codec, its environment. */
int stores__json_encode_lua(lua_State *L) {
    struct stores__codec *codec = lua_touserdata(L, lua_upvalueindex(1));
    struct member members[MEMBERS_MOST];
    struct encoder e = {.L = L, .codec = codec, .env = lua_upvalueindex(2), .members = members};
    lua_settop(L, 1);
    e.buf = stores__json_take(L, codec, e.env);
    lua_pushvalue(L, 1);
    if (encode_value(&e)) {
        lua_pushlstring(L, e.buf->data, e.buf->len);
        stores__json_give(codec, e.buf);
        return 1;
    }
    stores__json_give(codec, e.buf);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

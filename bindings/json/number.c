/*
 * number.c - stores.json.number: a decimal that no double carries, kept as its digits. It
 * prints and compares as the decimal it is, and refuses arithmetic, which would round.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "codec.h"
#include "decimal.h"
#include "digits.h"

struct number {
    size_t len;
    char text[]; /* NUL-terminated, for those who look with a debugger */
};

void stores__json_number_push(lua_State *L, int env, const char *text, size_t len) {
    struct number *number = lua_newuserdata(L, sizeof *number + len + 1);
    number->len = len;
    memcpy(number->text, text, len);
    number->text[len] = 0;
    lua_rawgeti(L, env, STORES__CODEC_NUMBER);
    lua_setmetatable(L, -2);
}

const char *stores__json_number_text(lua_State *L, struct stores__codec *codec, int index,
                                     size_t *len) {
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
    bool is_number = lua_topointer(L, -1) == codec->number_metatable;
    lua_pop(L, 1);
    if (!is_number) return NULL;
    struct number *number = lua_touserdata(L, index);
    *len = number->len;
    return number->text;
}

static struct number *check_number(lua_State *L, int index) {
    struct stores__codec *codec = stores__json_codec(L);
    lua_pop(L, 1);
    size_t len;
    if (!stores__json_number_text(L, codec, index, &len))
        luaL_argerror(L, index, "a stores.json.number is expected");
    return lua_touserdata(L, index);
}

/* The text of a Lua number, a 64-bit cdata, a stores.json.number or a string, at index; room holds
 * it where nothing else does. NULL: something else. May replace the value at index by a string. */
static const char *text_of(lua_State *L, int index, char *room, size_t *len) {
    struct stores__codec *codec = stores__json_codec(L);
    int env = lua_gettop(L);
    const char *text = NULL;
    int type = lua_type(L, index);
    if (type == LUA_TNUMBER) {
        double value = lua_tonumber(L, index);
        if (isfinite(value)) {
            *len = stores__digits_write(room, value);
            text = room;
        }
    } else if (type == LUA_TSTRING) {
        text = lua_tolstring(L, index, len);
    } else if (type == LUA_TUSERDATA) {
        text = stores__json_number_text(L, codec, index, len);
    } else if (type > LUA_TTHREAD) {
        lua_rawgeti(L, env, STORES__CODEC_CDATA);
        lua_pushvalue(L, index);
        lua_call(L, 1, 1);
        if (lua_isstring(L, -1)) {
            lua_replace(L, index);
            text = lua_tolstring(L, index, len);
        }
    }
    lua_settop(L, env - 1);
    return text;
}

int stores__json_number_new(lua_State *L) {
    char room[STORES__DIGITS_ROOM];
    size_t len;
    lua_settop(L, 1);
    const char *text = text_of(L, 1, room, &len);
    if (!text || stores__json_decimal(text, text + len).len != len || len == 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "not the text of a JSON number");
        return 2;
    }
    stores__json_codec(L);
    stores__json_number_push(L, lua_gettop(L), text, len);
    return 1;
}

int stores__json_number_is(lua_State *L) {
    struct stores__codec *codec = stores__json_codec(L);
    size_t len;
    lua_pushboolean(L, stores__json_number_text(L, codec, 1, &len) != NULL);
    return 1;
}

static int number_tostring(lua_State *L) {
    struct number *number = check_number(L, 1);
    lua_pushlstring(L, number->text, number->len);
    return 1;
}

/* The nearest double; infinite beyond all of them. Without a point strtod needs no locale. */
static int number_tonumber(lua_State *L) {
    struct number *number = check_number(L, 1);
    struct stores__decimal decimal = stores__json_decimal(number->text, number->text + number->len);
    luaL_Buffer digits;
    luaL_buffinit(L, &digits);
    int64_t count = 0;
    for (const char *at = decimal.digits; at < decimal.end; at++) {
        if (*at == '.') continue;
        luaL_addchar(&digits, *at);
        count++;
    }
    if (count == 0) luaL_addchar(&digits, '0');
    char exponent[32];
    snprintf(exponent, sizeof exponent, "e%" PRId64, decimal.lead - count);
    luaL_addstring(&digits, exponent);
    luaL_pushresult(&digits);
    int saved = errno;
    double value = strtod(lua_tostring(L, -1), NULL);
    errno = saved;
    lua_pushnumber(L, decimal.negative && value != 0 ? -value : value);
    return 1;
}

/* False where the value at index is not a number nor the text of one. */
static bool decimal_of(lua_State *L, int index, char *room, struct stores__decimal *decimal) {
    size_t len;
    const char *text = text_of(L, index, room, &len);
    if (!text || len == 0) return false;
    *decimal = stores__json_decimal(text, text + len);
    return decimal->len == len;
}

static int compare_values(lua_State *L) {
    char rooms[2][STORES__DIGITS_ROOM];
    struct stores__decimal a, b;
    lua_settop(L, 2);
    if (!decimal_of(L, 1, rooms[0], &a)) luaL_argerror(L, 1, "a number or its text is expected");
    if (!decimal_of(L, 2, rooms[1], &b)) luaL_argerror(L, 2, "a number or its text is expected");
    return stores__json_decimal_compare(&a, &b);
}

static int number_compare(lua_State *L) {
    lua_pushinteger(L, compare_values(L));
    return 1;
}

static int number_eq(lua_State *L) {
    char rooms[2][STORES__DIGITS_ROOM];
    struct stores__decimal a, b;
    lua_settop(L, 2);
    lua_pushboolean(L, decimal_of(L, 1, rooms[0], &a) && decimal_of(L, 2, rooms[1], &b) &&
                           stores__json_decimal_compare(&a, &b) == 0);
    return 1;
}

static int number_lt(lua_State *L) {
    lua_pushboolean(L, compare_values(L) < 0);
    return 1;
}

static int number_le(lua_State *L) {
    lua_pushboolean(L, compare_values(L) <= 0);
    return 1;
}

static int number_concat(lua_State *L) {
    for (int i = 1; i <= 2; i++) {
        char room[STORES__DIGITS_ROOM];
        size_t len;
        if (lua_type(L, i) == LUA_TUSERDATA) {
            const char *text = text_of(L, i, room, &len);
            if (text) {
                lua_pushlstring(L, text, len);
                lua_replace(L, i);
            }
        }
        if (!lua_isstring(L, i))
            return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, i));
    }
    lua_settop(L, 2);
    lua_concat(L, 2);
    return 1;
}

static int number_arithmetic(lua_State *L) {
    return luaL_error(L, "no arithmetic on a stores.json.number: a double does not carry its "
                         "digits; say :tonumber() to round it");
}

void stores__json_number_open(lua_State *L, struct stores__codec *codec) {
    static const luaL_Reg methods[] = {
        {"compare", number_compare},   {"eq", number_eq}, {"tonumber", number_tonumber},
        {"tostring", number_tostring}, {NULL, NULL},
    };
    static const luaL_Reg metamethods[] = {
        {"__tostring", number_tostring},
        {"__eq", number_eq},
        {"__lt", number_lt},
        {"__le", number_le},
        {"__concat", number_concat},
        {"__add", number_arithmetic},
        {"__sub", number_arithmetic},
        {"__mul", number_arithmetic},
        {"__div", number_arithmetic},
        {"__mod", number_arithmetic},
        {"__pow", number_arithmetic},
        {"__unm", number_arithmetic},
        {NULL, NULL},
    };
    int env = lua_gettop(L);
    lua_createtable(L, 0, 16);
    luaL_register(L, NULL, metamethods);
    lua_createtable(L, 0, 4);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "stores.json.number");
    lua_setfield(L, -2, "__name");
    codec->number_metatable = lua_topointer(L, -1);
    lua_rawseti(L, env, STORES__CODEC_NUMBER);
}

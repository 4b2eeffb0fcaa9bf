/* result_rows.c - rows of any columns, as Lua values. */
#include <stdio.h>

#include "json/codec.h"
#include "result.h"

/* pg_type oids that are more than text to Lua (src/include/catalog/pg_type.dat). */
enum {
    TYPE_BOOL = 16,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_OID = 26,
    TYPE_JSON = 114,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_NUMERIC = 1700,
    TYPE_JSONB = 3802
};

static int decode(lua_State *L, const char *text, size_t len) {
    return stores__json_decode(L, lua_touserdata(L, lua_upvalueindex(1)), lua_upvalueindex(2), text,
                               len);
}

/* NaN and the infinities are numbers to PostgreSQL and to Lua, though not to JSON. */
static void push_number(lua_State *L, const char *text, size_t len) {
    if (decode(L, text, len) == 0) return;
    lua_pop(L, 1);
    if (strcmp(text, "NaN") == 0) {
        lua_pushnumber(L, (lua_Number)__builtin_nan(""));
    } else if (strcmp(text, "Infinity") == 0) {
        lua_pushnumber(L, (lua_Number)__builtin_inf());
    } else if (strcmp(text, "-Infinity") == 0) {
        lua_pushnumber(L, -(lua_Number)__builtin_inf());
    } else {
        lua_pushlstring(L, text, len);
    }
}

/* Stack: what is wrong with it. */
static void refuse_column(lua_State *L, struct stores__slot *slot, int row, int column) {
    stores_error error = {.code = STORES_UNREADABLE};
    snprintf(error.message, sizeof error.message,
             "the column \"%.100s\" of row %d of the answer cannot be read: %s",
             stores_op_column(slot->op, column), row + 1, lua_tostring(L, -1));
    snprintf(error.hint, sizeof error.hint, "%s", stores__result_raw_hint);
    stores__result_raise(L, slot, &error, NULL, row + 1);
}

static void push_value(lua_State *L, struct stores__slot *slot, int row, int column) {
    size_t len = 0;
    const char *text = stores_op_value(slot->op, row, column, &len);
    if (text == NULL) {
        lua_pushlightuserdata(L, NULL);
        return;
    }
    switch (stores_op_column_type(slot->op, column)) {
    case TYPE_BOOL: lua_pushboolean(L, text[0] == 't'); break;
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_OID:
    case TYPE_INT8:
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
    case TYPE_NUMERIC: push_number(L, text, len); break;
    case TYPE_JSON:
    case TYPE_JSONB:
        if (!slot->raw) {
            if (decode(L, text, len) != 0) refuse_column(L, slot, row, column);
            break;
        } /* fall through */
    default: lua_pushlstring(L, text, len);
    }
}

int stores__result_rows(lua_State *L, struct stores__slot *slot) {
    int rows = stores_op_rows(slot->op), columns = stores_op_columns(slot->op);
    lua_createtable(L, rows, 0);
    for (int row = 0; row < rows; row++) {
        lua_createtable(L, 0, columns);
        for (int column = 0; column < columns; column++) {
            lua_pushstring(L, stores_op_column(slot->op, column));
            push_value(L, slot, row, column);
            lua_rawset(L, -3);
        }
        lua_rawseti(L, -2, row + 1);
    }
    stores__result_mark(L, STORES__CODEC_ROWS);
    lua_rawgeti(L, lua_upvalueindex(2), STORES__CODEC_AFFECTED);
    lua_pushvalue(L, -2);
    lua_pushnumber(L, (lua_Number)stores_op_affected(slot->op));
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_pushnumber(L, (lua_Number)stores_op_affected(slot->op));
    return 2;
}

int stores__result_columns(lua_State *L, struct stores__slot *slot) {
    int rows = stores_op_rows(slot->op), columns = stores_op_columns(slot->op);
    luaL_checkstack(L, columns + 4, "columns");
    lua_pushnumber(L, (lua_Number)stores_op_affected(slot->op));
    for (int column = 0; column < columns; column++) {
        lua_createtable(L, rows, 0);
        for (int row = 0; row < rows; row++) {
            const char *text = stores_op_value(slot->op, row, column, NULL);
            lua_pushstring(L, text);
            if (text == NULL) lua_pushboolean(L, 0), lua_replace(L, -2);
            lua_rawseti(L, -2, row + 1);
        }
    }
    return columns + 1;
}

/* What a call gave, as Lua values; decoded in the coroutine of the caller. All in here runs in
 * hub_result, whose upvalues are the codec and its environment. What raises frees the slot first;
 * where Lua runs out of memory, or a finalizer raises, in the middle of a document, it stays until the
 * hub is closed. */
#include <stdio.h>

#include "binding.h"

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

static void raise_freed(lua_State *L, struct stores__slot *slot, stores_code code,
                        const char *format, const char *text) {
    stores_error error = {.code = code, .shard = -1};
    snprintf(error.message, sizeof error.message, format, text);
    stores__slot_free(slot);
    stores__error_push(L, &error);
    lua_error(L);
}

/* Pushes the document of a row. False: its value is none, and nothing is pushed. */
static bool push_document(lua_State *L, struct stores__slot *slot, const char *text, size_t len,
                          bool *lacks_id) {
    *lacks_id = false;
    if (slot->raw) {
        lua_pushlstring(L, text, len);
        return true;
    }
    int rc = stores__json_decode_document(L, lua_touserdata(L, lua_upvalueindex(1)),
                                          lua_upvalueindex(2), text, len, lacks_id);
    if (rc == STORES__JSON_NOT_A_DOCUMENT) return false;
    if (rc != 0) raise_freed(L, slot, STORES_INTERNAL, "%s", lua_tostring(L, -1));
    return true;
}

/* Stack: the id. */
static void refuse_document(lua_State *L, struct stores__slot *slot) {
    const char *id = lua_tostring(L, -1);
    raise_freed(L, slot, STORES_NOT_A_DOCUMENT, "the value of the row %s is not an object",
                id ? id : "NULL");
}

/* Pushes the document of the op at index, or nothing_there. */
static void push_doc(lua_State *L, struct stores__slot *slot, size_t index, bool nothing) {
    const char *text;
    size_t len;
    int64_t id;
    bool lacks_id;
    if (stores_op_document(slot->op, index, &id, &text, &len)) {
        if (!push_document(L, slot, text, len, &lacks_id)) {
            stores__id_push(L, id);
            refuse_document(L, slot);
        }
        if (lacks_id) {
            stores__id_push(L, id);
            lua_setfield(L, -2, "id");
        }
    } else if (nothing) {
        lua_pushnil(L);
    } else {
        lua_pushboolean(L, 0);
    }
}

static int push_documents(lua_State *L, struct stores__slot *slot) {
    size_t count = stores_op_document_count(slot->op);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_doc(L, slot, i, false);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int push_select(lua_State *L, struct stores__slot *slot) {
    int rows = stores_op_rows(slot->op);
    lua_createtable(L, rows, 0);
    for (int row = 0; row < rows; row++) {
        size_t len = 0;
        const char *id = stores_op_value(slot->op, row, 0, NULL);
        const char *text = stores_op_value(slot->op, row, 1, &len);
        if (text == NULL && slot->raw) {
            text = "null";
            len = 4;
        }
        bool lacks_id = false;
        if (text == NULL || !push_document(L, slot, text, len, &lacks_id)) {
            lua_pushstring(L, id);
            refuse_document(L, slot);
        }
        if (lacks_id) {
            lua_pushstring(L, id);
            lua_setfield(L, -2, "id");
        }
        lua_rawseti(L, -2, row + 1);
    }
    /* where the next batch of a keyset begins */
    lua_pushstring(L, rows > 0 ? stores_op_value(slot->op, rows - 1, 0, NULL) : NULL);
    return 2;
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
            if (decode(L, text, len) != 0) {
                raise_freed(L, slot, STORES_INTERNAL, "%s", lua_tostring(L, -1));
            }
            break;
        } /* fall through */
    default: lua_pushlstring(L, text, len);
    }
}

static int push_rows(lua_State *L, struct stores__slot *slot) {
    int rows = stores_op_rows(slot->op), columns = stores_op_columns(slot->op);
    lua_createtable(L, rows, 1);
    for (int row = 0; row < rows; row++) {
        lua_createtable(L, 0, columns);
        for (int column = 0; column < columns; column++) {
            lua_pushstring(L, stores_op_column(slot->op, column));
            push_value(L, slot, row, column);
            lua_rawset(L, -3);
        }
        lua_rawseti(L, -2, row + 1);
    }
    lua_pushnumber(L, (lua_Number)stores_op_affected(slot->op));
    lua_setfield(L, -2, "affected");
    return 1;
}

static int push_values(lua_State *L, struct stores__slot *slot) {
    switch (slot->kind) {
    case SLOT_DOCUMENT: push_doc(L, slot, 0, true); return 1;
    case SLOT_DOCUMENTS: return push_documents(L, slot);
    case SLOT_CHANGE:
        lua_pushboolean(L, stores_op_affected(slot->op) > 0);
        lua_pushboolean(L, stores_op_inserted(slot->op));
        push_doc(L, slot, 0, true);
        return 3;
    case SLOT_SELECT: return push_select(L, slot);
    case SLOT_ROWS: return push_rows(L, slot);
    case SLOT_COUNT: lua_pushnumber(L, (lua_Number)stores_op_affected(slot->op)); return 1;
    default: lua_pushboolean(L, 1); return 1;
    }
}

static int result_push(lua_State *L, struct stores__slot *slot) {
    struct stores__hub *hub = slot->hub;
    const stores_error *error = slot->op ? stores_op_error(slot->op) : NULL;
    uint64_t began = 0;
    if (hub->timed) {
        hub->source = slot->op ? stores_op_source(slot->op) : '\0';
        hub->decode = 0;
        if (slot->op != NULL) stores_op_times(slot->op, &hub->times);
        began = uv_hrtime();
    }
    if (error != NULL) {
        stores__error_push(L, error);
        stores__slot_free(slot);
        return lua_error(L);
    }
    int values = push_values(L, slot);
    if (began > 0) hub->decode = (double)(uv_hrtime() - began) / 1e9;
    stores__slot_free(slot);
    return values;
}

/* hub:result(slot) -> the values of the call; raises its error. The slot is free afterwards. */
static int hub_result(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    struct stores__slot *slot = stores__slot_check(L, hub, 2);
    if (slot->state == SLOT_PENDING) {
        return stores__raise(L, STORES_INTERNAL, "the call is not done");
    }
    return result_push(L, slot);
}

void stores__result_register(lua_State *L) {
    luaL_getmetatable(L, STORES__HUB);
    lua_getfield(L, -1, "__index");
    lua_pushlightuserdata(L, stores__json_codec(L));
    lua_insert(L, -2);
    lua_pushcclosure(L, hub_result, 2);
    lua_setfield(L, -2, "result");
    lua_pop(L, 2);
}

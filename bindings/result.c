/* What a call gave, as Lua values; decoded in the coroutine of the caller. */
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

static int refuse_document(lua_State *L, const char *id) {
    return stores__raise(L, STORES_NOT_A_DOCUMENT, "the value of the row %s is not an object", id);
}

static void push_id_text(char out[24], int64_t id) {
    char digits[24];
    uint64_t rest = id < 0 ? (uint64_t)0 - (uint64_t)id : (uint64_t)id;
    int n = 0;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    char *at = out;
    if (id < 0) *at++ = '-';
    while (n > 0) *at++ = digits[--n];
    *at = '\0';
}

static void push_document(lua_State *L, const char *text, size_t len, const char *id, bool raw) {
    if (raw) {
        lua_pushlstring(L, text, len);
        return;
    }
    int rc = stores__json_decode_document(L, text, len, id);
    if (rc == STORES__JSON_NOT_A_DOCUMENT) refuse_document(L, id);
    if (rc != 0) stores__raise(L, STORES_INTERNAL, "%s", lua_tostring(L, -1));
}

/* Pushes the document of the op at index, or nothing_there. */
static void push_doc(lua_State *L, const struct stores__slot *slot, size_t index, bool nothing) {
    const char *text;
    size_t len;
    int64_t id;
    char id_text[24];
    if (stores_op_document(slot->op, index, &id, &text, &len)) {
        push_id_text(id_text, id);
        push_document(L, text, len, id_text, slot->raw);
    } else if (nothing) {
        lua_pushnil(L);
    } else {
        lua_pushboolean(L, 0);
    }
}

static int push_documents(lua_State *L, const struct stores__slot *slot) {
    size_t count = stores_op_document_count(slot->op);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_doc(L, slot, i, false);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int push_select(lua_State *L, const struct stores__slot *slot) {
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
        if (text == NULL) refuse_document(L, id ? id : "NULL");
        push_document(L, text, len, id, slot->raw);
        lua_rawseti(L, -2, row + 1);
    }
    /* where the next batch of a keyset begins */
    lua_pushstring(L, rows > 0 ? stores_op_value(slot->op, rows - 1, 0, NULL) : NULL);
    return 2;
}

/* NaN and the infinities are numbers to PostgreSQL and to Lua, though not to JSON. */
static void push_number(lua_State *L, const char *text, size_t len) {
    if (stores__json_decode(L, text, len) == 0) return;
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

static void push_value(lua_State *L, const struct stores__slot *slot, int row, int column) {
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
            if (stores__json_decode(L, text, len) != 0) {
                stores__raise(L, STORES_INTERNAL, "%s", lua_tostring(L, -1));
            }
            break;
        } /* fall through */
    default: lua_pushlstring(L, text, len);
    }
}

static int push_rows(lua_State *L, const struct stores__slot *slot) {
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

static int push_values(lua_State *L, const struct stores__slot *slot) {
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

static int protected_values(lua_State *L) {
    const struct stores__slot *slot = lua_touserdata(L, 1);
    lua_settop(L, 0);
    return push_values(L, slot);
}

int stores__result_push(lua_State *L, struct stores__slot *slot) {
    const stores_error *error = slot->op ? stores_op_error(slot->op) : NULL;
    if (error != NULL) {
        stores__error_push(L, error);
        stores__slot_free(slot);
        return lua_error(L);
    }
    struct stores__hub *hub = slot->hub;
    uint64_t began = 0;
    if (hub->timed && slot->op != NULL) {
        stores_op_times(slot->op, &hub->times);
        hub->source = stores_op_source(slot->op);
        began = uv_hrtime();
    }
    /* a document that cannot be read raises, and its slot is freed all the same */
    lua_settop(L, 0);
    lua_pushcfunction(L, protected_values);
    lua_pushlightuserdata(L, slot);
    int failed = lua_pcall(L, 1, LUA_MULTRET, 0);
    if (began > 0) hub->decode = (double)(uv_hrtime() - began) / 1e9;
    stores__slot_free(slot);
    if (failed) return lua_error(L);
    return lua_gettop(L);
}

/* result.c - what a call gave, as Lua values; decoded in the coroutine of the caller. All in here
 * runs in hub_result, whose upvalues are the codec and its environment. What raises frees the slot
 * first; where Lua runs out of memory, or a finalizer raises, in the middle of a document, it stays
 * until the hub is closed. */
#include <stdio.h>

#include "json/codec.h"
#include "result.h"
#include "values/ids.h"

/* Where hub_result has the string that a document was asked for by, the array of those that several
 * were asked for by, or nil. */
enum { OWN = 3 };

void stores__result_mark(lua_State *L, int mark) {
    lua_rawgeti(L, lua_upvalueindex(2), mark);
    lua_setmetatable(L, -2);
}

void stores__result_raise(lua_State *L, struct stores__slot *slot, stores_error *error,
                          const char *row, int index) {
    error->shard = -1;
    error->outcome = slot->commits ? STORES_OUTCOME_COMMITTED : STORES_OUTCOME_NONE;
    stores__error_push(L, error);
    if (row != NULL) {
        lua_pushstring(L, row);
        lua_setfield(L, -2, "row");
    }
    if (index > 0) {
        lua_pushinteger(L, index);
        lua_setfield(L, -2, "index");
    }
    stores__slot_free(slot); /* the row's id may lie in the result, which goes with it */
    stores__error_throw(L);
}

const char stores__result_raw_hint[] = "{raw = true} gives the JSON text as it is stored";

/* One row, as it came from the core: its id as a number (0: it is none that one could ask for) or
 * as text (NULL: to be written from the number). */
struct row {
    int64_t id;
    const char *id_text;
    const char *text;
    size_t len;
    int index; /* among those that came, from 1; 0: alone */
    int own; /* where the string is that it was asked for by; 0: nowhere */
};

/* The id as text, on the stack where it came as a number. */
static const char *id_of(lua_State *L, const struct row *row) {
    if (row->id_text != NULL) return row->id_text;
    stores__id_push(L, row->id);
    return lua_tostring(L, -1);
}

static void refuse_document(lua_State *L, struct stores__slot *slot, const struct row *row) {
    stores_error error = {.code = STORES_NOT_A_DOCUMENT};
    const char *id = id_of(L, row);
    snprintf(error.message, sizeof error.message, "the value of the row %s is not an object", id);
    stores__result_raise(L, slot, &error, id, row->index);
}

/* Stack: what is wrong with it. */
static void refuse_text(lua_State *L, struct stores__slot *slot, const struct row *row) {
    stores_error error = {.code = STORES_UNREADABLE};
    const char *why = lua_tostring(L, -1), *id = id_of(L, row);
    snprintf(error.message, sizeof error.message, "the value of the row %s cannot be read: %s", id,
             why);
    snprintf(error.hint, sizeof error.hint, "%s", stores__result_raw_hint);
    stores__result_raise(L, slot, &error, id, row->index);
}

/* Pushes the document of a row, its `id` being the row's whatever is stored. */
static void push_document(lua_State *L, struct stores__slot *slot, const struct row *row) {
    if (slot->raw) {
        lua_pushlstring(L, row->text, row->len);
        return;
    }
    bool has_id = false;
    int rc = stores__json_decode_document(L, lua_touserdata(L, lua_upvalueindex(1)),
                                          lua_upvalueindex(2), row->text, row->len, row->id,
                                          row->own, &has_id);
    if (rc == STORES__JSON_NOT_A_DOCUMENT) refuse_document(L, slot, row);
    if (rc != 0) refuse_text(L, slot, row);
    if (has_id) return;
    if (row->id_text != NULL) {
        lua_pushstring(L, row->id_text);
    } else {
        stores__id_push(L, row->id);
    }
    lua_setfield(L, -2, "id");
}

/* Pushes the document of the op at index, or nothing_there. own: where the string may be that it
 * was asked for by. */
static void push_doc(lua_State *L, struct stores__slot *slot, size_t index, int own, bool nothing) {
    struct row row = {.index = nothing ? 0 : (int)index + 1};
    row.own = lua_type(L, own) == LUA_TSTRING ? own : 0;
    if (stores_op_document(slot->op, index, &row.id, &row.text, &row.len)) {
        push_document(L, slot, &row);
    } else if (nothing) {
        lua_pushnil(L);
    } else {
        lua_pushboolean(L, 0);
    }
}

/* As headers of HTTP have it. */
static void push_etag(lua_State *L, const char *etag) {
    if (etag[0] == '\0') {
        lua_pushnil(L);
    } else {
        lua_pushfstring(L, "\"%s\"", etag);
    }
}

static int push_found(lua_State *L, struct stores__slot *slot) {
    char etag[STORES_ETAG_SIZE];
    if (!slot->etag) {
        push_doc(L, slot, 0, OWN, true);
        return 1;
    }
    if (stores_op_etag(slot->op, 0, etag) && strcmp(etag, slot->unless) == 0) {
        lua_pushboolean(L, 1);
    } else {
        push_doc(L, slot, 0, OWN, true);
    }
    push_etag(L, etag);
    return 2;
}

static int push_hinted(lua_State *L, struct stores__slot *slot) {
    push_doc(L, slot, 0, OWN, true);
    lua_pushboolean(L, stores_op_affected(slot->op) > 0);
    return 2;
}

static int push_change(lua_State *L, struct stores__slot *slot) {
    char etag[STORES_ETAG_SIZE];
    bool moved = stores_op_id(slot->op) != slot->id;
    if (slot->etag) stores_op_etag(slot->op, 0, etag);
    lua_pushboolean(L, stores_op_affected(slot->op) > 0);
    lua_pushboolean(L, stores_op_inserted(slot->op));
    if (slot->quiet) {
        lua_pushnil(L);
    } else {
        push_doc(L, slot, 0, OWN, true);
    }
    if (!moved && !slot->etag) return 3;
    if (moved) {
        stores__id_push(L, stores_op_id(slot->op));
    } else {
        lua_pushnil(L);
    }
    if (!slot->etag) return 4;
    push_etag(L, etag);
    return 5;
}

static int push_documents(lua_State *L, struct stores__slot *slot) {
    size_t count = stores_op_document_count(slot->op);
    bool owned = lua_istable(L, OWN);
    lua_createtable(L, (int)count, 0);
    int list = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        if (owned) lua_rawgeti(L, OWN, (int)i + 1);
        push_doc(L, slot, i, owned ? list + 1 : OWN, false);
        lua_rawseti(L, list, (int)i + 1);
        if (owned) lua_pop(L, 1);
    }
    return 1;
}

/* An id and, where the statement gave them, the values of the keys of its order. */
static void push_place(lua_State *L, struct stores__slot *slot, int at, int rows, int column) {
    bool is_there = at >= 0 && at < rows && column < stores_op_columns(slot->op);
    lua_pushstring(L, is_there ? stores_op_value(slot->op, at, column, NULL) : NULL);
}

/* A column of all rows. */
static void push_places(lua_State *L, struct stores__slot *slot, int rows, int column) {
    bool is_there = column < stores_op_columns(slot->op);
    lua_createtable(L, rows, 0);
    for (int at = 0; at < rows; at++) {
        const char *text = is_there ? stores_op_value(slot->op, at, column, NULL) : NULL;
        if (text != NULL) {
            lua_pushstring(L, text);
        } else {
            lua_pushboolean(L, false);
        }
        lua_rawseti(L, -2, at + 1);
    }
}

static int push_select(lua_State *L, struct stores__slot *slot) {
    int all = stores_op_rows(slot->op);
    int rows = slot->most >= 0 && slot->most < all ? slot->most : all;
    lua_createtable(L, rows, 0);
    for (int at = 0; at < rows; at++) {
        size_t id_len = 0;
        struct row row = {.index = at + 1};
        row.id_text = stores_op_value(slot->op, at, 0, &id_len);
        row.text = stores_op_value(slot->op, at, 1, &row.len);
        if (row.id_text == NULL) {
            row.id_text = "NULL"; /* of a view */
        } else if (!stores_id_parse(row.id_text, id_len, &row.id, NULL)) {
            row.id = 0;
        }
        if (row.text == NULL && !slot->raw) refuse_document(L, slot, &row);
        if (row.text == NULL) row.text = "null", row.len = 4;
        push_document(L, slot, &row);
        lua_rawseti(L, -2, at + 1);
    }
    stores__result_mark(L, STORES__CODEC_ARRAY);
    if (slot->places) {
        push_places(L, slot, rows, 0);
        push_places(L, slot, rows, 2);
        return 3;
    }
    /* where the next batch of a keyset begins */
    push_place(L, slot, rows - 1, rows, 0);
    if (slot->most < 0 && stores_op_columns(slot->op) < 3) return 2;
    lua_pushboolean(L, rows < all);
    push_place(L, slot, rows - 1, rows, 2);
    push_place(L, slot, 0, rows, 0);
    push_place(L, slot, 0, rows, 2);
    return 6;
}

static int push_texts(lua_State *L, struct stores__slot *slot) {
    size_t count = stores_op_document_count(slot->op);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        const char *text = NULL;
        size_t len = 0;
        if (!stores_op_document(slot->op, i, NULL, &text, &len)) continue;
        lua_pushlstring(L, text, len);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_pushnumber(L, (lua_Number)count);
    return 2;
}

static int push_values(lua_State *L, struct stores__slot *slot) {
    switch (slot->kind) {
    case SLOT_DOCUMENT: return push_found(L, slot);
    case SLOT_HINTED: return push_hinted(L, slot);
    case SLOT_DOCUMENTS: return push_documents(L, slot);
    case SLOT_CHANGE: return push_change(L, slot);
    case SLOT_SELECT: return push_select(L, slot);
    case SLOT_ROWS: return stores__result_rows(L, slot);
    case SLOT_TEXTS: return push_texts(L, slot);
    case SLOT_COLUMNS: return stores__result_columns(L, slot);
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
        return stores__error_throw(L);
    }
    int values = push_values(L, slot);
    if (began > 0) hub->decode = (double)(uv_hrtime() - began) / 1e9;
    stores__slot_free(slot);
    return values;
}

/* hub:result(slot, id, ids or nil) -> the values of the call; raises its error. The slot is
 * free. */
static int hub_result(lua_State *L) {
    lua_settop(L, OWN);
    struct stores__slot *slot = stores__slot_check(L, stores__hub_check(L, 1), 2);
    if (slot->state == SLOT_PENDING)
        return stores__raise(L, STORES_INTERNAL, "the call is not done");
    return result_push(L, slot);
}

void stores__result_register(lua_State *L) {
    luaL_getmetatable(L, STORES__HUB);
    lua_getfield(L, -1, "__index");
    lua_pushlightuserdata(L, stores__json_codec(L));
    lua_insert(L, -2);
    lua_pushcclosure(L, hub_result, 2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "result");
    lua_setfield(L, -4, "result");
    lua_pop(L, 2);
}

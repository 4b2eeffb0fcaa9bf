/* held.c - rows that the engine holds in memory: read without a slot, for nothing is waited for. */
#include "json/codec.h"
#include "store/engine.h"
#include "values/args.h"

/* 1: the row; 0: there is none, and nil was pushed; -1: it is not known, and false was. */
static int look(lua_State *L, int64_t *id, stores_held *row) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *table = stores__table_check(L, 2);
    *id = stores__id_check(L, 3, &engine->shard);
    stores__engine_open(L, engine);
    int found = stores_held_find(engine->engine, table, *id, row);
    if (found == 0) lua_pushnil(L);
    if (found < 0) lua_pushboolean(L, 0);
    return found;
}

/* Whatever allocates in Lua may run a finalizer of the program's that has the row go: so its text
 * is copied before it is read. The memory for that is kept from one row to the next. */
struct copy {
    struct stores__buf buf; /* first: the copy has the finalizer of one */
    const char *reader; /* where on C's stack it is read; NULL: nowhere */
};

enum { KEPT = 64 * 1024 };

/* As look. False: no memory, which is told as what is not known. */
static bool take(lua_State *L, struct copy *copy, int64_t *id, stores_held *row, int *found) {
    *found = look(L, id, row);
    if (*found <= 0) return true;
    copy->buf.len = 0;
    stores__buf_add(&copy->buf, row->text, row->len);
    row->text = stores__buf_text(&copy->buf);
    return row->text != NULL;
}

/* The same where a finalizer reads a row while another one is read: the memory is the collector's,
 * and pushed. To make it may run one more. */
static int take_inside(lua_State *L, int64_t *id, stores_held *row) {
    for (;;) {
        int found = look(L, id, row);
        if (found <= 0) return found;
        size_t len = row->len;
        char *text = lua_newuserdata(L, len + 1);
        found = look(L, id, row);
        if (found <= 0) return found;
        if (row->len == len) {
            row->text = memcpy(text, row->text, len);
            return found;
        }
        lua_pop(L, 1);
    }
}

/* Pushes the document of a row, or its text. */
static void push(lua_State *L, const stores_held *row, int64_t id, bool raw) {
    if (raw) {
        lua_pushlstring(L, row->text, row->len);
        return;
    }
    bool has_id = false;
    int top = lua_gettop(L);
    int rc = stores__json_decode_document(L, lua_touserdata(L, lua_upvalueindex(1)),
                                          lua_upvalueindex(2), row->text, row->len, id,
                                          lua_type(L, 3) == LUA_TSTRING ? 3 : 0, &has_id);
    if (rc != 0) { /* who asks for the row hears what is wrong with it */
        lua_settop(L, top);
        lua_pushboolean(L, 0);
    } else if (!has_id) {
        stores__id_push(L, id);
        lua_setfield(L, -2, "id");
    }
}

/* engine:held(table, id, raw) -> the document; nil: there is no such row; false: that is not known,
 * and the row is to be asked for. */
static int engine_held(lua_State *L) {
    struct copy *copy = lua_touserdata(L, lua_upvalueindex(3));
    const char *here = __builtin_frame_address(0);
    stores_held row = STORES_HELD_INIT;
    int64_t id;
    int found;
    lua_settop(L, 4);
    if (stores__json_inside(copy->reader, here)) {
        if (take_inside(L, &id, &row) > 0) push(L, &row, id, lua_toboolean(L, 4));
        return 1;
    }
    if (!take(L, copy, &id, &row, &found)) {
        stores__buf_free(&copy->buf);
        lua_pushboolean(L, 0);
    } else if (found > 0) {
        copy->reader = here;
        push(L, &row, id, lua_toboolean(L, 4));
        copy->reader = NULL;
        if (copy->buf.cap > KEPT) stores__buf_free(&copy->buf);
    }
    return 1;
}

/* engine:held_mark(table, id, which, mark) -> the slot of the row, which has that mark from now on,
 * and how many bytes it has; nil and false as above */
static int engine_held_mark(lua_State *L) {
    stores_held row = STORES_HELD_INIT;
    int64_t id;
    lua_Integer which = luaL_checkinteger(L, 4), mark = luaL_checkinteger(L, 5);
    luaL_argcheck(L, which >= 0 && which < STORES_HELD_MARKS, 4, "there is no such mark");
    if (look(L, &id, &row) <= 0) return 1;
    row.marks[which] = (uint32_t)mark;
    lua_pushnumber(L, (lua_Number)row.slot);
    lua_pushnumber(L, (lua_Number)row.len);
    return 2;
}

/* engine:held_free_slots() -> those that rows had, and none has now */
static int engine_held_free_slots(lua_State *L) {
    const struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const uint32_t *slots;
    lua_createtable(L, (int)stores_held_free_slots(engine->engine, &slots), 0);
    stores__engine_open(L, engine);
    size_t count = stores_held_free_slots(engine->engine, &slots); /* a finalizer may have run */
    for (size_t i = 0; i < count; i++) {
        lua_pushnumber(L, (lua_Number)slots[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* The slot of a row that is held as it was when it had that mark; 0: it is not. A function of C, by
 * FFI, for LuaJIT compiles such a call, and decoded documents are found in no other way once they
 * are known: by names and ids that held_mark has taken. */
static int slot_of(const struct stores__lua_engine *engine, const char *table, const char *id,
                   int which, unsigned mark) {
    stores_held row = STORES_HELD_INIT;
    int64_t number;
    if (engine->engine == NULL || !stores_id_parse(id, strlen(id), &number, NULL)) return 0;
    if (stores_held_find(engine->engine, table, number, &row) <= 0) return 0;
    return row.marks[which] == mark ? (int)row.slot : 0;
}

/* engine:held_slot_of() -> slot_of, as a light userdata */
static int engine_held_slot_of(lua_State *L) {
    int (*fn)(const struct stores__lua_engine *, const char *, const char *, int,
              unsigned) = slot_of;
    void *address;
    memcpy(&address, &fn, sizeof address); /* which C leaves undefined as a cast, and POSIX not */
    stores__engine_check(L, 1);
    lua_pushlightuserdata(L, address);
    return 1;
}

/* engine:hold(table): of stores that may be closed by now, or the parent's */
static int engine_hold(lua_State *L) {
    const struct stores__lua_engine *engine = luaL_checkudata(L, 1, STORES__ENGINE);
    const char *table = stores__table_check(L, 2);
    if (engine->engine == NULL || engine->hub->process != stores__process()) return 0;
    lua_pushboolean(L, stores_hold(engine->engine, table));
    return 1;
}

void stores__held_register(lua_State *L) {
    luaL_getmetatable(L, STORES__ENGINE);
    lua_getfield(L, -1, "__index");
    lua_pushlightuserdata(L, stores__json_codec(L));
    lua_insert(L, -2);
    struct copy *copy = lua_newuserdata(L, sizeof *copy);
    memset(copy, 0, sizeof *copy);
    stores__json_buffer_metatable(L);
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, engine_held, 3);
    lua_setfield(L, -2, "held");
    lua_pushcfunction(L, engine_held_mark);
    lua_setfield(L, -2, "held_mark");
    lua_pushcfunction(L, engine_held_free_slots);
    lua_setfield(L, -2, "held_free_slots");
    lua_pushcfunction(L, engine_held_slot_of);
    lua_setfield(L, -2, "held_slot_of");
    lua_pushcfunction(L, engine_hold);
    lua_setfield(L, -2, "hold");
    lua_pop(L, 2);
}

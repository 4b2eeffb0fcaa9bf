/*
 * test_json_codec.c - the codec's C entry points: what the stack and the buffer are left as, also
 * when memory runs out at every place where it can. Links bindings/json, core/base/base.c, LuaJIT.
 */
#include <lauxlib.h>
#include <lualib.h>

#include "check.h"
#include "json/codec.h"

/* Lua's memory, of which the last allocation of `left` fails; -1: none does. */
static long left = -1;

static void *allocate(void *unused, void *ptr, size_t old, size_t size) {
    (void)unused;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    if (left >= 0 && size > (ptr ? old : 0) && left-- == 0) {
        left = 0;
        return NULL;
    }
    return realloc(ptr, size);
}

static lua_State *open_state(void) {
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L) L = luaL_newstate(); /* builds that take no other allocator */
    luaL_openlibs(L);
    stores__json_open(L);
    stores__json_open(L);
    return L;
}

static void push(lua_State *L, const char *expression) {
    lua_pushfstring(L, "return %s", expression);
    if (luaL_loadstring(L, lua_tostring(L, -1)) || lua_pcall(L, 0, 1, 0))
        printf("%s\n", lua_tostring(L, -1));
    lua_remove(L, -2);
}

static void test_encode(void) {
    lua_State *L = open_state();
    struct stores__buf buf = {0};
    int top = lua_gettop(L);

    stores__buf_str(&buf, "head:");
    push(L, "{1, {a = 'x'}}");
    CHECK_INT(stores__json_encode(L, -1, &buf), 0);
    CHECK_STR(stores__buf_text(&buf), "head:[1,{\"a\":\"x\"}]");
    CHECK_INT(lua_gettop(L), top + 1);
    CHECK_INT(stores__json_encode(L, top + 1, &buf), 0);
    CHECK_STR(stores__buf_text(&buf), "head:[1,{\"a\":\"x\"}][1,{\"a\":\"x\"}]");
    lua_settop(L, top);

    buf.len = 5;
    push(L, "{1, {a = print}}");
    CHECK_INT(stores__json_encode(L, -1, &buf), STORES__JSON_REFUSED);
    CHECK_STR(lua_tostring(L, -1), "cannot store [2].a: function");
    CHECK_INT(lua_gettop(L), top + 2);
    CHECK_STR(stores__buf_text(&buf), "head:");
    stores__buf_free(&buf);
    lua_close(L);
}

static int decode(lua_State *L, const char *text, size_t len) {
    struct stores__codec *codec = stores__json_codec(L);
    int result = stores__json_decode(L, codec, lua_gettop(L), text, len);
    lua_remove(L, -2);
    return result;
}

/* own: the index of what the row was asked for by, or 0. */
static int decode_document(lua_State *L, const char *text, size_t len, int own, bool *has_id) {
    struct stores__codec *codec = stores__json_codec(L);
    int env = lua_gettop(L);
    int result = stores__json_decode_document(L, codec, env, text, len, 8, own, has_id);
    lua_remove(L, env);
    return result;
}

static void test_decode(void) {
    lua_State *L = open_state();
    int top = lua_gettop(L);

    CHECK_INT(decode(L, "[1]garbage", 3), 0);
    CHECK(lua_istable(L, -1));
    CHECK_INT(lua_gettop(L), top + 1);
    lua_settop(L, top);
    CHECK_INT(decode(L, "[1", 2), STORES__JSON_REFUSED);
    CHECK_STR(lua_tostring(L, -1), "invalid JSON at byte 3: unexpected end");
    CHECK_INT(lua_gettop(L), top + 1);
    lua_close(L);
}

/* Asked for by nobody, by the id itself, and by others, which nobody would. */
static void check_document(lua_State *L, const char *text, bool has) {
    static const char *const asked[] = {NULL, "8", "80", ""};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        int top = lua_gettop(L);
        bool has_id = !has;
        if (asked[i] != NULL) lua_pushstring(L, asked[i]);
        int own = asked[i] != NULL ? lua_gettop(L) : 0;
        CHECK_INT(decode_document(L, text, strlen(text), own, &has_id), 0);
        CHECK_INT(lua_gettop(L), top + 1 + (own > 0));
        CHECK_INT(has_id, has);
        if (has) {
            lua_getfield(L, -1, "id");
            CHECK_STR(lua_tostring(L, -1), "8");
        }
        lua_settop(L, top);
    }
}

static void test_document(void) {
    static const char *const others[] = {"[]", "[{\"id\":1}]", "1", "\"{}\"", "null", " true"};
    lua_State *L = open_state();
    int top = lua_gettop(L);
    bool has_id;

    check_document(L, "{}", false);
    check_document(L, " {\"a\": 1}", false);
    check_document(L, "{\"id\": \"8\", \"name\": \"longer than a key\"}", true);
    check_document(L, "{\"id\":\"8\",\"name\":\"longer than a key\"}", true);
    check_document(L, "{\"name\": \"a\", \"id\": \"9\", \"id\": \"8\", \"after\": \"it\"}", true);
    check_document(L, "{\"name\": \"a\", \"id\": \"8\", \"id\": \"9\", \"after\": \"it\"}", false);
    check_document(L, "{\"id\": \"9\", \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"id\": 8, \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"id\": null, \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"id\": \"08\", \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"id\": \"8 \", \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"inner\": {\"id\": \"8\"}, \"name\": \"longer than a key\"}", false);
    check_document(L, "{\"idle\": 1, \"name\": \"longer than a key\"}", false);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK_INT(decode_document(L, others[i], strlen(others[i]), 0, &has_id),
                  STORES__JSON_NOT_A_DOCUMENT);
        CHECK_INT(lua_gettop(L), top);
    }
    CHECK_INT(decode_document(L, "{", 1, 0, &has_id), STORES__JSON_REFUSED);
    CHECK_INT(lua_gettop(L), top + 1);
    lua_close(L);
}

static const char document[] =
    "{\"a\": [1, 2.5, 9007199254740993, \"x\\n\", {\"b\": [[], {}, null]}], \"long\": \"\\t"
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\"}";

static int decode_both(lua_State *L) {
    CHECK_INT(decode(L, document, sizeof document - 1), 0);
    return 1;
}

/* Every allocation fails once. The sanitizer tells whether anything leaked. */
static void test_memory(void) {
    lua_State *L = open_state();
    int top = lua_gettop(L);
    long fails = 0;
    bool done = false;

    while (!done && fails < 1000) {
        lua_gc(L, LUA_GCCOLLECT, 0);
        lua_pushcfunction(L, decode_both);
        left = fails++;
        int raised = lua_pcall(L, 0, 1, 0);
        done = left > 0 || !raised;
        left = -1;
        CHECK_INT(lua_gettop(L), top + 1);
        if (raised) lua_settop(L, top);
    }
    CHECK(done);
    CHECK(lua_istable(L, top + 1));

    push(L, "(function() local t = {} for i = 1, 500 do t = {t} end return {t, 5LL, print} end)()");
    push(L, "{5LL, ('x'):rep(1000), {('\\n'):rep(1000)}}");
    for (long i = 0; i < 50; i++) {
        struct stores__buf buf = {0};
        int at = lua_gettop(L);
        lua_gc(L, LUA_GCCOLLECT, 0);
        left = i;
        int refused = stores__json_encode(L, at - 1, &buf);
        left = -1;
        CHECK(refused == STORES__JSON_REFUSED || refused == STORES__JSON_NO_MEMORY);
        CHECK_INT(lua_gettop(L), at + 1);
        CHECK_INT(buf.len, 0);
        lua_settop(L, at);
        left = i;
        int encoded = stores__json_encode(L, at, &buf);
        left = -1;
        CHECK(encoded == 0 || encoded == STORES__JSON_NO_MEMORY);
        CHECK_INT(lua_gettop(L), encoded ? at + 1 : at);
        lua_settop(L, at);
        stores__buf_free(&buf);
    }
    lua_close(L);
}

static size_t size_of(const char *text) {
    return stores__json_size(text, text + strlen(text));
}

/* A word for each array, object, name and value, the strings, and six bytes for a number at
 * least. */
static void test_size(void) {
    CHECK_INT(size_of("[]"), 4);
    CHECK_INT(size_of("{}"), 4);
    CHECK_INT(size_of("[\"abc\"]"), 4 + 4 + 3);
    CHECK_INT(size_of("[\"a\\\"\\u0001\\n\"]"), 4 + 4 + 4);
    CHECK_INT(size_of("[1,-2.5e10,true,false,null]"), 4 + 5 * 4 + 2 * 6);
    CHECK_INT(size_of("{\"ab\":\"c\"}"), 4 + 2 * 4 + 3);
    CHECK_INT(size_of("{\"ab\":[[],{\"d\":\"]\"}]}"),
              4 + 4 + 2 + (4 + 4) + (4 + 4) + (4 + 4) + 4 + 1 + 4 + 1);
}

/* Called in a protected call, and from a deeper frame than what comes after it. */
static int run_out(lua_State *L) {
    char room[4096];
    memset(room, 0, sizeof room);
    luaL_checkstack(L, 2, room);
    lua_getfield(L, 1, "run");
    lua_pushvalue(L, 2);
    left = lua_tointeger(L, 3);
    lua_call(L, 1, 0);
    return room[0];
}

/* An error of Lua's in the middle of a value leaves nothing that those behind it would suffer. */
static void test_left_behind(const char *name, const char *argument) {
    lua_State *L = open_state();
    lua_newtable(L);
    stores__json_fields(L, -1);
    int module = lua_gettop(L), failed = 0;
    lua_getfield(L, module, name);
    lua_setfield(L, module, "run");
    struct stores__codec *codec = stores__json_codec(L);
    for (long until = 0; until < 40; until++) {
        lua_pushcfunction(L, run_out);
        lua_pushvalue(L, module);
        push(L, argument);
        lua_pushinteger(L, until);
        bool raised = lua_pcall(L, 3, 0, 0) != 0;
        left = -1;
        if (raised) failed++;
        lua_settop(L, module + 1);
        lua_getfield(L, module, name);
        push(L, argument);
        lua_call(L, 1, 1);
        CHECK(codec->reader == NULL && codec->taker == NULL);
        lua_settop(L, module + 1);
    }
    CHECK(failed > 0);
    lua_close(L);
}

int main(void) {
    test_encode();
    test_decode();
    test_document();
    test_size();
    test_memory();
    test_left_behind("json_decode", "'{\"a\": [1, {\"b\": \"c\\\\n\"}, [], {}]}'");
    test_left_behind("json_encode", "{a = {1, 2, {b = ('c'):rep(1000)}}}");
    return check_report();
}

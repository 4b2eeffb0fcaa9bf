/* look.c - what the commands that look are told of the cache: functions of the module, for no
 * program calls them. */
#include "store/notes.h"
#include "values/args.h"
#include "values/ids.h"

/* An oid at index; nil: 0. */
static uint32_t oid_check(lua_State *L, int index) {
    return (uint32_t)luaL_optnumber(L, index, 0);
}

/* core.cache_key(engine, oid, epoch, id) -> the key of the row; without an epoch, of the table's
 * epoch; nil where it is not known yet, or the id is none */
static int look_key(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *epoch = luaL_optstring(L, 3, NULL);
    int64_t id = 0;
    char key[STORES_KEY_SIZE];
    if (epoch != NULL) {
        size_t len = 0;
        const char *text = luaL_checklstring(L, 4, &len);
        if (!stores_id_parse(text, len, &id, NULL)) return 0;
    }
    size_t len = stores_cache_key(engine->engine, oid_check(L, 2), epoch, id, key);
    if (len == 0) return 0;
    lua_pushlstring(L, key, len);
    return 1;
}

/* core.cache_is_ours(engine, oid, epoch) -> whether it is of the present runs of both servers */
static int look_is_ours(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *epoch = luaL_checkstring(L, 3);
    lua_pushboolean(L, stores_cache_is_ours(engine->engine, oid_check(L, 2), epoch));
    return 1;
}

/* core.cache_nodes(engine) -> how many nodes have keys; 0: that is not known yet */
static int look_nodes(lua_State *L) {
    lua_pushnumber(L, (lua_Number)stores_cache_nodes(stores__engine_check(L, 1)->engine));
    return 1;
}

/* core.redis(engine, oid or nil, node, {word, ...}, timeout): the texts of the answer, and how many
 * there are */
static int look_redis(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    uint32_t oid = oid_check(L, 2);
    size_t node = (size_t)luaL_optnumber(L, 3, 0);
    luaL_checktype(L, 4, LUA_TTABLE);
    uint64_t ms = stores__ms_check(L, 5);
    lua_settop(L, 5);
    int count = (int)lua_objlen(L, 4);
    const char **words = lua_newuserdata(L, ((size_t)count + 1) * sizeof *words);
    size_t *lens = lua_newuserdata(L, ((size_t)count + 1) * sizeof *lens);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 4, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) return luaL_argerror(L, 4, "a word is no string");
        words[i] = lua_tolstring(L, -1, &lens[i]); /* the table keeps it */
        lua_pop(L, 1);
    }
    struct stores__slot *slot = stores__engine_slot(L, engine, SLOT_TEXTS, false);
    stores_call call = {.size = sizeof call,
                        .timeout_ms = ms,
                        .inside = engine->inside,
                        .cb = stores__slot_done,
                        .arg = slot};
    return stores__slot_started(L, slot,
                                stores_redis(engine->engine, &call, oid, node, count, words, lens));
}

static void note_table(void *arg, const char *name, uint32_t oid, const char *uncached,
                       bool reaches, bool cascades) {
    stores__note(arg, name, uncached, (double[]){oid, reaches, cascades}, 3);
}

/* core.tables(engine) -> {[name] = {oid =, uncached =, reaches =, cascades =}} of those that it has
 * met */
static int look_tables(lua_State *L) {
    const struct stores__lua_engine *engine = stores__engine_check(L, 1);
    struct stores__notes notes = stores__notes_new(L);
    struct stores__note note;
    lua_newtable(L);
    stores__notes_begin(L, engine, &notes);
    stores_tables(engine->engine, note_table, &notes);
    while (stores__notes_next(L, &notes, &note)) {
        lua_createtable(L, 0, 4);
        lua_pushnumber(L, stores__note_number(&note, 0));
        lua_setfield(L, -2, "oid");
        lua_pushstring(L, note.texts[1]);
        lua_setfield(L, -2, "uncached");
        lua_pushboolean(L, stores__note_number(&note, 1) != 0);
        lua_setfield(L, -2, "reaches");
        lua_pushboolean(L, stores__note_number(&note, 2) != 0);
        lua_setfield(L, -2, "cascades");
        lua_setfield(L, -2, note.texts[0]);
    }
    return 1;
}

/* core.spread(engine, table) -> 'distributed', 'reference'; nil: neither, or not met yet */
static int look_spread(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *spread = stores_spread(engine->engine, luaL_checkstring(L, 2));
    lua_pushstring(L, spread); /* nil for NULL */
    return 1;
}

/* core.may_keep(engine, table) -> whether a write that finds no row of it may lock one */
static int look_may_keep(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    lua_pushboolean(L, stores_may_keep(engine->engine, luaL_checkstring(L, 2)));
    return 1;
}

/* core.is_citus(engine) -> whether the server that it met is a coordinator of Citus */
static int look_is_citus(lua_State *L) {
    lua_pushboolean(L, stores_is_citus(stores__engine_check(L, 1)->engine));
    return 1;
}

static const luaL_Reg functions[] = {
    {"cache_key", look_key},     {"cache_is_ours", look_is_ours}, {"cache_nodes", look_nodes},
    {"redis", look_redis},       {"tables", look_tables},         {"spread", look_spread},
    {"is_citus", look_is_citus}, {"may_keep", look_may_keep},     {NULL, NULL}};

void stores__look_register(lua_State *L) {
    luaL_register(L, NULL, functions);
}

/* args.c - arguments of Lua, checked and brought into the core's form. */
#include "args.h"

#include <limits.h>
#include <string.h>

#include "error.h"
#include "json/codec.h"

const char *stores__table_check(lua_State *L, int index) {
    size_t len = 0;
    if (lua_type(L, index) != LUA_TSTRING) {
        stores__raise(L, STORES_INVALID_TABLE, "a table name is a string, got %s",
                      luaL_typename(L, index));
    }
    const char *name = lua_tolstring(L, index, &len);
    if (strlen(name) != len)
        stores__raise(L, STORES_INVALID_TABLE, "a table name holds a zero byte");
    return name;
}

uint64_t stores__ms_of(double seconds) {
    double ms = seconds * 1000;
    return ms >= 1e15 ? UINT64_C(1000000000000000) : !(ms >= 1) ? 1 : (uint64_t)ms;
}

uint64_t stores__ms_check(lua_State *L, int index) {
    return lua_isnoneornil(L, index) ? 0 : stores__ms_of(luaL_checknumber(L, index));
}

int stores__most_check(lua_State *L, int index) {
    if (lua_isnoneornil(L, index)) return -1;
    lua_Number most = luaL_checknumber(L, index);
    return most >= INT_MAX ? INT_MAX : !(most >= 0) ? 0 : (int)most;
}

bool stores__is_false(lua_State *L, int index) {
    return lua_isboolean(L, index) && !lua_toboolean(L, index);
}

static void raise_refusal(lua_State *L, int rc) {
    if (rc == STORES__JSON_NO_MEMORY)
        stores__raise(L, STORES_NO_MEMORY, "no memory for a document");
    stores__raise(L, STORES_INVALID_DOCUMENT, "%s", lua_tostring(L, -1));
}

static void encode(lua_State *L, int index, struct stores__buf *buf) {
    luaL_checkstack(L, 8, "values");
    int rc = stores__json_encode(L, index, buf);
    if (rc != 0) raise_refusal(L, rc);
}

/* Where it is large it is kept in plain memory of the collector: a userdata with a finalizer would
 * cost it more than the document. */
static const char *keep(lua_State *L, const struct stores__codec *codec, struct stores__buf *buf) {
    if (stores__json_stays(codec, buf)) {
        const char *text = stores__buf_text(buf);
        if (text != NULL && stores__json_stays(codec, buf)) return text;
    }
    char *text = lua_newuserdata(L, buf->len + 1);
    memcpy(text, buf->data, buf->len);
    text[buf->len] = '\0';
    return text;
}

const char *stores__document_check(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE) {
        stores__raise(L, STORES_INVALID_DOCUMENT, "a document is a table, got %s",
                      luaL_typename(L, index));
    }
    luaL_checkstack(L, 12, "values");
    struct stores__codec *codec = stores__json_codec(L);
    struct stores__buf *buf = stores__json_take(L, codec, lua_gettop(L));
    int rc = stores__json_encode(L, index, buf);
    if (rc != 0) {
        stores__json_give(codec, buf);
        raise_refusal(L, rc);
    }
    bool array = buf->data[0] != '{';
    const char *text = array ? NULL : keep(L, codec, buf);
    stores__json_give(codec, buf);
    if (array) stores__raise(L, STORES_INVALID_DOCUMENT, "a document is an object, got an array");
    return text;
}

/* Numbers that JSON has not, as PostgreSQL writes them. */
static bool add_special(struct stores__buf *buf, double number) {
    if (number == number && number - number == 0) return false;
    stores__buf_str(buf, number != number ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
    return true;
}

/* Another library's null is SQL's, as ours is. */
static bool add_json(lua_State *L, struct stores__buf *buf) {
    size_t start = buf->len;
    encode(L, lua_gettop(L), buf);
    if (buf->len - start != 4 || memcmp(buf->data + start, "null", 4) != 0) return true;
    buf->len = start;
    return false;
}

/* Strings go as they are; numbers, big numbers and tables as JSON; null as SQL's NULL. */
static bool add_param(lua_State *L, struct stores__buf *buf, int number) {
    size_t len;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        if (memchr(text, '\0', len) != NULL) {
            stores__raise(L, STORES_INVALID_ARGUMENT,
                          "parameter $%d holds a zero byte, which PostgreSQL cannot store", number);
        }
        stores__buf_add(buf, text, len);
        return true;
    case LUA_TBOOLEAN: stores__buf_str(buf, lua_toboolean(L, -1) ? "true" : "false"); return true;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1) == NULL) return false;
        return add_json(L, buf);
    case LUA_TNUMBER:
        if (add_special(buf, lua_tonumber(L, -1))) return true;
        encode(L, lua_gettop(L), buf);
        return true;
    case LUA_TNIL:
    case LUA_TFUNCTION:
    case LUA_TTHREAD: break;
    default: return add_json(L, buf);
    }
    stores__raise(L, STORES_INVALID_ARGUMENT, "parameter $%d cannot be sent: %s", number,
                  luaL_typename(L, -1));
    return false;
}

stores_params stores__params_check(lua_State *L, int index) {
    stores_params params = STORES_PARAMS_INIT;
    if (lua_isnoneornil(L, index)) return params;
    luaL_checktype(L, index, LUA_TTABLE);
    params.count = (int)lua_objlen(L, index);
    if (params.count > 65535) {
        stores__raise(L, STORES_INVALID_ARGUMENT, "PostgreSQL takes 65535 parameters at most");
    }
    luaL_checkstack(L, 12, "parameters");
    struct stores__buf *buf = stores__json_buffer(L);
    size_t *offsets = lua_newuserdata(L, ((size_t)params.count + 1) * sizeof *offsets);
    for (int i = 0; i < params.count; i++) {
        lua_rawgeti(L, index, i + 1);
        offsets[i] = buf->len;
        if (add_param(L, buf, i + 1)) {
            stores__buf_add(buf, "", 1);
        } else {
            offsets[i] = (size_t)-1;
        }
        lua_pop(L, 1);
    }
    if (buf->failed) stores__raise(L, STORES_NO_MEMORY, "no memory for parameters");
    const char **values = lua_newuserdata(L, ((size_t)params.count + 1) * sizeof *values);
    for (int i = 0; i < params.count; i++) {
        values[i] = offsets[i] == (size_t)-1 ? NULL : buf->data + offsets[i];
    }
    params.values = values;
    return params;
}

stores_query_options stores__query_options_check(lua_State *L, int index) {
    stores_query_options options = STORES_QUERY_OPTIONS_INIT;
    if (lua_isnoneornil(L, index)) return options;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "transaction");
    options.autocommit = stores__is_false(L, -1);
    lua_getfield(L, index, "readonly");
    options.readonly = lua_toboolean(L, -1);
    lua_getfield(L, index, "simple");
    options.simple = lua_toboolean(L, -1);
    lua_pop(L, 3);
    lua_getfield(L, index, "invalidates");
    if (lua_istable(L, -1)) {
        /* the strings stay alive in the table, and the table in the options */
        int names = lua_gettop(L), count = (int)lua_objlen(L, names);
        const char **list = lua_newuserdata(L, ((size_t)count + 1) * sizeof *list);
        for (int i = 0; i < count; i++) {
            lua_rawgeti(L, names, i + 1);
            list[i] = stores__table_check(L, -1);
            lua_pop(L, 1);
        }
        options.invalidates = list;
        options.invalidates_count = count;
    }
    return options;
}

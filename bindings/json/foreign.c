/*
 * foreign.c - arrays, objects and nulls as other JSON libraries mark them, which people hand to a
 * store as they got them: an empty array that became {} would be another document.
 */
#include "codec.h"

/* Marks in metatables (dkjson and lua-rapidjson: __jsontype; Tarantool's: __serialize), and what
 * modules export: array_mt, empty_array_mt and empty_array of OpenResty's cjson, and any `null`.
 * Those are looked for among all that is loaded, for a library may be loaded under any name. Runs
 * in the encoder: raw access alone. */
static const char source[] =
    "local rawget, rawequal, next, type = rawget, rawequal, next, type\n"
    "local loaded, known = package.loaded, setmetatable({}, { __mode = 'k' })\n"
    "local kinds = { array = 'array', object = 'object', seq = 'array', sequence = 'array',\n"
    "  map = 'object', mapping = 'object' }\n"
    "local exported = { array_mt = 'array', empty_array_mt = 'array', empty_array = 'array',\n"
    "  null = 'null', NULL = 'null' }\n"
    "local function exported_as(value)\n"
    "  if value == nil then return nil end\n"
    "  for _, module in next, loaded do\n"
    "    if type(module) == 'table' then\n"
    "      for name, kind in next, exported do\n"
    "        if rawequal(rawget(module, name), value) then return kind end\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return function(value, metatable)\n"
    "  if metatable == nil then return exported_as(value) end\n"
    "  local kind = known[metatable]\n"
    "  if kind then return kind end\n"
    "  local mark = rawget(metatable, '__jsontype')\n"
    "  if mark == nil then mark = rawget(metatable, '__serialize') end\n"
    "  if mark ~= nil then return type(mark) == 'string' and kinds[mark] or 'other' end\n"
    "  kind = exported_as(metatable)\n"
    "  if kind == 'array' then known[metatable] = kind return kind end\n"
    "  kind = exported_as(value)\n"
    "  if kind then return kind end\n"
    "  if rawget(metatable, '__tojson') ~= nil or rawget(metatable, '__json') ~= nil then\n"
    "    return 'other'\n"
    "  end\n"
    "end\n";

/* The metatables of arrays, and of the rows of a query, whose `affected` no encoder may see as a
 * member. Other libraries tell an array by __jsontype; OpenResty's cjson by two metatables of its
 * own, and so these are ours there: array_mt for arrays, and for rows empty_array_mt, which may
 * have an __index without every array having it. */
static const char marks[] =
    "local has_require, require = pcall(function() return require end)\n"
    "local ok, cjson = false, nil\n"
    "if has_require and require then ok, cjson = pcall(require, 'cjson') end\n"
    "local function mark(name)\n"
    "  local theirs = ok and type(cjson) == 'table' and rawget(cjson, name)\n"
    "  local mark = type(theirs) == 'table' and next(theirs) == nil and theirs or {}\n"
    "  mark.__jsontype = 'array'\n"
    "  return mark\n"
    "end\n"
    "local arrays, rows = mark('array_mt'), mark('empty_array_mt')\n"
    "local affected = setmetatable({}, { __mode = 'k' })\n"
    "arrays.__name, rows.__name = 'stores.json.array', 'stores.Rows'\n"
    "function rows.__index(list, key)\n"
    "  if key == 'affected' then return affected[list] end\n"
    "end\n"
    "return arrays, rows, affected\n";

void stores__json_marks_open(lua_State *L) {
    if (luaL_loadbuffer(L, marks, sizeof marks - 1, "=stores.json") != 0) lua_error(L);
    lua_call(L, 0, 3);
}

void stores__json_foreign_open(lua_State *L) {
    if (luaL_loadbuffer(L, source, sizeof source - 1, "=stores.json") != 0) lua_error(L);
    lua_call(L, 0, 1);
}

enum stores__foreign stores__json_foreign(lua_State *L, int env, bool bare) {
    luaL_checkstack(L, 8, "cannot store the value");
    lua_rawgeti(L, env, STORES__CODEC_FOREIGN);
    if (bare) {
        lua_pushvalue(L, -2);
        lua_call(L, 1, 1);
    } else {
        lua_insert(L, -2);
        lua_pushvalue(L, -3);
        lua_insert(L, -2);
        lua_call(L, 2, 1);
    }
    const char *kind = lua_tostring(L, -1);
    enum stores__foreign foreign = STORES__FOREIGN_UNKNOWN;
    if (kind != NULL) {
        foreign = kind[0] == 'a'   ? STORES__FOREIGN_ARRAY
                  : kind[0] == 'n' ? STORES__FOREIGN_NULL
                  : kind[1] == 'b' ? STORES__FOREIGN_OBJECT
                                   : STORES__FOREIGN_OTHER;
    }
    lua_pop(L, 1);
    return foreign;
}

/*
 * codec.c - the codec of one Lua state: made, and put into the module's table.
 */
#include "codec.h"

#include "digits.h"

/* The digits of an int64_t or uint64_t; nothing for other cdata. The C API cannot tell them apart,
 * and istype alone takes the type itself for one of its values. */
static const char cdata_source[] =
    "local ok, ffi = pcall(require, 'ffi')\n"
    "if not ok then return function() end end\n"
    "local istype, tostring, match = ffi.istype, tostring, string.match\n"
    "local int64, uint64 = ffi.typeof('int64_t'), ffi.typeof('uint64_t')\n"
    "return function(value)\n"
    "    if istype(int64, value) or istype(uint64, value) then\n"
    "        return match(tostring(value), '^(-?%d+)U?LL$')\n"
    "    end\n"
    "end\n";

/* Stack: the environment of the codec. */
static void fill_environment(lua_State *L, struct stores__codec *codec) {
    int env = lua_gettop(L);
    stores__json_marks_open(L);
    lua_rawseti(L, env, STORES__CODEC_AFFECTED);
    lua_rawseti(L, env, STORES__CODEC_ROWS);
    codec->array_metatable = lua_topointer(L, -1);
    lua_rawseti(L, env, STORES__CODEC_ARRAY);

    if (luaL_loadbuffer(L, cdata_source, sizeof cdata_source - 1, "=stores.json") != 0)
        lua_error(L);
    lua_call(L, 0, 1);
    lua_rawseti(L, env, STORES__CODEC_CDATA);

    stores__json_foreign_open(L);
    lua_rawseti(L, env, STORES__CODEC_FOREIGN);

    lua_pushlightuserdata(L, codec);
    lua_pushcclosure(L, stores__json_encode_protected, 1);
    lua_rawseti(L, env, STORES__CODEC_ENCODE);
    stores__json_buffer_metatable(L);
    lua_rawseti(L, env, STORES__CODEC_BUFFER);
    stores__json_number_open(L, codec);
}

void stores__json_open(lua_State *L) {
    stores__digits_init();
    lua_pushlightuserdata(L, (void *)&stores__codec_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    bool there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (there) return;

    lua_pushlightuserdata(L, (void *)&stores__codec_key);
    struct stores__codec *codec = lua_newuserdata(L, sizeof *codec);
    memset(codec, 0, sizeof *codec);
    stores__json_buffer_metatable(L);
    lua_setmetatable(L, -2);
    lua_createtable(L, STORES__CODEC_SIZE, 0);
    fill_environment(L, codec);
    lua_setfenv(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void stores__json_fields(lua_State *L, int index) {
    static const luaL_Reg functions[] = {
        {"json_encode", stores__json_encode_lua}, {"json_decode", stores__json_decode_lua},
        {"json_check", stores__json_check_lua},   {"number", stores__json_number_new},
        {"is_number", stores__json_number_is},
    };
    lua_pushvalue(L, index);
    int module = lua_gettop(L);
    struct stores__codec *codec = stores__json_codec(L);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        lua_pushlightuserdata(L, codec);
        lua_pushvalue(L, module + 1);
        lua_pushcclosure(L, functions[i].func, 2);
        lua_setfield(L, module, functions[i].name);
    }
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, module, "null");
    lua_rawgeti(L, module + 1, STORES__CODEC_ARRAY);
    lua_setfield(L, module, "array_metatable");
    lua_rawgeti(L, module + 1, STORES__CODEC_ROWS);
    lua_setfield(L, module, "rows_metatable");
    lua_rawgeti(L, module + 1, STORES__CODEC_AFFECTED);
    lua_setfield(L, module, "affected");
    lua_settop(L, module - 1);
}

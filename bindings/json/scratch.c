/*
 * scratch.c - the codec of a Lua state, found again, and the buffers that its files write in.
 */
#include "codec.h"

#define SCRATCH_KEPT (1024 * 1024)

const char stores__codec_key;

/* A codec begins with its scratch, so this is the finalizer of both. */
static int buffer_free(lua_State *L) {
    struct stores__buf *buf = lua_touserdata(L, 1);
    if (buf) stores__buf_free(buf);
    return 0;
}

void stores__json_buffer_metatable(lua_State *L) {
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, buffer_free);
    lua_setfield(L, -2, "__gc");
}

struct stores__codec *stores__json_codec(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&stores__codec_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct stores__codec *codec = lua_touserdata(L, -1);
    assert(codec);
    lua_getfenv(L, -1);
    lua_replace(L, -2);
    return codec;
}

static struct stores__buf *new_buffer(lua_State *L, int env) {
    struct stores__buf *buf = lua_newuserdata(L, sizeof *buf);
    memset(buf, 0, sizeof *buf);
    lua_rawgeti(L, env, STORES__CODEC_BUFFER);
    lua_setmetatable(L, -2);
    return buf;
}

struct stores__buf *stores__json_buffer(lua_State *L) {
    stores__json_codec(L);
    struct stores__buf *buf = new_buffer(L, lua_gettop(L));
    lua_remove(L, -2);
    return buf;
}

struct stores__buf *stores__json_take(lua_State *L, struct stores__codec *codec, int env) {
    const char *here = __builtin_frame_address(0);
    if (!stores__json_inside(codec->taker, here)) {
        codec->taker = here;
        codec->scratch.len = 0;
        return &codec->scratch;
    }
    return new_buffer(L, env);
}

bool stores__json_stays(const struct stores__codec *codec, const struct stores__buf *buf) {
    return buf == &codec->scratch && !buf->failed && buf->cap <= SCRATCH_KEPT;
}

void stores__json_give(struct stores__codec *codec, struct stores__buf *buf) {
    if (buf->failed || buf->cap > SCRATCH_KEPT) stores__buf_free(buf);
    if (buf == &codec->scratch) codec->taker = NULL;
}

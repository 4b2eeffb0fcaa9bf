/*
 * encoder.c - what every part of the encoder does: room for bytes, and refusals by their path.
 */
#include "encoder.h"

#define SIZE_MAX_JSON ((size_t)0x3fffffff) /* 1 GB: no column of PostgreSQL holds more */

bool stores__json_refuse(struct encoder *e, const struct stores__json_level *where,
                         const char *kind) {
    struct stores__json_path path;
    stores__json_path(&path, where);
    luaL_checkstack(e->L, 4, "cannot store the value");
    lua_pushfstring(e->L, "cannot store %s%s: %s", path.text, path.cut ? "..." : "", kind);
    return false;
}

bool stores__json_make_room(struct encoder *e, size_t more) {
    if (e->buf->len + more > SIZE_MAX_JSON)
        return stores__json_refuse(e, NULL, "more than 1 GB of JSON");
    if (!stores__buf_reserve(e->buf, more)) return luaL_error(e->L, "not enough memory");
    return true;
}

/* random.c - numbers of chance for lua/stores. */
#include "random.h"

#include "base/base.h"

/* core.random() -> a number from 0 up to 1, without it */
static int next_random(lua_State *L) {
    lua_pushnumber(L, (lua_Number)(stores__random_u64() >> 11) / 9007199254740992.0); /* 2^53 */
    return 1;
}

void stores__random_register(lua_State *L) {
    lua_pushcfunction(L, next_random);
    lua_setfield(L, -2, "random");
}

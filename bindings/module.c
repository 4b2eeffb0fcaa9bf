/* module.c - luaopen_stores_core: the table that lua/stores builds on. The one file that names
 * every folder of the bindings. */
#include "store/engine.h"
#include "hub/hub.h"
#include "json/codec.h"
#include "values/error.h"
#include "values/frames.h"
#include "values/ids.h"
#include "values/random.h"

STORES_API int luaopen_stores_core(lua_State *L);

int luaopen_stores_core(lua_State *L) {
    /* luaL_error is one of the few functions that are the same in every Lua */
    if (luaJIT_setmode == NULL) {
        return luaL_error(L, "Stores needs LuaJIT 2.1 (Debian: luajit2), this is another Lua");
    }
    lua_newtable(L);
    stores__json_open(L);
    stores__json_fields(L, lua_gettop(L));
    stores__error_register(L);
    stores__ids_register(L);
    stores__random_register(L);
    stores__frames_register(L);
    stores__hub_register(L);
    stores__engines_register(L);
    stores__result_register(L);
    stores__time_register(L);
    stores__tick_register(L);
    stores__driver_register(L);
    stores__doorbell_register(L);
    stores__relay_register(L);
    stores__signals_register(L);
    stores__waiters_register(L);
    stores__engine_register(L);
    stores__held_register(L);
    stores__stats_register(L);
    stores__look_register(L);
    stores__tx_register(L);
    stores__listener_register(L);
    stores__watch_register(L);
    lua_pushliteral(L, STORES_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}

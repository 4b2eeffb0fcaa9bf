/*
 * A C program that embeds LuaJIT and turns its own libuv loop. The script gets the loop as the
 * global `loop`, and its stores live on it, beside the program's own timer.
 *
 *   cc lua_host.c -o lua_host $(pkg-config --cflags --libs luajit libuv) -rdynamic
 *   ./lua_host lua_host.lua HOST USER DATABASE REDIS_SOCKET
 *
 * -rdynamic, for Lua modules in C take Lua's functions from the program. The module stores.core has
 * the library in it: libstores is not needed.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <uv.h>

static unsigned beats;

static void beat(uv_timer_t *timer) {
    (void)timer;
    beats++;
}

static int run_script(lua_State *L, uv_loop_t *loop, int argc, char **argv) {
    lua_pushlightuserdata(L, loop);
    lua_setglobal(L, "loop");
    if (luaL_loadfile(L, argv[1]) != 0) return 1;
    for (int i = 2; i < argc; i++) lua_pushstring(L, argv[i]);
    return lua_pcall(L, argc - 2, 0, 0);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: lua_host SCRIPT [ARGUMENT...]\n");
        return 2;
    }
    uv_loop_t loop;
    uv_timer_t timer;
    lua_State *L = luaL_newstate();
    if (L == NULL || uv_loop_init(&loop) != 0) return 1;
    luaL_openlibs(L);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, beat, 1, 1);
    uv_unref((uv_handle_t *)&timer); /* the loop ends with the coroutines of the script */

    int status = run_script(L, &loop, argc, argv);
    if (status != 0) {
        /* what Stores raises is a table, which has its text in __tostring */
        if (luaL_callmeta(L, -1, "__tostring") == 0) lua_pushvalue(L, -1);
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    } else {
        uv_run(&loop, UV_RUN_DEFAULT);
        printf("the host's timer ran %s\n", beats > 0 ? "all the time" : "never");
    }

    lua_close(L); /* before the loop: it closes what the script left open */
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0) {
        fprintf(stderr, "something is left on the loop\n");
        return 1;
    }
    return status != 0;
}

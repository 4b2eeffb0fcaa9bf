/*
 * driver.c - a hub on a loop that somebody else turns: luv's, or a C program's. After each turn
 * that finished a call, a Lua function is told; it resumes the coroutines. Three handles, none of
 * which keeps the loop alive by itself.
 *
 *   check    after the loop looked at its sockets: calls the function where something is ready
 *   prepare  before the loop waits: calls that timers finished must not wait for a socket
 *   idle     runs while something is ready, so that the loop does not wait at all
 */
#include "driver.h"

#include <dlfcn.h>

#include "tick.h"

struct stores__driver {
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    struct stores__hub *hub;
    lua_State *L; /* a thread of its own: callbacks come while any coroutine runs */
    int thread, function; /* references of the registry */
    int open; /* handles that are not closed yet */
    bool roused;
};

static void no_wait(uv_idle_t *idle) {
    (void)idle;
}

static void before_poll(uv_prepare_t *prepare) {
    struct stores__driver *driver = prepare->data;
    if (!stores__list_empty(&driver->hub->ready) || driver->hub->tick_due) {
        uv_idle_start(&driver->idle, no_wait);
    }
}

static void after_poll(uv_check_t *check) {
    struct stores__driver *driver = check->data;
    lua_State *L = driver->L;
    uv_idle_stop(&driver->idle);
    if (driver->hub->tick_due) stores__tick_deliver(L, driver->hub);
    if (!driver->roused && stores__list_empty(&driver->hub->ready)) return;
    driver->roused = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, driver->function);
    if (lua_pcall(L, 0, 0, 0) != 0) {
        /* the function catches what it can: nobody is left to raise this to */
        stores__error_print(L, "");
    }
}

/* hub:drive(fn): calls fn after each turn of the loop that left something to resume */
static int hub_drive(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (hub->owns_loop || hub->driver != NULL) {
        return stores__raise(L, STORES_INTERNAL, "a loop of Stores itself has no driver");
    }
    /* what may raise comes first */
    lua_pushvalue(L, 2);
    int function = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_State *thread = lua_newthread(L);
    int reference = luaL_ref(L, LUA_REGISTRYINDEX);
    struct stores__driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, function);
        luaL_unref(L, LUA_REGISTRYINDEX, reference);
        return stores__raise(L, STORES_NO_MEMORY, "no memory for a loop");
    }
    driver->hub = hub;
    driver->function = function;
    driver->L = thread;
    driver->thread = reference;
    /* these three cannot fail */
    uv_prepare_init(hub->loop, &driver->prepare);
    uv_check_init(hub->loop, &driver->check);
    uv_idle_init(hub->loop, &driver->idle);
    driver->prepare.data = driver->check.data = driver->idle.data = driver;
    driver->open = 3;
    uv_prepare_start(&driver->prepare, before_poll);
    uv_check_start(&driver->check, after_poll);
    uv_unref((uv_handle_t *)&driver->prepare);
    uv_unref((uv_handle_t *)&driver->check);
    hub->driver = driver;
    hub->open++;
    return 0;
}

static struct stores__driver *check_driver(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (hub->driver == NULL) stores__raise(L, STORES_INTERNAL, "the loop has no driver");
    return hub->driver;
}

/* hub:rouse(): the function is called at the end of this turn, and the loop does not wait for it */
static int hub_rouse(lua_State *L) {
    struct stores__driver *driver = check_driver(L);
    driver->roused = true;
    uv_idle_start(&driver->idle, no_wait);
    return 0;
}

/* hub:hold(whether): keeps the loop alive, as long as coroutines wait */
static int hub_hold(lua_State *L) {
    struct stores__driver *driver = check_driver(L);
    if (lua_toboolean(L, 2)) {
        uv_ref((uv_handle_t *)&driver->check);
    } else {
        uv_unref((uv_handle_t *)&driver->check);
    }
    return 0;
}

static void handle_closed(uv_handle_t *handle) {
    struct stores__driver *driver = handle->data;
    if (--driver->open > 0) return;
    driver->hub->open--;
    free(driver);
}

void stores__driver_close(lua_State *L, struct stores__hub *hub) {
    struct stores__driver *driver = hub->driver;
    if (driver == NULL) return;
    hub->driver = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, driver->function);
    luaL_unref(L, LUA_REGISTRYINDEX, driver->thread);
    uv_close((uv_handle_t *)&driver->prepare, handle_closed);
    uv_close((uv_handle_t *)&driver->check, handle_closed);
    uv_close((uv_handle_t *)&driver->idle, handle_closed);
}

/* core.luv_loop(path) -> the loop of the module luv, which was loaded from that file or, where path
 * is nil, is part of the program; or nil, why */
static int luv_loop(lua_State *L) {
    const char *path = luaL_optstring(L, 1, NULL);
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) {
        lua_pushnil(L);
        lua_pushliteral(L, "luv is not loaded from there");
        return 2;
    }
    /* the pointers of dlsym are not function pointers to C11, but to POSIX */
    uv_loop_t *(*loop_of)(lua_State * L) = NULL;
    unsigned (*version)(void) = NULL;
    *(void **)&loop_of = dlsym(library, "luv_loop");
    *(void **)&version = dlsym(library, "uv_version");
    dlclose(library);
    lua_pushnil(L);
    if (loop_of == NULL) {
        lua_pushliteral(L, "it has no luv_loop");
    } else if (version != uv_version) {
        lua_pushliteral(L, "it carries a libuv of its own: both have to use the same shared one");
    } else {
        lua_pushlightuserdata(L, loop_of(L));
        return 1;
    }
    return 2;
}

static const luaL_Reg methods[] = {
    {"drive", hub_drive}, {"rouse", hub_rouse}, {"hold", hub_hold}, {NULL, NULL}};

void stores__driver_register(lua_State *L) {
    stores__type_extend(L, STORES__HUB, methods);
    lua_pushcfunction(L, luv_loop);
    lua_setfield(L, -2, "luv_loop");
}

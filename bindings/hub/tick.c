/* tick.c - what is to happen while a hub waits: Lua that runs at a time, and the program's
 * signals. */
#include "tick.h"

#include <signal.h>

enum { PULSE_MS = 100 };

/* ---- The tick -------------------------------------------------------------------------------- */

static void ticked(uv_timer_t *timer) {
    struct stores__hub *hub = timer->data;
    hub->tick_due = true;
    if (hub->driver == NULL && hub->turning) {
        uv_stop(hub->loop); /* timers come before the poll, which must not wait then */
    }
}

void stores__tick_open(struct stores__hub *hub) {
    uv_timer_init(hub->loop, &hub->tick);
    uv_unref((uv_handle_t *)&hub->tick);
    uv_timer_init(hub->loop, &hub->pulse);
    uv_unref((uv_handle_t *)&hub->pulse);
    hub->tick.data = hub->pulse.data = hub;
    hub->open += 2;
}

static void tick_closed(uv_handle_t *handle) {
    struct stores__hub *hub = handle->data;
    hub->open--;
}

void stores__tick_close(lua_State *L, struct stores__hub *hub) {
    if (hub->tick_function != 0) luaL_unref(L, LUA_REGISTRYINDEX, hub->tick_function);
    hub->tick_function = 0;
    uv_close((uv_handle_t *)&hub->tick, tick_closed);
    uv_close((uv_handle_t *)&hub->pulse, tick_closed);
}

/* What a signal of the program has set to run would run in the tick, which swallows its error: it
 * is for the Lua that waits, and the tick comes after it. A hook that stays is none of a signal. */
static bool gives_way(lua_State *L, struct stores__hub *hub) {
    lua_Hook now = lua_gethook(L);
    if (now == NULL || now == hub->tick_hook) return false;
    hub->tick_hook = now;
    uv_timer_start(&hub->tick, ticked, 1, 0);
    return true;
}

/* Signals that come meanwhile are for who waits, too; faults are not held back. */
static int call_unsignaled(lua_State *L) {
    sigset_t held, before;
    sigfillset(&held);
    sigdelset(&held, SIGSEGV);
    sigdelset(&held, SIGBUS);
    sigdelset(&held, SIGFPE);
    sigdelset(&held, SIGILL);
    pthread_sigmask(SIG_BLOCK, &held, &before);
    int failed = lua_pcall(L, 0, 0, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void stores__tick_deliver(lua_State *L, struct stores__hub *hub) {
    hub->tick_due = false;
    if (hub->tick_function == 0 || !lua_checkstack(L, LUA_MINSTACK) || gives_way(L, hub)) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, hub->tick_function);
    if (call_unsignaled(L) != 0) {
        /* it catches what it can: nobody is left to raise this to */
        stores__error_print(L, "");
    }
}

/* hub:on_tick(fn): what is called at the ticks */
static int hub_on_tick(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    if (hub->tick_function != 0) luaL_unref(L, LUA_REGISTRYINDEX, hub->tick_function);
    hub->tick_function = 0; /* the next line may raise */
    hub->tick_function = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* hub:tick(seconds): calls that function once, after the turn in which so many have passed; it does
 * not keep the loop alive */
static int hub_tick(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Number seconds = luaL_checknumber(L, 2);
    hub->tick_hook = lua_gethook(L);
    uv_update_time(hub->loop);
    uv_timer_start(&hub->tick, ticked, (uint64_t)(seconds * 1000 + 0.5), 0);
    return 0;
}

/* ---- Signals of the program ------------------------------------------------------------------ */

static void pulsed(uv_timer_t *timer) {
    struct stores__hub *hub = timer->data;
    if (!hub->pulses) {
        uv_timer_stop(timer);
    } else if (hub->turning) {
        uv_stop(hub->loop);
    }
}

/* The timer goes on behind a wait until it fires: the next call, mostly, waits before that. */
void stores__pulse(struct stores__hub *hub, bool on) {
    hub->pulses = on;
    if (on && !uv_is_active((uv_handle_t *)&hub->pulse)) {
        uv_timer_start(&hub->pulse, pulsed, PULSE_MS, PULSE_MS);
    }
}

bool stores__heed_signals(lua_State *L, lua_Hook before) {
    if (lua_gethook(L) == before || lua_gethook(L) == NULL) return true;
    /* the hook runs with the next Lua, which is this */
    static const char lua[] = "local _ = 0";
    return luaL_loadbuffer(L, lua, sizeof lua - 1, "=a call that waits") != 0 ||
           lua_pcall(L, 0, 0, 0) == 0;
}

/* hub:pulse(on): for who turns the loop himself */
static int hub_pulse(lua_State *L) {
    stores__pulse(stores__hub_check(L, 1), lua_toboolean(L, 2));
    return 0;
}

static const luaL_Reg methods[] = {
    {"on_tick", hub_on_tick}, {"tick", hub_tick}, {"pulse", hub_pulse}, {NULL, NULL}};

void stores__tick_register(lua_State *L) {
    stores__type_extend(L, STORES__HUB, methods);
}

/* What a hub does with time: sleeping, slices of work, and how long calls took. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "binding.h"

enum { PULSE_MS = 100 };

#define SLEEP_MAX 1e12 /* seconds; math.huge is a sleep without end */

static void woke(uv_timer_t *timer) {
    struct stores__slot *slot = timer->data;
    stores__slot_ready(slot);
}

/* A slot that has slept keeps its timer, which costs the loop nothing while it is stopped. */
static bool timer_of(struct stores__slot *slot) {
    if (slot->timer != NULL) return true;
    slot->timer = malloc(sizeof *slot->timer);
    if (slot->timer == NULL) return false;
    uv_timer_init(slot->hub->loop, slot->timer);
    slot->hub->open++;
    slot->timer->data = slot;
    return true;
}

static void free_timer(uv_handle_t *handle) {
    struct stores__slot *slot = handle->data;
    slot->hub->open--;
    free(handle);
}

void stores__slot_close_timer(struct stores__slot *slot) {
    if (slot->timer != NULL) uv_close((uv_handle_t *)slot->timer, free_timer);
}

static int hub_sleep(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Number seconds = luaL_checknumber(L, 2);
    struct stores__slot *slot = stores__slot_new(L, hub, SLOT_SLEEP, false);
    if (!timer_of(slot)) {
        stores__slot_free(slot);
        return stores__raise(L, STORES_NO_MEMORY, "no memory to sleep");
    }
    uv_update_time(hub->loop);
    if (seconds > SLEEP_MAX) seconds = SLEEP_MAX;
    uv_timer_start(slot->timer, woke, seconds > 0 ? (uint64_t)(seconds * 1000 + 0.5) : 0, 0);
    lua_pushinteger(L, slot->index);
    return 1;
}

/* hub:wake(slot): ends a sleep early; harmless for one that is over */
static int hub_wake(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    struct stores__slot *slot = stores__slot_check(L, hub, 2);
    if (slot->state == SLOT_PENDING && slot->kind == SLOT_SLEEP) {
        uv_timer_stop(slot->timer);
        stores__slot_ready(slot);
    }
    return 0;
}

/* ---- The tick --------------------------------------------------------------------------------- */

static void ticked(uv_timer_t *timer) {
    struct stores__hub *hub = timer->data;
    hub->tick_due = true;
    if (hub->driver != NULL) {
        stores__driver_hurry(hub->driver);
    } else if (hub->turning) {
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

/* What a signal of the program has set to run would run in the tick, which swallows its error: it is
 * for the Lua that waits, and the tick comes after it. A hook that stays is none of a signal. */
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
        fprintf(stderr, "stores: %s\n", lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
        lua_pop(L, 1);
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

/* ---- Signals of the program -------------------------------------------------------------------- */

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

/* hub:times() -> queue, connect, redis, postgres, decode (seconds), source, retries of the call whose
 * result was taken last, failed or not; nothing after a sleep. For stores.on: hub:time_calls(on) has
 * them kept. */
static int hub_times(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (hub->source == '\0') return 0;
    lua_pushnumber(L, hub->times.queue);
    lua_pushnumber(L, hub->times.connect);
    lua_pushnumber(L, hub->times.redis);
    lua_pushnumber(L, hub->times.postgres);
    lua_pushnumber(L, hub->decode);
    lua_pushlstring(L, &hub->source, 1);
    lua_pushinteger(L, (lua_Integer)hub->times.retries);
    return 7;
}

static int hub_time_calls(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    hub->timed = lua_toboolean(L, 2);
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores_time_calls(STORES__CONTAINER(at, struct stores__lua_engine, link)->engine,
                          hub->timed);
    }
    return 0;
}

static int hub_now(lua_State *L) {
    stores__hub_check(L, 1);
    lua_pushnumber(L, (lua_Number)uv_hrtime() / 1e9);
    return 1;
}

static uint64_t worked_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* hub:begin_slice(seconds): of work, which is not over because others have the processor */
static int hub_begin_slice(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    uint64_t ns = (uint64_t)(luaL_checknumber(L, 2) * 1e9);
    hub->slice_worked = worked_ns() + ns;
    hub->slice_at = uv_hrtime() + ns;
    return 0;
}

/* hub:slice_over() -> whether it is. The clock of the thread is a system call: it is asked when so
 * much time has passed that the slice may be over. */
static int hub_slice_over(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    uint64_t now = uv_hrtime();
    bool over = false;
    if (now >= hub->slice_at) {
        uint64_t worked = worked_ns();
        over = worked >= hub->slice_worked;
        if (!over) hub->slice_at = now + (hub->slice_worked - worked);
    }
    lua_pushboolean(L, over);
    return 1;
}

static const luaL_Reg methods[] = {{"sleep", hub_sleep},
                                   {"wake", hub_wake},
                                   {"times", hub_times},
                                   {"time_calls", hub_time_calls},
                                   {"now", hub_now},
                                   {"begin_slice", hub_begin_slice},
                                   {"slice_over", hub_slice_over},
                                   {"on_tick", hub_on_tick},
                                   {"tick", hub_tick},
                                   {"pulse", hub_pulse},
                                   {NULL, NULL}};

/* Adds to the methods of hubs. */
void stores__time_register(lua_State *L) {
    luaL_getmetatable(L, STORES__HUB);
    lua_getfield(L, -1, "__index");
    luaL_register(L, NULL, methods);
    lua_pop(L, 2);
}

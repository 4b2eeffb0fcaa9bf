/* time.c - what a hub does with time: sleeping, slices of work, and how long calls took. */
#include <time.h>

#include "slot.h"

#define SLEEP_MAX 1e12 /* seconds; math.huge is a sleep without end */

static void woke(uv_timer_t *timer) {
    struct stores__slot *slot = timer->data;
    stores__slot_ready(slot);
}

/* hub:sleep(seconds) -> slot, which of its sleeps this is, for who is to be able to wake it */
static int hub_sleep(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Number seconds = luaL_checknumber(L, 2);
    struct stores__slot *slot = stores__slot_new(L, hub, SLOT_SLEEP, false);
    if (!stores__slot_timer(slot)) {
        stores__slot_free(slot);
        return stores__raise(L, STORES_NO_MEMORY, "no memory to sleep");
    }
    uv_update_time(hub->loop);
    if (seconds > SLEEP_MAX) seconds = SLEEP_MAX;
    uv_timer_start(slot->timer, woke, seconds > 0 ? (uint64_t)(seconds * 1000 + 0.5) : 0, 0);
    lua_pushinteger(L, slot->index);
    lua_pushnumber(L, slot->use);
    return 2;
}

/* hub:wake(slot, use): ends a sleep early. Harmless for one that is over, or was given up: its slot
 * may be another call's by then. */
static int hub_wake(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    lua_Number use = luaL_checknumber(L, 3);
    if (number < 1 || number > hub->slot_count) return 0;
    struct stores__slot *slot = hub->slots[number - 1];
    if (slot->state == SLOT_PENDING && slot->kind == SLOT_SLEEP && slot->use == use) {
        uv_timer_stop(slot->timer);
        stores__slot_ready(slot);
    }
    return 0;
}

/* ---- How long things take -------------------------------------------------------------------- */

/* hub:times() -> queue, connect, redis, postgres, decode (seconds), source, retries of the call
 * whose result was taken last, failed or not; nothing after a sleep. For stores.on:
 * hub:time_calls(on) has them kept. */
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

/* The clock of the thread is a system call: it is asked when so much time has passed that the slice
 * may be over. */
bool stores__slice_over(struct stores__hub *hub) {
    uint64_t now = uv_hrtime();
    if (now < hub->slice_at) return false;
    uint64_t worked = worked_ns();
    if (worked >= hub->slice_worked) return true;
    hub->slice_at = now + (hub->slice_worked - worked);
    return false;
}

/* hub:slice_over() -> whether it is */
static int hub_slice_over(lua_State *L) {
    lua_pushboolean(L, stores__slice_over(stores__hub_check(L, 1)));
    return 1;
}

static const luaL_Reg methods[] = {{"sleep", hub_sleep},
                                   {"wake", hub_wake},
                                   {"times", hub_times},
                                   {"now", hub_now},
                                   {"begin_slice", hub_begin_slice},
                                   {"slice_over", hub_slice_over},
                                   {NULL, NULL}};

void stores__time_register(lua_State *L) {
    stores__type_extend(L, STORES__HUB, methods);
}

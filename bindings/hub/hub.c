/* hub.c - the loop of one Lua state: turned, waited on, opened and closed. */
#include "hub.h"

#include "driver.h"
#include "engines.h"
#include "messages.h"
#include "slot.h"
#include "tick.h"
#include "waiters.h"

/* ---- Turning --------------------------------------------------------------------------------- */

static void turn(lua_State *L, struct stores__hub *hub, uv_run_mode mode) {
    if (hub->turning) {
        stores__raise(L, STORES_UNSUPPORTED,
                      "a call that waits inside a callback of the loop would turn it twice");
    }
    hub->turning = true;
    /* so that the turn begins with nothing to do */
    if (mode == UV_RUN_ONCE) stores__engines_flush(hub);
    uv_run(hub->loop, mode);
    hub->turning = false;
    stores__messages_tell(L, hub);
    if (hub->tick_due) stores__tick_deliver(L, hub);
}

/* Begins a wait for that call, or for any (slot: NULL): where to spin is wanted, the loop turns
 * without a sleep, for a moment at most, until it is done. */
static void spin(lua_State *L, struct stores__hub *hub, struct stores__spin *kind,
                 const struct stores__slot *slot) {
    uint64_t until = stores__spin_begin(kind, uv_hrtime());
    if (until == 0) return;
    stores__engines_flush(hub);
    do turn(L, hub, UV_RUN_NOWAIT);
    while ((slot ? slot->state == SLOT_PENDING : stores__list_empty(&hub->ready)) &&
           uv_hrtime() < until);
}

/* hub:turn(block) -> the number of calls that are still pending */
static int hub_turn(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (lua_toboolean(L, 2) && stores__list_empty(&hub->ready)) {
        lua_Hook before = lua_gethook(L);
        bool is_alone = hub->may_spin && hub->pending == 1;
        if (is_alone) spin(L, hub, &hub->turns, NULL);
        if (stores__list_empty(&hub->ready)) {
            stores__pulse(hub, true);
            turn(L, hub, UV_RUN_ONCE);
            stores__pulse(hub, false);
        }
        if (is_alone) stores__spin_ended(&hub->turns, uv_hrtime());
        if (!stores__heed_signals(L, before)) return lua_error(L);
    } else {
        /* libuv applies changes of its poll set on the next turn only */
        do {
            turn(L, hub, UV_RUN_NOWAIT);
        } while (stores__list_empty(&hub->ready) && uv_loop_alive(hub->loop) &&
                 uv_backend_timeout(hub->loop) == 0);
    }
    lua_pushinteger(L, hub->pending);
    return 1;
}

/* hub:next() -> a slot that is done and that nobody was told of, or nil */
static int hub_next(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    stores__messages_tell(L, hub);
    for (struct stores__slot *slot; (slot = stores__slot_shift(hub)) != NULL;) {
        if (!slot->abandoned) {
            lua_pushinteger(L, slot->index);
            return 1;
        }
        stores__slot_free(slot);
    }
    return 0;
}

/* hub:tell(): has the log functions called, which may do anything. */
static int hub_tell(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    stores__messages_tell(L, hub);
    return 0;
}

void stores__hub_wait(lua_State *L, struct stores__slot *slot) {
    struct stores__hub *hub = slot->hub;
    if (hub->turning && slot->state == SLOT_PENDING) {
        stores__slot_give_up(slot); /* turn() raises, and nobody will ask for it */
        turn(L, hub, UV_RUN_ONCE);
    }
    lua_Hook before = lua_gethook(L);
    struct stores__spin *kind = slot->kind <= SLOT_DOCUMENTS ? &hub->finds : &hub->others;
    bool may_spin = hub->may_spin && slot->state == SLOT_PENDING && slot->kind != SLOT_SLEEP;
    if (may_spin) spin(L, hub, kind, slot);
    if (slot->state == SLOT_PENDING) stores__pulse(hub, true);
    while (slot->state == SLOT_PENDING) {
        turn(L, hub, UV_RUN_ONCE);
        if (slot->state == SLOT_PENDING && !stores__heed_signals(L, before)) {
            stores__pulse(hub, false);
            stores__slot_give_up(slot);
            lua_error(L);
        }
    }
    stores__pulse(hub, false);
    if (may_spin) stores__spin_ended(kind, uv_hrtime());
    stores__slot_told(slot);
    /* nobody may turn the loop after this: a FILL or a SETTLE leaves now */
    stores__engines_flush(hub);
}

/* hub:wait(slot): turns the loop until that call is done. Others that end meanwhile stay ready. */
static int hub_wait(lua_State *L) {
    stores__hub_wait(L, stores__slot_check(L, stores__hub_check(L, 1), 2));
    return 0;
}

/* hub:flush(): what the engines have gathered leaves now, not before the loop waits */
static int hub_flush(lua_State *L) {
    stores__engines_flush(stores__hub_check(L, 1));
    return 0;
}

static int hub_done(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_pushboolean(L, stores__slot_check(L, hub, 2)->state >= SLOT_READY);
    return 1;
}

/* hub:abandon(slot): nobody waits for that call any more; harmless for one that there is not */
static int hub_abandon(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    if (number < 1 || number > hub->slot_count) return 0;
    stores__slot_give_up(hub->slots[number - 1]);
    return 0;
}

/* ---- For who waits for the loop himself ------------------------------------------------------ */

static int hub_fd(lua_State *L) {
    lua_pushinteger(L, uv_backend_fd(stores__hub_check(L, 1)->loop));
    return 1;
}

/* hub:timeout() -> seconds until the loop has something to do by itself, or nil: nothing */
static int hub_timeout(lua_State *L) {
    uv_loop_t *loop = stores__hub_check(L, 1)->loop;
    /* libuv says 0 for a loop that nothing holds */
    int ms = uv_loop_alive(loop) ? uv_backend_timeout(loop) : -1;
    if (ms < 0) return 0;
    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

static int hub_pending(lua_State *L) {
    lua_pushinteger(L, stores__hub_check(L, 1)->pending);
    return 1;
}

static int hub_any_ready(lua_State *L) {
    lua_pushboolean(L, !stores__list_empty(&stores__hub_check(L, 1)->ready));
    return 1;
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* core.hub([loop]) -> hub */
static int hub_new(lua_State *L) {
    uv_loop_t *loop = lua_islightuserdata(L, 1) ? lua_touserdata(L, 1) : NULL;
    struct stores__hub *hub = lua_newuserdata(L, sizeof *hub);
    memset(hub, 0, sizeof *hub);
    hub->times.size = sizeof hub->times;
    stores__list_init(&hub->ready);
    stores__list_init(&hub->woken);
    stores__list_init(&hub->free_slots);
    stores__list_init(&hub->engines);
    stores__list_init(&hub->messages);
    hub->type = STORES__HUB;
    hub->process = stores__process();
    hub->closed = true;
    luaL_getmetatable(L, STORES__HUB);
    lua_setmetatable(L, -2);
    if (loop == NULL && uv_loop_init(&hub->own) != 0) {
        return stores__raise(L, STORES_NO_MEMORY, "no memory for a loop");
    }
    if (loop == NULL && uv_async_init(&hub->own, &hub->stirred, NULL) != 0) {
        uv_loop_close(&hub->own);
        return stores__raise(L, STORES_NO_MEMORY, "no memory for a loop");
    }
    if (loop == NULL) uv_unref((uv_handle_t *)&hub->stirred);
    hub->owns_loop = loop == NULL;
    hub->loop = loop ? loop : &hub->own;
    hub->may_spin = hub->owns_loop && uv_available_parallelism() > 1;
    stores__tick_open(hub);
    hub->closed = false;
    return 1;
}

static int hub_gc(lua_State *L) {
    struct stores__hub *hub = lua_touserdata(L, 1);
    stores__waiters_close(L, hub);
    if (hub->closed || hub->process != stores__process()) return 0;
    hub->closed = true;
    while (!stores__list_empty(&hub->engines)) {
        stores__engine_drop(L,
                            STORES__CONTAINER(hub->engines.next, struct stores__lua_engine, link));
    }
    stores__messages_forget(hub);
    stores__slots_close(hub);
    stores__tick_close(L, hub);
    stores__driver_close(L, hub);
    /* what is left of ours on somebody else's loop would be called when this code is unloaded */
    while (hub->open > 0) uv_run(hub->loop, UV_RUN_ONCE);
    if (hub->owns_loop) {
        uv_close((uv_handle_t *)&hub->stirred, NULL);
        uv_run(hub->loop, UV_RUN_DEFAULT);
        uv_loop_close(hub->loop);
    }
    stores__slots_free(hub);
    return 0;
}

static const luaL_Reg hub_methods[] = {
    {"turn", hub_turn},       {"next", hub_next},       {"tell", hub_tell},
    {"wait", hub_wait},       {"flush", hub_flush},     {"done", hub_done},
    {"abandon", hub_abandon}, {"fd", hub_fd},           {"timeout", hub_timeout},
    {"pending", hub_pending}, {"ready", hub_any_ready}, {NULL, NULL}};

void stores__hub_register(lua_State *L) {
    stores__type_register(L, STORES__HUB, hub_gc, hub_methods);
    lua_pushcfunction(L, hub_new);
    lua_setfield(L, -2, "hub");
}

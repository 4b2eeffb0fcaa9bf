/* The loop of one Lua state, and the calls that wait on it. */
#include "binding.h"

const char stores__hub_type[] = "stores.hub";

enum { SLAB = 64 };

struct stores__hub *stores__hub_check(lua_State *L, int index) {
    struct stores__hub *hub = stores__userdata(L, index, STORES__HUB, sizeof *hub);
    if (hub == NULL) hub = luaL_checkudata(L, index, STORES__HUB);
    if (hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "this loop belongs to the process before the fork");
    }
    if (hub->closed) stores__raise(L, STORES_CLOSED, "the loop is closed");
    return hub;
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static bool more_slots(struct stores__hub *hub) {
    if (hub->slot_count + SLAB > hub->slot_room) {
        int room = hub->slot_room ? hub->slot_room * 2 : SLAB;
        struct stores__slot **slots = realloc(hub->slots, (size_t)room * sizeof(*slots));
        if (slots == NULL) return false;
        hub->slots = slots;
        hub->slot_room = room;
    }
    /* slots keep their address: ops point to them */
    struct stores__slot *slab = calloc(SLAB, sizeof *slab);
    if (slab == NULL) return false;
    for (int i = 0; i < SLAB; i++) {
        slab[i].hub = hub;
        slab[i].index = hub->slot_count + 1;
        hub->slots[hub->slot_count++] = &slab[i];
        stores__list_append(&hub->free_slots, &slab[i].link);
    }
    return true;
}

struct stores__slot *stores__slot_new(lua_State *L, struct stores__hub *hub,
                                      enum stores__slot_kind kind, bool raw) {
    if (stores__list_empty(&hub->free_slots) && !more_slots(hub)) {
        stores__raise(L, STORES_NO_MEMORY, "no memory for a call");
    }
    struct stores__slot *slot = STORES__CONTAINER(stores__list_shift(&hub->free_slots),
                                                  struct stores__slot, link);
    slot->state = SLOT_PENDING;
    slot->kind = kind;
    slot->raw = raw;
    slot->commits = false;
    slot->abandoned = false;
    slot->op = NULL;
    hub->pending++;
    return slot;
}

void stores__slot_ready(struct stores__slot *slot) {
    struct stores__hub *hub = slot->hub;
    slot->state = SLOT_READY;
    hub->pending--;
    stores__list_append(&hub->ready, &slot->link);
    if (!hub->owns_loop) return; /* its driver sees to it */
    if (hub->turning) {
        uv_stop(hub->loop); /* a timer comes before the poll, which must not wait then */
    } else {
        /* the host may be waiting for the loop's descriptor already */
        uv_async_send(&hub->stirred);
    }
}

void stores__slot_done(stores_op *op, void *arg) {
    (void)op;
    stores__slot_ready(arg);
}

int stores__slot_started(lua_State *L, struct stores__slot *slot, stores_op *op) {
    if (op == NULL) {
        stores__slot_free(slot);
        stores__raise(L, STORES_NO_MEMORY, "no memory for a call");
    }
    slot->op = op;
    lua_pushinteger(L, slot->index);
    return 1;
}

void stores__slot_free(struct stores__slot *slot) {
    if (slot->state == SLOT_PENDING) slot->hub->pending--;
    if (slot->kind == SLOT_SLEEP && slot->timer != NULL) uv_timer_stop(slot->timer);
    stores_op_free(slot->op);
    slot->op = NULL;
    slot->state = SLOT_FREE;
    stores__list_remove(&slot->link);
    /* the one used last is used first: its memory is warm, and numbers stay small */
    stores__list_prepend(&slot->hub->free_slots, &slot->link);
}

struct stores__slot *stores__slot_check(lua_State *L, struct stores__hub *hub, int index) {
    lua_Integer number = luaL_checkinteger(L, index);
    if (number < 1 || number > hub->slot_count || hub->slots[number - 1]->state == SLOT_FREE) {
        stores__raise(L, STORES_INTERNAL, "there is no call number %d", (int)number);
    }
    return hub->slots[number - 1];
}

/* ---- Turning --------------------------------------------------------------------------------- */

static void flush_engines(struct stores__hub *hub) {
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores_flush(STORES__CONTAINER(at, struct stores__lua_engine, link)->engine);
    }
}

static void turn(lua_State *L, struct stores__hub *hub, uv_run_mode mode) {
    if (hub->turning) {
        stores__raise(L, STORES_UNSUPPORTED,
                      "a call that waits inside a callback of the loop would turn it twice");
    }
    hub->turning = true;
    if (mode == UV_RUN_ONCE) flush_engines(hub); /* so that the turn begins with nothing to do */
    uv_run(hub->loop, mode);
    hub->turning = false;
    if (!stores__list_empty(&hub->messages)) stores__log_deliver(L, hub);
    if (hub->tick_due) stores__tick_deliver(L, hub);
}

/* hub:turn(block) -> the number of calls that are still pending */
static int hub_turn(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (lua_toboolean(L, 2) && stores__list_empty(&hub->ready)) {
        lua_Hook before = lua_gethook(L);
        stores__pulse(hub, true);
        turn(L, hub, UV_RUN_ONCE);
        stores__pulse(hub, false);
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
    if (!stores__list_empty(&hub->messages)) stores__log_deliver(L, hub);
    for (struct stores__list *at; (at = stores__list_shift(&hub->ready)) != NULL;) {
        struct stores__slot *slot = STORES__CONTAINER(at, struct stores__slot, link);
        slot->state = SLOT_DONE;
        if (slot->abandoned) {
            stores__slot_free(slot);
            continue;
        }
        lua_pushinteger(L, slot->index);
        return 1;
    }
    return 0;
}

/* hub:take(waiting, queue, last) -> last: what waiting has by the slots that are done moves to the
 * end of the array queue, whose last element is at last. A slot that nobody waits for is passed
 * over: hub:result takes it. Where the queue finds no memory, nothing has moved. */
static int hub_take(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Integer last = luaL_checkinteger(L, 4);
    lua_settop(L, 3);
    for (struct stores__list *at = hub->ready.next; at != &hub->ready; at = at->next) {
        const struct stores__slot *slot = STORES__CONTAINER(at, const struct stores__slot, link);
        lua_rawgeti(L, 2, slot->index);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
        } else {
            lua_rawseti(L, 3, (int)++last);
        }
    }
    for (struct stores__list *at; (at = stores__list_shift(&hub->ready)) != NULL;) {
        struct stores__slot *slot = STORES__CONTAINER(at, struct stores__slot, link);
        slot->state = SLOT_DONE;
        lua_pushnil(L);
        lua_rawseti(L, 2, slot->index); /* no memory is asked for: it is there, or below the end */
        if (slot->abandoned) stores__slot_free(slot);
    }
    lua_pushinteger(L, last);
    return 1;
}

/* hub:tell(): has the log functions called, which may do anything. */
static int hub_tell(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (!stores__list_empty(&hub->messages)) stores__log_deliver(L, hub);
    return 0;
}

/* Not what cannot be called back: an engine's close, or a listener's notice. */
static bool may_be_freed(const struct stores__slot *slot) {
    return slot->op != NULL || slot->kind == SLOT_SLEEP;
}

/* Nobody waits for it any more, who can still say so. */
static void give_up(struct stores__slot *slot) {
    if (slot->state == SLOT_PENDING && !may_be_freed(slot)) {
        slot->abandoned = true; /* freed by hub:next or hub:take */
    } else if (slot->state != SLOT_FREE) {
        stores__slot_free(slot);
    }
}

/* hub:wait(slot): turns the loop until that call is done. Others that end meanwhile stay ready. */
static int hub_wait(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    struct stores__slot *slot = stores__slot_check(L, hub, 2);
    if (hub->turning && slot->state == SLOT_PENDING && may_be_freed(slot)) {
        stores__slot_free(slot); /* turn() raises, and nobody will ask for it */
        turn(L, hub, UV_RUN_ONCE);
    }
    lua_Hook before = lua_gethook(L);
    if (slot->state == SLOT_PENDING) stores__pulse(hub, true);
    while (slot->state == SLOT_PENDING) {
        turn(L, hub, UV_RUN_ONCE);
        if (slot->state == SLOT_PENDING && !stores__heed_signals(L, before)) {
            stores__pulse(hub, false);
            give_up(slot);
            return lua_error(L);
        }
    }
    stores__pulse(hub, false);
    if (slot->state == SLOT_READY) {
        stores__list_remove(&slot->link);
        slot->state = SLOT_DONE;
    }
    /* nobody may turn the loop after this: a FILL or a SETTLE leaves now */
    flush_engines(hub);
    return 0;
}

static int hub_flush(lua_State *L) {
    flush_engines(stores__hub_check(L, 1));
    return 0;
}

static int hub_done(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_pushboolean(L, stores__slot_check(L, hub, 2)->state >= SLOT_READY);
    return 1;
}

static int hub_abandon(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    if (number < 1 || number > hub->slot_count) return 0;
    give_up(hub->slots[number - 1]);
    return 0;
}

/* ---- For who waits for the loop himself ------------------------------------------------------- */

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
    stores__tick_open(hub);
    hub->closed = false;
    return 1;
}

static void engine_closed(void *arg) {
    struct stores__hub *hub = arg;
    hub->open--;
}

static void close_engines(lua_State *L, struct stores__hub *hub) {
    while (!stores__list_empty(&hub->engines)) {
        struct stores__lua_engine *engine = STORES__CONTAINER(hub->engines.next,
                                                              struct stores__lua_engine, link);
        stores__list_remove(&engine->link);
        stores__log_drop(L, engine);
        stores_engine *core = engine->engine;
        engine->engine = NULL;
        stores_engine_close(core, engine_closed, hub);
    }
}

static int hub_gc(lua_State *L) {
    struct stores__hub *hub = lua_touserdata(L, 1);
    if (hub->closed || hub->process != stores__process()) return 0;
    hub->closed = true;
    close_engines(L, hub);
    stores__log_forget(hub);
    for (int i = 0; i < hub->slot_count; i++) {
        struct stores__slot *slot = hub->slots[i];
        if (slot->state != SLOT_FREE) stores__slot_free(slot);
        stores__slot_close_timer(slot);
    }
    stores__tick_close(L, hub);
    stores__driver_close(L, hub);
    /* what is left of ours on somebody else's loop would be called when this code is unloaded */
    while (hub->open > 0) uv_run(hub->loop, UV_RUN_ONCE);
    if (hub->owns_loop) {
        uv_close((uv_handle_t *)&hub->stirred, NULL);
        uv_run(hub->loop, UV_RUN_DEFAULT);
        uv_loop_close(hub->loop);
    }
    for (int i = 0; i < hub->slot_count; i += SLAB) free(hub->slots[i]);
    free(hub->slots);
    return 0;
}

static const luaL_Reg hub_methods[] = {{"turn", hub_turn},
                                       {"next", hub_next},
                                       {"take", hub_take},
                                       {"tell", hub_tell},
                                       {"wait", hub_wait},
                                       {"flush", hub_flush},
                                       {"done", hub_done},
                                       {"abandon", hub_abandon},
                                       {"fd", hub_fd},
                                       {"timeout", hub_timeout},
                                       {"pending", hub_pending},
                                       {"ready", hub_any_ready},
                                       {NULL, NULL}};

/* Stack: the module's table. */
void stores__hub_register(lua_State *L) {
    stores__type_register(L, STORES__HUB, hub_gc, hub_methods);
    lua_pushcfunction(L, hub_new);
    lua_setfield(L, -2, "hub");
}

/*
 * waiters.c - the coroutines that wait for slots, of hosts that resume them here: who waits for
 * which, in a table of the host, and resuming those whose calls are done. Such a coroutine is
 * resumed from C, and a call of C may leave it: a find starts, waits and comes back as one call.
 *
 *   ready --take--> woken --resume--> done: its coroutine goes on
 */
#include "waiters.h"

enum { LOOK = 32 }; /* coroutines: then it is looked how long they have worked */

/* Yielded by a coroutine that waits for a slot, and by one that waits to be unparked; given to one
 * whose slot is done, and to who is to wait otherwise; and what is left to Lua. Their addresses are
 * the values, for which no memory is asked: a finalizer that raises then would take with it what is
 * to be said. */
static const char wait_mark, park_mark, woken_mark, apart_mark;
static const char more_mark, yields_mark, failed_mark, odd_mark;

static void push_mark(lua_State *L, const char *mark) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)mark);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static bool is_main(lua_State *L) {
    bool is = lua_pushthread(L) == 1;
    lua_pop(L, 1);
    return is;
}

bool stores__waits_here(lua_State *L, const struct stores__hub *hub) {
    return hub->running == L ? lua_isyieldable(L) : hub->blocks && is_main(L);
}

int stores__wait_apart(lua_State *L) {
    lua_pushnil(L);
    push_mark(L, &apart_mark);
    return 2;
}

int stores__wait_here(lua_State *L, struct stores__slot *slot) {
    struct stores__hub *hub = slot->hub;
    if (hub->running != L) {
        stores__hub_wait(L, slot);
        lua_pushinteger(L, slot->index);
        push_mark(L, &woken_mark);
        return 2;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, hub->waiting);
    lua_pushthread(L);
    lua_rawseti(L, -2, slot->index);
    slot->here = true;
    hub->came++;
    push_mark(L, &wait_mark);
    lua_pushinteger(L, slot->index);
    return lua_yield(L, 2);
}

/* hub:again() -> as stores__wait_here: for a coroutine that somebody else has resumed meanwhile */
static int hub_again(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    lua_settop(L, 1);
    if (hub->waiting != 0) lua_rawgeti(L, LUA_REGISTRYINDEX, hub->waiting);
    for (int i = 0; hub->waiting != 0 && i < hub->slot_count; i++) {
        lua_rawgeti(L, 2, i + 1);
        bool mine = lua_tothread(L, -1) == L;
        lua_pop(L, 1);
        if (!mine) continue;
        push_mark(L, &wait_mark);
        return lua_yield(L, 1);
    }
    return stores__raise(L, STORES_INTERNAL, "the call that this coroutine waits for was given up");
}

/* hub:block(): calls outside of coroutines turn the loop themselves */
static int hub_block(lua_State *L) {
    stores__hub_check(L, 1)->blocks = true;
    return 0;
}

/* hub:wait_in(waiting): the table of the host, slot -> the coroutine that waits for it. Those that
 * waited in another one are given up. */
static int hub_wait_in(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (hub->waiting != 0) luaL_unref(L, LUA_REGISTRYINDEX, hub->waiting);
    hub->waiting = hub->came = 0; /* the next line may raise */
    hub->waiting = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

void stores__waiters_close(lua_State *L, struct stores__hub *hub) {
    if (hub->waiting != 0) luaL_unref(L, LUA_REGISTRYINDEX, hub->waiting);
    hub->waiting = 0;
}

/* ---- Going on -------------------------------------------------------------------------------- */

/* Whether lua_resume may be called: it would spoil the stack of a coroutine that runs. */
static bool is_left(lua_State *co) {
    lua_Debug frame;
    int status = lua_status(co);
    if (status == LUA_YIELD) return true;
    return status == 0 && lua_getstack(co, 0, &frame) == 0 && lua_gettop(co) > 0;
}

/* Resumes the coroutine; what it does then is what Lua need not hear of, or the mark of it is
 * pushed, the coroutine, and what was wrong. */
static int go_on(lua_State *L, struct stores__hub *hub, lua_State *co, int arguments) {
    int at = lua_gettop(L); /* where the coroutine is */
    const char *left = &odd_mark;
    if (is_left(co)) {
        lua_State *before = hub->running;
        hub->running = co;
        int status = lua_resume(co, arguments);
        hub->running = before;
        if (status > LUA_YIELD) {
            left = &failed_mark;
            lua_xmove(co, L, 1);
        } else {
            const void *mark = status == LUA_YIELD ? lua_touserdata(co, 1) : &park_mark;
            if (mark == &wait_mark) {
                lua_remove(co, 1); /* its slot stays there: see is_for */
                return 0;
            }
            lua_settop(co, 0);
            if (mark == &park_mark) return 0;
            left = &yields_mark;
        }
    }
    push_mark(L, left);
    lua_insert(L, at);
    return lua_gettop(L) - at + 1;
}

/* Puts below the values on top how many coroutines more wait than it was told the last time. */
static int with_change(lua_State *L, struct stores__hub *hub, int values) {
    lua_pushinteger(L, hub->came);
    hub->came = 0;
    lua_insert(L, -1 - values);
    return 1 + values;
}

/* hub:go(co) -> as hub:resume, of a coroutine that waits for no slot */
static int hub_go(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    luaL_checktype(L, 2, LUA_TTHREAD);
    lua_settop(L, 2);
    return with_change(L, hub, go_on(L, hub, lua_tothread(L, 2), 0));
}

/* hub:take() -> whether coroutines are to be resumed: those whose slots are ready by now, or those
 * that are left of the last time, who come first */
static int hub_take(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (stores__list_empty(&hub->woken)) stores__list_move(&hub->ready, &hub->woken);
    lua_pushboolean(L, !stores__list_empty(&hub->woken));
    return 1;
}

/* The coroutine that waits for the slot, which it does no more, pushed; NULL: none does. */
static lua_State *shift(lua_State *L, struct stores__hub *hub, const struct stores__slot *slot) {
    lua_rawgeti(L, 2, slot->index);
    lua_State *co = lua_tothread(L, -1);
    if (co == NULL) {
        lua_pop(L, 1);
        return NULL;
    }
    lua_pushnil(L);
    lua_rawseti(L, 2, slot->index); /* no memory is asked for: it is there */
    hub->came--;
    return co;
}

/* Whether the coroutine, which was left by stores__wait_here, waits for that slot still. Its slot
 * lies on its stack, unless somebody else has resumed it meanwhile. Then it goes on to wait; but an
 * error may have led it out of there, as a hook raises one, and what it waits for now is another
 * slot, which came later. */
static bool is_for(lua_State *L, const struct stores__hub *hub, lua_State *co,
                   const struct stores__slot *slot) {
    if (lua_gettop(co) > 0) return lua_tointeger(co, 1) == slot->index;
    for (int i = 0; i < hub->slot_count; i++) {
        const struct stores__slot *other = hub->slots[i];
        lua_rawgeti(L, 2, other->index);
        bool later = lua_tothread(L, -1) == co && other->serial > slot->serial;
        lua_pop(L, 1);
        if (later) return false;
    }
    return true;
}

/* hub:resume(waiting) -> the change of how many wait; and nil: all that were taken went on;
 * core.MORE: the slice is over before that; else what one of them did, and which: core.YIELDS, to
 * whoever it believes to have resumed it; core.FAILED, and with what; core.ODD: it is not to be
 * resumed from here. A slot that nobody waits for is passed over: hub:result takes it. */
static int hub_resume(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    for (int done = 1; !stores__list_empty(&hub->woken); done++) {
        struct stores__slot *slot = STORES__CONTAINER(hub->woken.next, struct stores__slot, link);
        stores__slot_told(slot);
        lua_State *co = shift(L, hub, slot);
        if (slot->abandoned) stores__slot_free(slot);
        if (co == NULL) continue;
        bool here = slot->here && lua_status(co) == LUA_YIELD;
        if (here && !is_for(L, hub, co, slot)) {
            stores__slot_give_up(slot);
            lua_settop(L, 2);
            continue;
        }
        if (here) {
            lua_settop(co, 0);
            /* it was left by a function of C, which has room for so many */
            lua_pushinteger(co, slot->index);
            push_mark(co, &woken_mark);
        }
        int values = go_on(L, hub, co, here ? 2 : 0);
        if (values > 0) return with_change(L, hub, values);
        lua_settop(L, 2);
        stores__hub_check(L, 1); /* it may be a child by now, and the others are the parent's */
        if (done % LOOK == 0 && stores__slice_over(hub) && !stores__list_empty(&hub->woken)) {
            push_mark(L, &more_mark);
            return with_change(L, hub, 1);
        }
    }
    return with_change(L, hub, 0);
}

static const luaL_Reg methods[] = {
    {"again", hub_again}, {"block", hub_block},     {"go", hub_go}, {"resume", hub_resume},
    {"take", hub_take},   {"wait_in", hub_wait_in}, {NULL, NULL}};

void stores__waiters_register(lua_State *L) {
    stores__type_extend(L, STORES__HUB, methods);
    static const struct {
        const char *name, *mark;
    } marks[] = {{"WAIT", &wait_mark},     {"PARK", &park_mark}, {"WOKEN", &woken_mark},
                 {"APART", &apart_mark},   {"MORE", &more_mark}, {"YIELDS", &yields_mark},
                 {"FAILED", &failed_mark}, {"ODD", &odd_mark},   {NULL, NULL}};
    for (int i = 0; marks[i].name != NULL; i++) {
        push_mark(L, marks[i].mark);
        lua_setfield(L, -2, marks[i].name);
    }
}

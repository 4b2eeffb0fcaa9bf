/*
 * hub.h - a hub: the loop of one Lua state, with the calls that wait on it and the engines that
 * they were made of.
 *
 * A call is a slot, a small integer: starting one gives its slot, a finished one is found by
 * hub:next, or its coroutine is resumed by hub:resume; hub:result takes its values and frees it.
 * Callbacks of the core only move slots to the ready list; Lua runs after the loop has turned.
 *
 *   free_slots --slot_new--> pending --slot_ready--> ready --next, resume, wait--> done
 *       ^                       |                      |                          |
 *       +-----------------------+----- slot_free ------+--------------------------+
 */
#ifndef STORES_BINDINGS_HUB_H
#define STORES_BINDINGS_HUB_H

#include <uv.h>

#include "base/base.h"
#include "lua_api.h"
#include "spin.h"
#include "values/error.h"
#include "values/userdata.h"

struct stores__driver;
struct stores__slot;

struct stores__hub {
    const void *type; /* what stores__userdata looks at */
    uv_loop_t *loop;
    uv_loop_t own;
    uv_async_t stirred; /* of a loop of its own: something got ready outside of its turns */
    bool owns_loop, closed, turning;
    uint64_t process;
    struct stores__list ready, free_slots; /* slot.c moves them */
    struct stores__list woken; /* waiters.c: slots that were ready, whose coroutines are resumed */
    lua_State *running; /* waiters.c: the coroutine that is resumed from there; NULL: none */
    bool blocks; /* a call outside of coroutines may turn the loop itself */
    int waiting; /* of waiters.c, in the registry; 0: there is none */
    int came; /* how many coroutines more wait than the host was told */
    uint64_t serial; /* of the last call */
    struct stores__list engines; /* engines.c */
    struct stores__list messages; /* messages.c: what is to be told to log functions and hooks */
    int statement_function; /* of core.watch_statements, in the registry; 0: there is none */
    uv_timer_t tick; /* tick.c: for Lua that is to run after a turn, at a time */
    int tick_function; /* in the registry; 0: there is none */
    bool tick_due;
    lua_Hook tick_hook; /* the program's, when the tick was asked for */
    uv_timer_t pulse; /* tick.c: ends a wait that is long, for a look at the program's signals */
    bool pulses; /* a wait wants that */
    bool may_spin; /* the servers have another processor */
    struct stores__spin finds, others, turns; /* waits for them; for the one call that is pending */
    stores_times times; /* of the call whose result was taken last */
    double decode; /* its time in result.c */
    char source; /* '\0': it was none of an engine */
    bool timed;
    struct stores__slot **slots;
    int slot_count, slot_room, pending;
    uint64_t slice_worked, slice_at; /* ns: when the slice is over by the work, at the earliest */
    int open; /* engines, timers and a driver that are not closed yet */
    struct stores__driver *driver; /* NULL: the loop is turned by the hub */
};

/* The hub at index, which is open and of this process; raises. */
static inline struct stores__hub *stores__hub_check(lua_State *L, int index) {
    struct stores__hub *hub = stores__userdata(L, index, STORES__HUB, sizeof *hub);
    if (hub == NULL) hub = luaL_checkudata(L, index, STORES__HUB);
    if (hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "this loop belongs to the process before the fork");
    }
    if (hub->closed) stores__raise(L, STORES_CLOSED, "the loop is closed");
    return hub;
}

/* time.c: whether the slice that hub:begin_slice began is over. */
bool stores__slice_over(struct stores__hub *hub);

/* Stack: the module's table. The first of these makes the type, to which the others add. */
void stores__hub_register(lua_State *L);
void stores__engines_register(lua_State *L);
void stores__result_register(lua_State *L);
void stores__time_register(lua_State *L);
void stores__tick_register(lua_State *L);
void stores__driver_register(lua_State *L);
void stores__doorbell_register(lua_State *L);
void stores__relay_register(lua_State *L);
void stores__signals_register(lua_State *L);
void stores__waiters_register(lua_State *L);

#endif

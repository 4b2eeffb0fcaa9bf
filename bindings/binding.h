/*
 * binding.h - what the files of the Lua module stores.core share. Nothing in here knows how the
 * core does its work: bindings include stores.h (and the buffers and lists of base.h) alone.
 *
 * A hub is the loop of one Lua state with the calls that wait on it. A call is a slot, a small
 * integer: starting one gives its slot, a finished one is found by hub:next, hub:result takes its
 * values and frees it. Callbacks of the core only move slots to the ready list; Lua runs after the
 * loop has turned.
 */
#ifndef STORES_BINDING_H
#define STORES_BINDING_H

#include <uv.h>

#include "base/base.h"
#include "json/codec.h"
#include "lua_api.h"

/* Names of metatables; their addresses are the types of userdata. */
extern const char stores__hub_type[], stores__engine_type[], stores__tx_type[];
#define STORES__HUB stores__hub_type
#define STORES__ENGINE stores__engine_type
#define STORES__TX stores__tx_type

enum stores__slot_kind {
    SLOT_DOCUMENT, /* a document, or nil */
    SLOT_DOCUMENTS, /* an array with a document, or false, for each id */
    SLOT_CHANGE, /* found, inserted, document, the row's id where it is another one now */
    SLOT_SELECT, /* an array of documents: of (id, value) rows */
    SLOT_ROWS, /* an array of row tables */
    SLOT_COUNT, /* how many were affected */
    SLOT_NOTHING, /* true */
    SLOT_SLEEP
};

enum stores__slot_state { SLOT_FREE, SLOT_PENDING, SLOT_READY, SLOT_DONE };

struct stores__hub;
struct stores__driver;

struct stores__slot {
    struct stores__list link; /* free list, or ready list */
    struct stores__hub *hub;
    stores_op *op;
    uv_timer_t *timer; /* of SLEEP; made once, and kept until the hub is closed */
    int index;
    enum stores__slot_state state;
    enum stores__slot_kind kind;
    bool raw; /* documents as their JSON text */
    bool commits; /* where it succeeds, its work is done and stays */
    int64_t id; /* of CHANGE: the row that was asked for */
    bool abandoned; /* what cannot be called back, and nobody waits for any more */
};

struct stores__hub {
    const void *type; /* what stores__userdata looks at; the first thing in every userdata */
    uv_loop_t *loop;
    uv_loop_t own;
    uv_async_t stirred; /* of a loop of its own: something got ready outside of its turns */
    bool owns_loop, closed, turning;
    uint64_t process;
    struct stores__list ready, free_slots, engines;
    struct stores__list messages; /* messages.c: what is to be told to log functions and hooks */
    int statement_function; /* watch.c: in the registry; 0: there is none */
    uv_timer_t tick; /* time.c: for Lua that is to run after a turn, at a time */
    int tick_function; /* in the registry; 0: there is none */
    bool tick_due;
    lua_Hook tick_hook; /* the program's, when the tick was asked for */
    uv_timer_t pulse; /* time.c: ends a wait that is long, for a look at the program's signals */
    bool pulses; /* a wait wants that */
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

struct stores__lua_engine {
    const void *type;
    struct stores__list link; /* hub->engines */
    struct stores__hub *hub;
    stores_engine *engine; /* NULL: closed */
    int shard, shard_count;
    stores_tx *told; /* which the caller of the next method holds; NULL: none */
    stores_tx *inside; /* the same of the method that runs: one that raises leaves it to nobody */
    int log_function; /* in the registry; LUA_NOREF: there is none */
};

static inline void stores__engine_take_told(struct stores__lua_engine *engine) {
    engine->inside = engine->told;
    engine->told = NULL;
}

/* The userdata at index where it is of that type and process; NULL where it is not, which the slow
 * way explains. A call looks three times, and luaL_checkudata makes a string of the type's name
 * each time. No userdata of anybody else begins with the address of our type's name. */
static inline void *stores__userdata(lua_State *L, int index, const void *type, size_t size) {
    void *data = lua_touserdata(L, index);
    if (data == NULL || lua_objlen(L, index) < size) return NULL;
    return memcmp(data, &type, sizeof type) == 0 ? data : NULL;
}

/* A type of userdata with its finalizer and its methods (module.c). */
void stores__type_register(lua_State *L, const char *name, lua_CFunction gc,
                           const luaL_Reg *methods);

/* ---- Hubs (hub.c) ---------------------------------------------------------------------------- */

void stores__hub_register(lua_State *L);
struct stores__hub *stores__hub_check(lua_State *L, int index);
/* A pending slot; the op's callback is stores__slot_done with the slot as its argument. Raises
 * where memory ran out. */
struct stores__slot *stores__slot_new(lua_State *L, struct stores__hub *hub,
                                      enum stores__slot_kind kind, bool raw);
void stores__slot_done(stores_op *op, void *arg);
/* What it waited for has come: hub:next gives it. */
void stores__slot_ready(struct stores__slot *slot);
/* Keeps the op in its slot and pushes the slot's number; an op that is NULL for want of memory
 * raises. Returns 1. */
int stores__slot_started(lua_State *L, struct stores__slot *slot, stores_op *op);
/* The slot whose number is at index, in use; raises where there is none. */
struct stores__slot *stores__slot_check(lua_State *L, struct stores__hub *hub, int index);
/* A slot whose op was never made, because an argument raised. */
void stores__slot_free(struct stores__slot *slot);

/* ---- Time (time.c) --------------------------------------------------------------------------- */

void stores__time_register(lua_State *L); /* after the hub's type */
/* Of a hub that is closed; hub->open counts down when the timer is gone. */
void stores__slot_close_timer(struct stores__slot *slot);
void stores__tick_open(struct stores__hub *hub);
/* While the loop may wait for long, it comes back in between. */
void stores__pulse(struct stores__hub *hub, bool on);
/* False: what a signal of the program has set since to run (the hook was before; luajit's Ctrl-C)
 * raised an error, which is on the stack. */
bool stores__heed_signals(lua_State *L, lua_Hook before);
/* Calls the function of the tick where its time has come; never inside a callback of the loop. */
void stores__tick_deliver(lua_State *L, struct stores__hub *hub);
/* hub->open counts down when it is gone. */
void stores__tick_close(lua_State *L, struct stores__hub *hub);

/* ---- Loops that others turn (driver.c) -------------------------------------------------------- */

void stores__driver_register(lua_State *L);
/* Lets go of the loop; hub->open counts down when that is done. */
void stores__driver_close(lua_State *L, struct stores__hub *hub);
/* The loop does not wait in this turn, after which the driver has its turn. */
void stores__driver_hurry(struct stores__driver *driver);

void stores__doorbell_register(lua_State *L); /* doorbell.c */
void stores__relay_register(lua_State *L); /* relay.c */

/* ---- Values (result.c, error.c, args.c) ------------------------------------------------------ */

void stores__result_register(lua_State *L); /* hub:result, after the hub's type */
/* Pushes the error table of an error, with the metatable that Lua gave. */
void stores__error_push(lua_State *L, const stores_error *error);
int stores__raise(lua_State *L, stores_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void stores__error_register(lua_State *L);

/* The id at index, a canonical string; raises invalid_id, or wrong_shard. */
int64_t stores__id_check(lua_State *L, int index, const struct stores__lua_engine *engine);
/* The ids of the array at index, anchored by a userdata that is pushed. */
int64_t *stores__ids_check(lua_State *L, int index, const struct stores__lua_engine *engine,
                           size_t *count);
void stores__id_push(lua_State *L, int64_t id);
/* The name of a table at index, which the core has yet to read; raises invalid_table. */
const char *stores__table_check(lua_State *L, int index);
/* Seconds at index, in ms; nil: 0, which is the engine's default. */
uint64_t stores__ms_check(lua_State *L, int index);
/* An array of parameters as texts, anchored by a userdata that is pushed. */
stores_params stores__params_check(lua_State *L, int index);
/* The document at index as JSON text, anchored by a userdata that is pushed. Raises
 * invalid_document. */
const char *stores__document_check(lua_State *L, int index);

/* ---- What the core says (messages.c, watch.c) ------------------------------------------------------ */

/* The first thing in what is kept for a function until the loop has turned; malloc'ed. */
struct stores__message {
    struct stores__list link;
    int function; /* in the registry */
    void (*push)(lua_State *L, const struct stores__message *message); /* its one argument */
};

void stores__log_keep(void *arg, const char *text);
/* Calls the functions; never inside a callback of the loop. */
void stores__log_deliver(lua_State *L, struct stores__hub *hub);
void stores__log_drop(lua_State *L, struct stores__lua_engine *engine);
/* The hub goes: what is left is told to nobody. */
void stores__log_forget(struct stores__hub *hub);

void stores__watch_register(lua_State *L);
/* A new engine tells of its statements where there is a hook for them. */
void stores__watch_engine(struct stores__lua_engine *engine);

/* ---- Engines and transactions (engine.c, tx.c) ----------------------------------------------- */

void stores__engine_register(lua_State *L);
void stores__tx_register(lua_State *L);
struct stores__lua_engine *stores__engine_check(lua_State *L, int index);
int stores__engine_new_lua(lua_State *L); /* core.engine(hub, config) */
void stores__listen_register(lua_State *L);
int stores__listen_lua(lua_State *L); /* engine:listen(channel) */
int stores__tx_new_lua(lua_State *L); /* engine:tx(options) */
/* kind, table, id, doc, timeout, cache, raw, expr, params from index on, as a change, which may point to
 * *params; what else it points to is anchored on the stack. */
stores_change stores__change_check(lua_State *L, int index, const struct stores__lua_engine *engine,
                                   stores_params *params);
/* Reads the engine's options of a query from the table at index. */
stores_query_options stores__query_options_check(lua_State *L, int index);

/* ---- Configuration (config.c) ---------------------------------------------------------------- */

/* Fills config from the flat table at index; its strings are anchored by that table, and by what is
 * pushed. */
void stores__config_check(lua_State *L, int index, stores_config *config);

#endif

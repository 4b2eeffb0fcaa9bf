/*
 * slot.h - a call that is under way, as a hub knows it.
 */
#ifndef STORES_BINDINGS_SLOT_H
#define STORES_BINDINGS_SLOT_H

#include "hub/hub.h"

enum stores__slot_kind {
    SLOT_DOCUMENT, /* a document, or nil */
    SLOT_HINTED, /* a document, or nil; whether there was a hint */
    SLOT_DOCUMENTS, /* an array with a document, or false, for each id */
    SLOT_CHANGE, /* found, inserted, document, the row's id where it is another one now, etag */
    SLOT_SELECT, /* an array of documents: of (id, value, keys) rows; then of the last one its id,
                  * whether there are more, its keys, and of the first one its id and its keys;
                  * with `places` in place of all these an array of their ids, and one of their
                  * keys, in which false stands for none */
    SLOT_ROWS, /* an array of row tables */
    SLOT_COLUMNS, /* how many were affected, and an array of texts for each column */
    SLOT_COUNT, /* how many were affected */
    SLOT_TEXTS, /* an array of texts, nil for what is not there, and how many */
    SLOT_NOTHING, /* true */
    SLOT_SLEEP
};

enum stores__slot_state { SLOT_FREE, SLOT_PENDING, SLOT_READY, SLOT_DONE };

struct stores__slot {
    struct stores__list link; /* of free slots, of those that are ready, or of woken ones */
    struct stores__hub *hub;
    stores_op *op;
    uv_timer_t *timer; /* of SLEEP; made once, and kept until the hub is closed */
    int index;
    uint64_t serial; /* that of its call: a later one has a higher one */
    unsigned use; /* which of its calls this is: numbers are used again */
    enum stores__slot_state state;
    enum stores__slot_kind kind;
    bool raw; /* documents as their JSON text */
    bool commits; /* where it succeeds, its work is done and stays */
    bool quiet; /* of CHANGE: the document is not given, though the op has it */
    bool etag; /* of a document: it is given, too */
    char unless[STORES_ETAG_SIZE]; /* of DOCUMENT: where it has this etag true stands for it */
    int64_t id; /* of CHANGE: the row that was asked for */
    int most; /* of SELECT: so many rows are given, of one more only that it is there; -1: all */
    bool places; /* of SELECT: for who merges; see SLOT_SELECT */
    bool here; /* its coroutine was left by stores__wait_here */
    bool abandoned; /* what cannot be called back, and nobody waits for any more */
};

/* A pending slot; the op's callback is stores__slot_done with the slot as its argument. Raises
 * where memory ran out. */
struct stores__slot *stores__slot_new(lua_State *L, struct stores__hub *hub,
                                      enum stores__slot_kind kind, bool raw);
void stores__slot_done(stores_op *op, void *arg);
/* What it waited for has come: hub:next gives it. */
void stores__slot_ready(struct stores__slot *slot);
/* The first of the ready list, whose caller is told of it now; NULL: there is none. */
struct stores__slot *stores__slot_shift(struct stores__hub *hub);
/* Its caller knows that it is ready: it is done. Harmless for one in another state. */
void stores__slot_told(struct stores__slot *slot);
/* Keeps the op in its slot and pushes the slot's number; an op that is NULL for want of memory
 * raises. Returns 1. */
int stores__slot_started(lua_State *L, struct stores__slot *slot, stores_op *op);
/* The slot whose number is at index, in use; raises where there is none. */
struct stores__slot *stores__slot_check(lua_State *L, struct stores__hub *hub, int index);
/* hub.c: turns the loop until the call is done; raises. */
void stores__hub_wait(lua_State *L, struct stores__slot *slot);
/* In whatever state it is; its op goes with it. */
void stores__slot_free(struct stores__slot *slot);
/* Nobody waits for it any more, who can still say so. */
void stores__slot_give_up(struct stores__slot *slot);
/* Sees to it that the slot has its timer, which it keeps: a stopped one costs the loop nothing.
 * False: no memory. */
bool stores__slot_timer(struct stores__slot *slot);
/* Of a hub that closes: hub->open counts down when the last timer is gone, then slots_free. */
void stores__slots_close(struct stores__hub *hub);
void stores__slots_free(struct stores__hub *hub);

#endif

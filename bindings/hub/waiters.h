/*
 * waiters.h - a call that waits by itself, as one function of C.
 */
#ifndef STORES_BINDINGS_WAITERS_H
#define STORES_BINDINGS_WAITERS_H

#include "hub/slot.h"

/* Whether the coroutine that runs is one that its hub resumes, and may be left here; or none runs,
 * and who calls may turn the loop. */
bool stores__waits_here(lua_State *L, const struct stores__hub *hub);
/* Waits until the slot, which was started, is done: leaves the coroutine, as the last thing that a
 * function of C does, or turns the loop. That function gives the slot and core.WOKEN then. Where
 * somebody else has resumed the coroutine meanwhile it gives something else, and hub:again goes on
 * waiting. */
int stores__wait_here(lua_State *L, struct stores__slot *slot);
/* What such a function gives where that is not so, before anything was done: nil and
 * core.APART. Its caller waits by wait.slot. */
int stores__wait_apart(lua_State *L);
/* Of a hub that closes. */
void stores__waiters_close(lua_State *L, struct stores__hub *hub);

#endif

/*
 * tick.h - what is to happen while a hub waits: Lua that runs at a time, and the program's signals.
 */
#ifndef STORES_BINDINGS_TICK_H
#define STORES_BINDINGS_TICK_H

#include "hub/hub.h"

void stores__tick_open(struct stores__hub *hub);
/* hub->open counts down when its timers are gone. */
void stores__tick_close(lua_State *L, struct stores__hub *hub);
/* Calls the function of the tick where its time has come; never inside a callback of the loop. */
void stores__tick_deliver(lua_State *L, struct stores__hub *hub);
/* While the loop may wait for long, it comes back in between. */
void stores__pulse(struct stores__hub *hub, bool on);
/* False: what a signal of the program has set since to run (the hook was before; luajit's Ctrl-C)
 * raised an error, which is on the stack. */
bool stores__heed_signals(lua_State *L, lua_Hook before);

#endif

/*
 * driver.h - how a hub hears of a loop that others turn.
 */
#ifndef STORES_BINDINGS_DRIVER_H
#define STORES_BINDINGS_DRIVER_H

#include "hub/hub.h"

/* Lets go of the loop; hub->open counts down when that is done. Harmless where there is none. */
void stores__driver_close(lua_State *L, struct stores__hub *hub);

#endif

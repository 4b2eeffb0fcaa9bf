/* starve.h - transactions that hold every connection of the pool, and wait for one more. */
#ifndef STORES_STARVE_H
#define STORES_STARVE_H

#include "engine/engine.h"

/* Somebody waits for a connection, and no other one may be opened. */
void stores__starve_look(stores_engine *engine);
/* The tx goes; calls that its holder made say no more that they are his. */
void stores__starve_forget(stores_tx *tx);

#endif

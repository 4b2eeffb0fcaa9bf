/* options.h - what an engine is asked to be: defaults, what is refused, and what of it is kept. */
#ifndef STORES_ENGINE_OPTIONS_H
#define STORES_ENGINE_OPTIONS_H

#include "engine/engine.h"

/* The caller's struct as this library knows it, with defaults where it says nothing. False: *error
 * says what is wrong. */
bool stores__options_take(const stores_config *given, stores_config *own, stores_error *error);
/* The engine's own copy, which keeps no pointer into the caller's memory. */
void stores__options_keep(stores_engine *engine, const stores_config *config);

#endif

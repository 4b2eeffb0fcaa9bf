/* calls.h - what calls.c and tx.c share. */
#ifndef STORES_CALLS_H
#define STORES_CALLS_H

#include "engine.h"

/* Copies parameters: *values points into the memory that is returned, both the caller's to free.
 * NULL: no memory. params may be NULL. */
char *stores__params_copy(const stores_params *params, const char ***values);

#endif

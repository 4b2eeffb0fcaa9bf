/* calls.h - what calls.c and tx.c share. */
#ifndef STORES_CALLS_H
#define STORES_CALLS_H

#include "engine/engine.h"

/* False: PostgreSQL does not take so many, and the op has failed. params may be NULL. */
bool stores__params_fit(stores_op *op, const stores_params *params);
/* Copies parameters: *values points into the memory that is returned, both the caller's to free.
 * NULL: no memory. params may be NULL. */
char *stores__params_copy(const stores_params *params, const char ***values);

#endif

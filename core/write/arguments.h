/*
 * arguments.h - what callers hand over, before anything is made of it: parameters, which are
 * copied, and texts, some of which are refused.
 */
#ifndef STORES_ARGUMENTS_H
#define STORES_ARGUMENTS_H

#include "engine/engine.h"

/* Makes of the caller's parameters, where there are any (*params not NULL), those that this library
 * knows, in own where they are not of its version. False: PostgreSQL does not take so many, or they
 * are wrong otherwise, and the op has failed. */
bool stores__params_fit(stores_op *op, const stores_params **params, stores_params *own);
/* The same of the options of a query. */
bool stores__query_options_fit(stores_op *op, const stores_query_options **options,
                               stores_query_options *own);
/* Copies parameters: *values points into the memory that is returned, both the caller's to free.
 * NULL: no memory. params may be NULL. */
char *stores__params_copy(const stores_params *params, const char ***values);

/* A text of a caller. False, as *error says: its rows would go from or to the client, or it would
 * begin or end a transaction, and may not. */
bool stores__text_fits(const struct stores__sql_known *known, bool may_control,
                       stores_error *error);

#endif

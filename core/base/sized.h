/*
 * sized.h - the structs that callers make, which begin with their size: a caller may have been
 * built with an older stores.h than the library, or with a newer one.
 */
#ifndef STORES_SIZED_H
#define STORES_SIZED_H

#include "base/err.h"

/* X(name, type, the last field of its first version): more fields follow behind that, without a
 * gap. */
#define STORES__SIZED(X)                                                                           \
    X(config, stores_config, log_arg)                                                              \
    X(call, stores_call, arg)                                                                      \
    X(params, stores_params, values)                                                               \
    X(change, stores_change, params)                                                               \
    X(query_options, stores_query_options, invalidates)                                            \
    X(tx_options, stores_tx_options, timeout_ms)                                                   \
    X(times, stores_times, postgres)                                                               \
    X(error, stores_error, table)                                                                  \
    X(replica, stores_replica, pg_values)                                                          \
    X(tls, stores_tls, server_name)                                                                \
    X(bulk, stores_bulk, id_count)                                                                 \
    X(held, stores_held, slot)

struct stores__sized {
    const char *name;
    size_t first, here; /* the sizes of its first version, and of the one that this library knows */
};

/* Fills own, of sized->here bytes, with what given has, and zero beyond. NULL: own is zero but for
 * its size, and *error says what is wrong with given. */
const void *stores__sized_take(const struct stores__sized *sized, const void *given, void *own,
                               stores_error *error);
/* Gives what own has to the caller's struct, as far as its size goes. False: it has no size that
 * any version had, and nothing was given. */
bool stores__sized_give(const struct stores__sized *sized, void *given, const void *own);

/* stores__call_given(given, &own, &error): the struct as this library knows it, which is given
 * itself where both are of one version, or else own. NULL: *error says what is wrong. */
#define STORES__X(what, type, last)                                                                \
    extern const struct stores__sized stores__sized_##what;                                        \
    static inline const type *stores__##what##_given(const type *given, type *own,                 \
                                                     stores_error *error) {                        \
        return given->size == sizeof *given                                                        \
                   ? given                                                                         \
                   : stores__sized_take(&stores__sized_##what, given, own, error);                 \
    }
STORES__SIZED(STORES__X)
#undef STORES__X

/* Gives *own to who asked, where somebody did (error not NULL). An error that has no size is told
 * that, in the fields that the first version had. */
void stores__error_give(stores_error *error, const stores_error *own);
/* False: error has no size, and says so. NULL is allowed. */
bool stores__error_fits(stores_error *error);

#endif

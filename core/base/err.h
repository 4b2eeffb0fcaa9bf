/*
 * err.h - making, copying and freeing errors inside the core. What a PostgreSQL error means is
 * decided here as well, from the texts of its fields, so that nothing in here includes libpq.
 */
#ifndef STORES_ERR_H
#define STORES_ERR_H

#include "base/base.h"

/* Fills e anew: code, its retryable, the message (cut where it is too long, between two
 * characters), outcome NONE, shard -1, all else empty. The format's arguments may point into e. */
void stores__error_set(stores_error *e, stores_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same on the heap, the caller's to free. Never NULL: without memory it gives an error that the
 * thread has ready, no_memory, which is not to be written to: whoever holds it shares it. What
 * becomes of an error later is therefore said by the functions below. */
stores_error *stores__error_new(stores_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A copy on the heap; without memory no_memory, but with the outcome of e. */
stores_error *stores__error_dup(const stores_error *e);
/* Says what became of the work, and with it whether the call may be tried again. */
void stores__error_outcome(stores_error **e, stores_outcome outcome);
/* Says of which shard it is. */
void stores__error_shard(stores_error *e, int shard);
/* NULL and the fallback are allowed. */
void stores__error_free(stores_error *e);

/*
 * Fills e from the fields of a PostgreSQL error, any of which may be NULL. In the message of class
 * 22 (data exceptions) the server quotes the value that it refused: it is cut out of the message,
 * and the server's full text begins the detail.
 *
 * The marker `stores:blocked:<sentence>` as the start of that refused value is how statements
 * report a value in the way of a path: the code is then path_blocked, the sentence the message.
 */
void stores__error_from_pg(stores_error *e, const char *sqlstate, const char *message,
                           const char *detail, const char *hint, const char *constraint,
                           const char *table);
/* Says the same error in other words. The arguments may point into e. */
void stores__error_reword(stores_error *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes in the statement that the server refused; its position in it, where the server named one,
 * is set before, and is one in what is kept of it afterwards. */
void stores__error_statement(stores_error *e, const char *sql);
/* Whether its position in the statement that it took in is that of this name, and of no longer
 * one. */
bool stores__error_points_at(const stores_error *e, const char *text);

#endif

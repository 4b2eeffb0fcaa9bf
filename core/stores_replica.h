/*
 * stores_replica.h - the part of stores.h that is about replicas: standbys of the server, which
 * answer reads. A program includes stores.h.
 */
#ifndef STORES_REPLICAS_H
#define STORES_REPLICAS_H

#include "stores_error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct stores_engine;

/* Who may answer what only reads. A replica does where it has replayed what this engine has
 * committed, and what such reads were given before; elsewhere, and in a transaction, it is the
 * primary. Nothing that a replica says goes into the cache, and what the cache has is not asked for
 * there: of finds it is those that do not go through the cache, of queries those that are readonly,
 * and no more than one statement. */
typedef enum stores_read { STORES_READ_PRIMARY = 0, STORES_READ_REPLICA = 1 } stores_read;

/* A standby. Its keywords are complete: nothing is taken from those of the engine. All else, but
 * for poolsize, is as for the engine's own connections. */
typedef struct stores_replica {
    size_t size;
    int poolsize; /* 0: the engine's */
    const char *const *pg_keys; /* libpq's keywords and values, ended by a NULL key; "url", too */
    const char *const *pg_values;
} stores_replica;

#define STORES_REPLICA_INIT STORES_SIZED(stores_replica)

enum { STORES_TOKEN_SIZE = 96 };
/* How far this engine has written, and read on replicas, as text: whoever reads after that token,
 * in this process or another one, sees as much. False, and "": it has no replicas, or nothing is
 * known yet; a call with STORES_READ_REPLICA, of which the primary then tells it, helps. */
STORES_API bool stores_token(const struct stores_engine *engine, char token[STORES_TOKEN_SIZE]);

/* Something was written that the engine has not seen: the next read is the primary's, and what
 * comes after it is not older. stores_invalidate says so, too. */
STORES_API void stores_wrote_elsewhere(struct stores_engine *engine);

/* Calls replica for each replica of the engine: where it is, why it is left alone ("": it is not),
 * how many reads it has answered, and how many that it was asked for the primary had to. */
STORES_API void stores_replicas(const struct stores_engine *engine,
                                void (*replica)(void *arg, const char *name, const char *why,
                                                uint64_t reads, uint64_t fallbacks),
                                void *arg);

#ifdef __cplusplus
}
#endif

#endif

/*
 * stores_inspect.h - looking into the cache: for tools that tell people what is there. stores.h
 * includes it, and says how calls are made.
 */
#ifndef STORES_INSPECT_H
#define STORES_INSPECT_H

#include "stores.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Calls table for every table that this engine has met: its oid; why its rows are not cached, in
 * the words of stores_uncached, or ""; whether any write to it may change rows that it does not
 * name (triggers and their like), or a deletion may (keys that cascade), so that all of its cached
 * rows go with such a write. */
STORES_API void stores_tables(stores_engine *engine,
                              void (*table)(void *arg, const char *name, uint32_t oid,
                                            const char *uncached, bool reaches, bool cascades),
                              void *arg);

/* Whether the database that this engine met last is of a Citus cluster. */
STORES_API bool stores_is_citus(stores_engine *engine);
/* Where the rows of a table are, as far as this engine knows without a question: "distributed" over
 * the workers of a Citus cluster, a copy on each of them ("reference"), or NULL: on the server that
 * it is connected to, or it has not met that table. */
STORES_API const char *stores_spread(stores_engine *engine, const char *table);

/* Whether a write that finds no row of a table may have locked one all the same, which something
 * keeps as it is: a trigger, a view, other servers; also where this engine has not met the
 * table. */
STORES_API bool stores_may_keep(stores_engine *engine, const char *table);

enum { STORES_KEY_SIZE = 640 };
/* The key in Redis of the epoch of a table, which its oid names, or of a row under an epoch that is
 * given. Returns its length; 0: PostgreSQL was not met yet, or there is no cache. */
STORES_API size_t stores_cache_key(stores_engine *engine, uint32_t table, const char *epoch,
                                   int64_t id, char out[STORES_KEY_SIZE]);
/* Whether an epoch that stands there, without its state, is of the present runs of both servers.
 * What is cached under another one is nobody's. */
STORES_API bool stores_cache_is_ours(stores_engine *engine, uint32_t table, const char *epoch);
/* How many nodes have keys: 1, or those of a cluster; 0: that is not known yet. */
STORES_API size_t stores_cache_nodes(const stores_engine *engine);
/* Sends a command to Redis as it is: to the node that has the keys of a table, or where table is 0
 * to one of the nodes, from 0 on. It should be one that only reads. The texts of the answer are the
 * documents of the op: those of arrays in arrays one behind the other, numbers in digits. The
 * answer may have as many elements as the command has words. */
STORES_API stores_op *stores_redis(stores_engine *engine, const stores_call *call, uint32_t table,
                                   size_t node, int argc, const char *const *argv,
                                   const size_t *lens);

#ifdef __cplusplus
}
#endif

#endif

/*
 * pg_pool_internal.h - the pool as its own files see it: pg_pool.c (who gets which connection),
 * pg_grow.c (opening connections, and losing them).
 */
#ifndef STORES_PG_POOL_INTERNAL_H
#define STORES_PG_POOL_INTERNAL_H

#include "pg_pool.h"

/* Gives idle connections to those who wait. */
void stores__pool_serve(struct stores__pg_pool *pool);
void stores__pool_leave_queue(struct stores__pg_wait *wait);
/* The only way from one place to another. */
void stores__pool_move(struct stores__pg_conn *conn, enum stores__pg_place place);
/* Opens another connection where that is allowed now (pg_grow.c). */
void stores__pool_grow(struct stores__pg_pool *pool);
/* A time +-10 %. */
uint64_t stores__pool_jitter(uint64_t ms);
void stores__pool_fail_waits(struct stores__pg_pool *pool, const stores_error *error);
/* Tells the engine when the last connection of a closing pool is gone. */
void stores__pool_check_closed(struct stores__pg_pool *pool);
/* The timer of the back-off. */
void stores__pool_retry(struct stores__timer *timer);

#endif

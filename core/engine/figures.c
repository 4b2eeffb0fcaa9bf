/* What stores_stats() tells: the engine's own figures, its pool's, and those of the parts. */
#include "engine/engine.h"
#include "engine/part.h"

bool stores_shard(const stores_engine *engine, int *shard, int *count, const char **strategy,
                  const char **cluster) {
    if (engine->shard.count == 0) return false;
    *shard = engine->shard.shard;
    *count = engine->shard.count;
    *strategy = engine->shard.strategy;
    *cluster = engine->shard.cluster;
    return true;
}

void stores_expect_cluster(stores_engine *engine, const char *cluster) {
    stores__pg_shard_expect(&engine->pool.common.shard, cluster);
}

void stores_stats(stores_engine *engine, void (*figure)(void *arg, const char *name, double value),
                  void *arg) {
    const struct stores__counters *counters = &engine->counters;
    const struct stores__pg_pool *pool = &engine->pool;
#define STORES__X(name) figure(arg, #name, (double)counters->name);
    STORES__COUNTERS(STORES__X)
#undef STORES__X
    figure(arg, "ops", (double)engine->pending_count);
    size_t open = 0;
    for (struct stores__list *at = engine->txs.next; at != &engine->txs; at = at->next) open++;
    figure(arg, "transactions", (double)open);
    size_t listeners, listening;
    stores__listen_figures(engine, &listeners, &listening);
    figure(arg, "listeners", (double)listeners);
    figure(arg, "listeners_deaf", (double)(listeners - listening));
    figure(arg, "pool_size", pool->size);
    figure(arg, "pool_connecting", pool->counts[STORES__PG_CONNECTING] + (pool->resolving != NULL));
    figure(arg, "pool_idle", pool->counts[STORES__PG_IDLE]);
    figure(arg, "pool_reading", pool->counts[STORES__PG_READING]);
    figure(arg, "pool_stalled", pool->counts[STORES__PG_STALLED]);
    figure(arg, "pool_writing", pool->counts[STORES__PG_WRITING]);
    figure(arg, "pool_checked_out", pool->counts[STORES__PG_CHECKED_OUT]);
    figure(arg, "pool_waiters", pool->lane_waiting + pool->checkout_waiting);
    figure(arg, "pg_round_trips", (double)pool->common.stats.round_trips);
    figure(arg, "pg_statements", (double)pool->common.stats.statements);
    figure(arg, "pg_prepares", (double)pool->common.stats.prepares);
    figure(arg, "pg_connects", (double)pool->common.stats.connects);
    figure(arg, "pg_connect_failures", (double)pool->common.stats.connect_failures);
    figure(arg, "pg_lost", (double)pool->common.stats.lost);
    figure(arg, "pg_resets", (double)pool->common.stats.resets);
    figure(arg, "pg_cancels", (double)pool->common.stats.cancels);
    STORES__UPWARDS(engine, stats, engine, figure, arg);
}

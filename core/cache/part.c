/* What the engine asks of the cache, tick by tick: see engine/part.h. */
#include "cache/cache.h"

void stores__cache_met(stores_engine *engine, const struct stores__pg_conn *conn) {
    if (engine->cache != NULL) stores__past_told(engine->cache, &conn->identity, conn->serial);
}

void stores__cache_doubt(stores_engine *engine) {
    if (engine->cache != NULL) stores__past_doubt(engine->cache);
}

void stores__cache_flush(stores_engine *engine) {
    if (engine->cache == NULL || engine->cache->redis == NULL) return;
    stores__redis_flush(engine->cache->redis);
}

void stores__cache_table_free(struct stores__table *table) {
    stores__epoch_let_go(table->epoch);
}

void stores__cache_stop(stores_engine *engine) {
    stores__epoch_stop_all(engine);
    stores__turn_all_stop(engine);
}

void stores__cache_stats(const stores_engine *engine,
                         void (*figure)(void *arg, const char *name, double value), void *arg) {
    const struct stores__cache *cache = engine->cache;
    if (cache == NULL || cache->redis == NULL) return;
    const struct stores__redis_stats *redis = stores__redis_stats(cache->redis);
    figure(arg, "redis_up", stores__redis_state(cache->redis) == STORES__REDIS_UP);
    figure(arg, "redis_round_trips", (double)redis->round_trips);
    figure(arg, "redis_commands", (double)redis->commands);
    figure(arg, "redis_connects", (double)redis->connects);
    figure(arg, "redis_failures", (double)redis->failures);
    figure(arg, "redis_timeouts", (double)redis->timeouts);
    figure(arg, "redis_pending", (double)stores__redis_pending(cache->redis));
}

/* What the engine asks of the cache, tick by tick: see engine/part.h. */
#include "cache/cache.h"
#include "cache/held.h"

void stores__cache_met(stores_engine *engine, const struct stores__pg_conn *conn) {
    if (engine->cache == NULL) return;
    engine->cache->on_worker = conn->worker;
    stores__past_told(engine->cache, &conn->identity, conn->serial);
}

void stores__cache_doubt(stores_engine *engine) {
    if (engine->cache != NULL) stores__past_doubt(engine->cache);
}

void stores__cache_flush(stores_engine *engine) {
    if (engine->cache != NULL) stores__nodes_flush(engine->cache);
}

void stores__cache_table_free(struct stores__table *table) {
    stores__epoch_let_go(table->epoch);
}

void stores__cache_stop(stores_engine *engine) {
    if (engine->cache != NULL && !engine->pool.common.deaf) stores__held_leave_all(engine->cache);
    stores__epoch_stop_all(engine);
    stores__turn_all_stop(engine);
}

void stores__cache_stats(const stores_engine *engine,
                         void (*figure)(void *arg, const char *name, double value), void *arg) {
    const struct stores__cache *cache = engine->cache;
    if (cache == NULL || cache->closed) return;
    struct stores__nodes_figures figures = stores__nodes_figures(cache);
    figure(arg, "redis_up", figures.up);
    figure(arg, "redis_nodes", (double)figures.links);
    figure(arg, "redis_round_trips", (double)figures.sum.round_trips);
    figure(arg, "redis_commands", (double)figures.sum.commands);
    figure(arg, "redis_connects", (double)figures.sum.connects);
    figure(arg, "redis_failures", (double)figures.sum.failures);
    figure(arg, "redis_timeouts", (double)figures.sum.timeouts);
    figure(arg, "redis_pending", (double)figures.pending);
    stores__held_stats(cache, figure, arg);
}

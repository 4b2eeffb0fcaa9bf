/* How an engine opens: see part.h. */
#include "base/sized.h"
#include "engine/op.h"
#include "engine/options.h"
#include "engine/part.h"
#include "engine/table.h"

/* ---- What the pool tells --------------------------------------------------------------------- */

static void connected(void *arg, const struct stores__pg_conn *conn) {
    stores_engine *engine = arg;
    stores__clock_told(engine, conn);
    engine->shard = conn->shard;
    STORES__UPWARDS(engine, identity, engine, conn);
}

static void dropped(void *arg) {
    stores_engine *engine = arg;
    STORES__UPWARDS(engine, doubt, engine);
}

static void crowded(void *arg) {
    stores_engine *engine = arg;
    STORES__UPWARDS(engine, crowded, engine);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool open_loop(stores_engine *engine, stores_error *error) {
    engine->loop = engine->config.loop;
    if (engine->loop != NULL) return true;
    engine->loop = malloc(sizeof *engine->loop);
    if (engine->loop == NULL || uv_loop_init(engine->loop) != 0) {
        free(engine->loop);
        engine->loop = NULL;
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a loop");
        return false;
    }
    engine->owns_loop = true;
    return true;
}

static bool open_parts(stores_engine *engine, const stores_config *config, stores_error *error) {
    for (int i = 0; i < engine->part_count; i++) {
        const struct stores__part *part = &engine->parts[i];
        if (part->open != NULL && !part->open(engine, config, error)) return false;
    }
    return true;
}

/* Whose an id is its caller knows, and nobody else. */
static bool knows_owners(const stores_config *config) {
    return config->shard_strategy != NULL && strcmp(config->shard_strategy, "modulo") != 0;
}

static stores_engine *blank(const stores_config *config) {
    stores_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return NULL;
    engine->process = stores__process();
    stores__options_keep(engine, config);
    engine->spare_ops.size = sizeof(stores_op);
    stores__list_init(&engine->ready);
    stores__list_init(&engine->pending);
    stores__list_init(&engine->parents);
    stores__list_init(&engine->flushes);
    stores__tables_init(engine);
    stores__breaker_init(engine);
    stores__list_init(&engine->epochs);
    stores__list_init(&engine->txs);
    engine->chance = stores__random_u64();
    stores__flake_init(&engine->flake,
                       config->simpleflake ? STORES__SIMPLEFLAKE_BITS : STORES__FLAKE_BITS,
                       config->shard_id, knows_owners(config) ? 0 : config->shard_count);
    return engine;
}

static stores_engine *engine_new(const struct stores__part *parts, int part_count,
                                 const stores_config *config, stores_error *error) {
    stores_engine *engine = blank(config);
    if (engine == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory");
        return NULL;
    }
    engine->parts = parts;
    engine->part_count = part_count;
    engine->flush_first = part_count;
    for (int i = part_count - 1; i >= 0; i--) {
        if (parts[i].flush == NULL) continue;
        engine->flush_first = i;
        if (engine->flush_end == 0) engine->flush_end = i + 1;
    }
    bool handles = open_loop(engine, error) && stores__engine_start(engine, error);
    bool ok = handles &&
              stores__pg_pool_open(&engine->pool, engine->loop, &engine->timers, config, error);
    engine->pool.arg = engine;
    engine->pool.connected = connected;
    engine->pool.dropped = dropped;
    engine->pool.crowded = crowded;
    engine->pool.closed = stores__engine_parted;
    if (ok && open_parts(engine, config, error)) return engine;
    if (handles) {
        stores_engine_close(engine, NULL, NULL);
    } else {
        if (engine->owns_loop) {
            uv_loop_close(engine->loop);
            free(engine->loop);
        }
        free(engine);
    }
    return NULL;
}

stores_engine *stores__engine_open(const struct stores__part *parts, int part_count,
                                   const stores_config *given, stores_error *error) {
    stores_config own;
    stores_error why;
    stores_engine *engine = NULL;
    if (!stores__error_fits(error)) return NULL;
    if (stores__options_take(given, &own, &why)) {
        engine = engine_new(parts, part_count, &own, &why);
    }
    if (engine == NULL) stores__error_give(error, &why);
    return engine;
}

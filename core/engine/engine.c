#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/sized.h"
#include "engine/options.h"
#include "engine/op.h"
#include "engine/part.h"
#include "engine/table.h"

void stores__log(stores_engine *engine, const char *format, ...) {
    char text[512];
    va_list args;
    if (engine->config.log == NULL || stores__closing(engine)) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    engine->config.log(engine->config.log_arg, text);
}

/* ---- The tick -------------------------------------------------------------------------------- */

static void run_flushes(stores_engine *engine) {
    struct stores__list batch;
    stores__list_init(&batch);
    stores__list_move(&engine->flushes, &batch);
    for (struct stores__list *at; (at = stores__list_shift(&batch)) != NULL;) {
        struct stores__flush *flush = STORES__CONTAINER(at, struct stores__flush, link);
        flush->run(flush);
    }
}

static void turn_idle(uv_idle_t *idle) {
    (void)idle;
}

/* What waits for the end of a tick, which libuv does not know of. */
static bool has_work(const stores_engine *engine) {
    return !stores__closing(engine) &&
           (!stores__list_empty(&engine->ready) || !stores__list_empty(&engine->flushes));
}

/* The end of a tick, before the loop waits. What completed inside the calls of this tick is told
 * first, and then the loop must not wait: its host has something to do. */
static void before_poll(uv_prepare_t *prepare) {
    stores_engine *engine = prepare->data;
    if (stores__engine_forked(engine)) return;
    if (!stores__closing(engine)) uv_idle_stop(&engine->idle);
    if (stores__op_drain(engine) > 0 && !stores__closing(engine))
        uv_idle_start(&engine->idle, turn_idle);
    run_flushes(engine);
    STORES__UPWARDS(engine, flush, engine);
    if (has_work(engine)) stores__engine_wake(engine);
}

static void after_poll(uv_check_t *check) {
    stores_engine *engine = check->data;
    if (stores__engine_forked(engine)) return;
    if (!stores__closing(engine)) uv_idle_stop(&engine->idle);
    stores__op_drain(engine);
    STORES__UPWARDS(engine, flush, engine);
    /* who waits for the descriptor of the loop asks libuv for how long */
    if (has_work(engine)) stores__engine_wake(engine);
}

void stores__engine_wake(stores_engine *engine) {
    if (!stores__closing(engine)) uv_idle_start(&engine->idle, turn_idle);
}

void stores__engine_hold(stores_engine *engine) {
    if (!stores__closing(engine)) uv_ref((uv_handle_t *)&engine->prepare);
}

void stores__engine_let_go(stores_engine *engine) {
    if (!stores__closing(engine)) uv_unref((uv_handle_t *)&engine->prepare);
}

void stores_flush(stores_engine *engine) {
    if (stores__closing(engine) || stores__engine_forked(engine)) return;
    run_flushes(engine);
    STORES__UPWARDS(engine, flush, engine);
    /* an idle handle that is active when a turn begins keeps libuv 1.44 from waiting in it */
    if (!has_work(engine)) uv_idle_stop(&engine->idle);
}

bool stores__engine_in_child(stores_engine *engine) {
    if (!engine->in_child) {
        engine->in_child = true;
        /* what was ready is told in the parent; who asks here is answered by what is here */
        stores__list_init(&engine->ready);
    }
    return true;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void connected(void *arg, const struct stores__pg_conn *conn) {
    stores_engine *engine = arg;
    stores__clock_told(engine, conn);
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

static bool open_handles(stores_engine *engine, stores_error *error) {
    int rc = uv_prepare_init(engine->loop, &engine->prepare);
    if (rc == 0) rc = uv_check_init(engine->loop, &engine->check);
    if (rc == 0) rc = uv_idle_init(engine->loop, &engine->idle);
    if (rc == 0) rc = stores__timers_open(&engine->timers, engine->loop);
    if (rc != 0) {
        stores__error_set(error, STORES_INTERNAL, "libuv: %s", uv_strerror(rc));
        return false;
    }
    engine->prepare.data = engine->check.data = engine->idle.data = engine;
    uv_prepare_start(&engine->prepare, before_poll);
    uv_check_start(&engine->check, after_poll);
    uv_unref((uv_handle_t *)&engine->prepare);
    uv_unref((uv_handle_t *)&engine->check);
    uv_unref((uv_handle_t *)&engine->idle);
    return true;
}

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

static stores_engine *blank(const stores_config *config) {
    stores_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return NULL;
    engine->process = stores__process();
    stores__options_keep(engine, config);
    engine->spare_ops.size = sizeof(stores_op);
    stores__list_init(&engine->ready);
    stores__list_init(&engine->pending);
    stores__list_init(&engine->flushes);
    stores__tables_init(engine);
    stores__list_init(&engine->epochs);
    stores__list_init(&engine->txs);
    stores__flake_init(&engine->flake,
                       config->simpleflake ? STORES__SIMPLEFLAKE_BITS : STORES__FLAKE_BITS,
                       config->shard_id, config->shard_count);
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
    bool handles = open_loop(engine, error) && open_handles(engine, error);
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

/* ---- Hosts ----------------------------------------------------------------------------------- */

struct uv_loop_s *stores_engine_loop(stores_engine *engine) {
    return engine->loop;
}

int stores_backend_fd(stores_engine *engine) {
    return uv_backend_fd(engine->loop);
}

int stores_backend_timeout(stores_engine *engine) {
    if (stores__engine_forked(engine)) return stores__list_empty(&engine->ready) ? -1 : 0;
    if (has_work(engine)) return 0;
    /* libuv says 0 for a loop that nothing holds: its host would never sleep */
    return uv_loop_alive(engine->loop) ? uv_backend_timeout(engine->loop) : -1;
}

/* Turns of one pump: so many hops may a call need that waits for nobody. */
enum { PUMP_TURNS = 16 };

void stores_pump(stores_engine *engine) {
    if (stores__engine_forked(engine)) {
        stores__op_drain(engine);
        return;
    }
    uv_loop_t *loop = engine->loop;
    engine->live_ops++; /* a turn may be the last one of an engine that closes */
    stores_flush(engine); /* a loop that nothing holds does not turn, but a ROLLBACK may wait */
    /* libuv applies changes of its poll set only on the next turn: turn until nothing is due. What is
     * always due, the idle handle of somebody else, or a host whose callbacks ask for more and more,
     * goes on with the next pump: until then stores_backend_timeout says 0. */
    int turns = 0;
    do {
        uv_run(loop, UV_RUN_NOWAIT);
    } while (++turns < PUMP_TURNS && uv_loop_alive(loop) &&
             (has_work(engine) || uv_backend_timeout(loop) == 0));
    stores__engine_op_gone(engine);
}

void stores_wait(stores_engine *engine, stores_op *op) {
    if (stores__engine_forked(engine)) {
        stores__op_drain(engine);
        if (op->state != STORES__OP_DONE) stores__op_forsake(op);
        return;
    }
    stores_flush(engine);
    while (op->state != STORES__OP_DONE) uv_run(engine->loop, UV_RUN_ONCE);
    stores_flush(engine);
}

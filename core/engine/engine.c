#include "engine/engine.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "cache/cache.h"
#include "base/ids.h"
#include "names/names.h"
#include "read/reads.h"
#include "base/shard.h"
#include "base/sized.h"
#include "write/starve.h"
#include "write/writes.h"

void stores__log(stores_engine *engine, const char *format, ...) {
    char text[512];
    va_list args;
    if (engine->config.log == NULL || engine->closing) return;
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
    return !engine->closing &&
           (!stores__list_empty(&engine->ready) || !stores__list_empty(&engine->flushes));
}

/* The end of a tick, before the loop waits. What completed inside the calls of this tick is told
 * first, and then the loop must not wait: its host has something to do. */
static void before_poll(uv_prepare_t *prepare) {
    stores_engine *engine = prepare->data;
    if (stores__engine_forked(engine)) return;
    if (!engine->closing) uv_idle_stop(&engine->idle);
    if (stores__op_drain(engine) > 0 && !engine->closing) uv_idle_start(&engine->idle, turn_idle);
    run_flushes(engine);
    if (engine->cache != NULL && engine->cache->redis != NULL) {
        stores__redis_flush(engine->cache->redis);
    }
    if (has_work(engine)) stores__engine_wake(engine);
}

static void after_poll(uv_check_t *check) {
    stores_engine *engine = check->data;
    if (stores__engine_forked(engine)) return;
    if (!engine->closing) uv_idle_stop(&engine->idle);
    stores__op_drain(engine);
    if (engine->cache != NULL && engine->cache->redis != NULL) {
        stores__redis_flush(engine->cache->redis);
    }
    /* who waits for the descriptor of the loop asks libuv for how long */
    if (has_work(engine)) stores__engine_wake(engine);
}

void stores__engine_wake(stores_engine *engine) {
    if (!engine->closing) uv_idle_start(&engine->idle, turn_idle);
}

void stores__engine_hold(stores_engine *engine) {
    if (!engine->closing) uv_ref((uv_handle_t *)&engine->prepare);
}

void stores__engine_let_go(stores_engine *engine) {
    if (!engine->closing) uv_unref((uv_handle_t *)&engine->prepare);
}

void stores_flush(stores_engine *engine) {
    if (engine->closing || stores__engine_forked(engine)) return;
    run_flushes(engine);
    if (engine->cache != NULL) stores__redis_flush(engine->cache->redis);
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
    engine->met = true;
    engine->clock_ms = conn->clock_ms;
    engine->clock_heard_ns = conn->clock_heard_ns;
    if (engine->cache != NULL) {
        stores__past_told(engine->cache, &conn->identity, conn->serial);
    }
}

static void dropped(void *arg) {
    stores_engine *engine = arg;
    if (engine->cache != NULL) stores__past_doubt(engine->cache);
}

static void part_closed(void *arg);

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

static bool check_config(const stores_config *config, stores_error *error) {
    if (config->poolsize < 1) {
        stores__error_set(error, STORES_INVALID_OPTION, "poolsize is at least 1");
    } else if ((unsigned)config->on_cache_failure > STORES_CACHE_FAILURE_ERROR) {
        stores__error_set(error, STORES_INVALID_OPTION, "on_cache_failure has no value %d",
                          (int)config->on_cache_failure);
    } else if (config->shard_count > 0 &&
               (config->shard_id < 0 || config->shard_id >= config->shard_count)) {
        stores__error_set(error, STORES_INVALID_OPTION, "shard_id is from 0 to shard_count - 1");
    } else {
        return true;
    }
    return false;
}

/* What is zero has its default; connect_timeout and statement_timeout have libpq's sources first. */
static void fill_defaults(stores_config *config) {
#define DEFAULT(field, value)                                                                      \
    if (config->field == 0) config->field = value
    DEFAULT(poolsize, 10);
    DEFAULT(acquire_timeout_ms, 5 * 1000);
    DEFAULT(timeout_ms, 30 * 1000);
    DEFAULT(idle_timeout_ms, 60 * 1000);
    DEFAULT(max_age_ms, 30 * 60 * 1000);
    DEFAULT(ping_after_ms, 30 * 1000);
    DEFAULT(redis_host, "127.0.0.1");
    DEFAULT(redis_port, 6379);
    DEFAULT(redis_timeout_ms, 50);
    DEFAULT(redis_connect_timeout_ms, 1000);
    DEFAULT(ttl_ms, 10 * 60 * 1000);
    DEFAULT(negative_ttl_ms, 10 * 1000);
#undef DEFAULT
}

/* The engine's own copy keeps no pointer into the caller's memory. */
static void keep_config(stores_engine *engine, const stores_config *config) {
    stores_config *own = &engine->config;
    *own = *config;
    own->pg_keys = own->pg_values = NULL;
    own->redis_host = own->redis_path = own->redis_username = own->redis_password = NULL;
    own->prefix = own->on_connect = NULL;
}

static void crowded(void *arg) {
    stores__starve_look(arg);
}

static stores_engine *engine_new(const stores_config *config, stores_error *error) {
    stores_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory");
        return NULL;
    }
    engine->process = stores__process();
    keep_config(engine, config);
    engine->spare_ops.size = sizeof(stores_op);
    stores__list_init(&engine->ready);
    stores__list_init(&engine->pending);
    stores__list_init(&engine->flushes);
    stores__tables_init(engine);
    stores__names_init(engine);
    stores__list_init(&engine->epochs);
    stores__list_init(&engine->txs);
    stores__flake_init(&engine->flake,
                       config->simpleflake ? STORES__SIMPLEFLAKE_BITS : STORES__FLAKE_BITS,
                       config->shard_id, config->shard_count);
    bool handles = open_loop(engine, error) && open_handles(engine, error);
    bool ok = handles &&
              stores__pg_pool_open(&engine->pool, engine->loop, &engine->timers, config, error);
    engine->pool.arg = engine;
    engine->pool.connected = connected;
    engine->pool.dropped = dropped;
    engine->pool.crowded = crowded;
    engine->pool.closed = part_closed;
    if (ok && !stores__writes_open(engine)) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory");
        ok = false;
    }
    if (ok && !config->no_cache) ok = stores__cache_open(engine, config, error);
    if (ok) return engine;
    if (handles) {
        stores_engine_close(engine, NULL, NULL);
    } else {
        free(engine);
    }
    return NULL;
}

stores_engine *stores_engine_new(const stores_config *given, stores_error *error) {
    stores_config own;
    stores_error why;
    stores_engine *engine = NULL;
    if (!stores__error_fits(error)) return NULL;
    const stores_config *known = stores__config_given(given, &own, &why);
    if (known != NULL) {
        own = *known;
        fill_defaults(&own);
        if (check_config(&own, &why)) engine = engine_new(&own, &why);
    }
    if (engine == NULL) stores__error_give(error, &why);
    return engine;
}

/* ---- Closing --------------------------------------------------------------------------------- */

void stores__engine_op_gone(stores_engine *engine) {
    engine->live_ops--;
    if (!engine->closed_all || engine->live_ops > 0) return;
    stores__spares_free(&engine->spare_ops);
    stores__tables_free(engine); /* what transactions held till now */
    stores__epochs_free(engine);
    free(engine);
}

static void all_closed(stores_engine *engine) {
    void (*closed)(void *arg) = engine->closed;
    void *arg = engine->closed_arg;
    stores__op_drain(engine);
    stores__listen_free(engine);
    stores__names_free(engine);
    stores__cache_free(engine);
    stores__writes_free(engine);
    stores__pg_pool_free(&engine->pool);
    engine->closed_all = true;
    engine->live_ops++; /* closed() may free ops */
    if (closed != NULL) closed(arg);
    stores__engine_op_gone(engine);
}

static void handle_closed(uv_handle_t *handle) {
    stores_engine *engine = handle->data;
    if (--engine->closing_parts == 0) all_closed(engine);
}

static void timers_closed(uv_handle_t *handle) {
    stores_engine *engine = STORES__CONTAINER((uv_timer_t *)handle, stores_engine, timers.uv);
    if (--engine->closing_parts == 0) all_closed(engine);
}

static void close_handles(stores_engine *engine) {
    engine->closing_parts = 4;
    uv_close((uv_handle_t *)&engine->prepare, handle_closed);
    uv_close((uv_handle_t *)&engine->check, handle_closed);
    uv_close((uv_handle_t *)&engine->idle, handle_closed);
    stores__timers_close(&engine->timers, timers_closed);
}

/* Both servers are gone. Who waits for a timer alone, a commit between two looks at an epoch, ends
 * now, for the timers end as well. */
static void fire_timers(struct stores__timers *timers) {
    for (size_t left = timers->count; left > 0 && timers->count > 0; left--) {
        struct stores__timer *timer = stores__timers_first(timers);
        stores__timer_stop(timers, timer);
        timer->fire(timer);
    }
}

static void part_closed(void *arg) {
    stores_engine *engine = arg;
    if (--engine->closing_parts > 0) return;
    fire_timers(&engine->timers);
    close_handles(engine);
}

/* The loop of an engine whose handles are all closed. What the host has put on it is the host's to
 * close: where it has not, the loop stays as it is. */
static void close_loop(uv_loop_t *loop) {
    /* what ended with the last turn, and what that closed */
    for (int turns = 0; turns < 8 && uv_run(loop, UV_RUN_NOWAIT) != 0; turns++) {
    }
    if (uv_loop_close(loop) == 0) free(loop);
}

void stores_engine_close(stores_engine *engine, void (*closed)(void *arg), void *arg) {
    if (engine->closing) return;
    if (stores__engine_forked(engine)) {
        engine->closing = true;
        if (closed != NULL) closed(arg);
        return;
    }
    stores_flush(engine);
    engine->closed = closed;
    engine->closed_arg = arg;
    engine->closing = true;
    engine->pool.statement = NULL; /* what it points to may go with the engine's holder */
    /* the loop is held until the last handle is closed */
    uv_ref((uv_handle_t *)&engine->prepare);
    stores__op_close_all(engine);
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        stores__reads_stop(STORES__CONTAINER(at, struct stores__table, link));
    }
    stores__epoch_stop_all(engine);
    stores__turn_all_stop(engine);
    stores__listen_stop_all(engine);
    engine->closing_parts = 1 + (engine->cache != NULL);
    if (engine->cache != NULL) stores__cache_close(engine, part_closed);
    engine->live_ops++; /* ours, until this function returns */
    stores__pg_pool_close(&engine->pool);
    if (engine->owns_loop) {
        /* not until nothing is left on it: that may be the host's, and stay */
        while (!engine->closed_all) uv_run(engine->loop, UV_RUN_ONCE);
        close_loop(engine->loop);
    }
    stores__engine_op_gone(engine);
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

/* ---- Ids and figures ------------------------------------------------------------------------- */

/* The last id that any engine of this process made, of each layout: one more engine (or thread)
 * does not make the ids of a process go back. */
static _Atomic int64_t last_flake = INT64_MIN, last_simpleflake = INT64_MIN;

/* Milliseconds since 1970 by the server's clock, which all processes share; by our own until a
 * server has been met. */
static int64_t unix_ms(const stores_engine *engine) {
    struct timeval now;
    if (engine->clock_ms >= STORES__FLAKE_EPOCH) {
        return engine->clock_ms + (int64_t)((uv_hrtime() - engine->clock_heard_ns) / 1000000);
    }
    gettimeofday(&now, NULL);
    return (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
}

int64_t stores_generate_id(stores_engine *engine) {
    struct stores__flake *flake = &engine->flake;
    _Atomic int64_t *last = flake->bits == STORES__FLAKE_BITS ? &last_flake : &last_simpleflake;
    int64_t seen = atomic_load(last), id = 0;
    int64_t ms = unix_ms(engine);
    do {
        if (flake->last < seen) flake->last = seen;
        if (!stores__flake_next(flake, ms, &id)) return 0;
    } while (!atomic_compare_exchange_weak(last, &seen, id));
    return id;
}

bool stores_id_parse(const char *text, size_t len, int64_t *id, stores_error *error) {
    stores_error own;
    if (stores__id_parse(text, len, id, &own)) return true;
    stores__error_give(error, &own);
    return false;
}

const char *stores_version(void) {
    return STORES_VERSION;
}

int stores_shard_of(int64_t id, int count) {
    if (count < 1) return -1;
    return stores__shard_of(id, count);
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
    figure(arg, "pg_round_trips", (double)pool->stats.round_trips);
    figure(arg, "pg_statements", (double)pool->stats.statements);
    figure(arg, "pg_prepares", (double)pool->stats.prepares);
    figure(arg, "pg_connects", (double)pool->stats.connects);
    figure(arg, "pg_connect_failures", (double)pool->stats.connect_failures);
    figure(arg, "pg_lost", (double)pool->stats.lost);
    figure(arg, "pg_resets", (double)pool->stats.resets);
    figure(arg, "pg_cancels", (double)pool->stats.cancels);
    if (engine->cache == NULL || engine->cache->redis == NULL) return;
    const struct stores__redis_stats *redis = stores__redis_stats(engine->cache->redis);
    figure(arg, "redis_up", stores__redis_state(engine->cache->redis) == STORES__REDIS_UP);
    figure(arg, "redis_round_trips", (double)redis->round_trips);
    figure(arg, "redis_commands", (double)redis->commands);
    figure(arg, "redis_connects", (double)redis->connects);
    figure(arg, "redis_failures", (double)redis->failures);
    figure(arg, "redis_timeouts", (double)redis->timeouts);
    figure(arg, "redis_pending", (double)stores__redis_pending(engine->cache->redis));
}

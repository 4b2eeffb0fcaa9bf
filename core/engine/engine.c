/* The engine's tick, and how its host turns it. */
#include "engine/engine.h"

#include "engine/op.h"
#include "engine/part.h"

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

/* Every turn comes here several times: only the parts that gather something are looked at. */
static void flush_parts(stores_engine *engine) {
    for (int i = engine->flush_first; i < engine->flush_end; i++) {
        if (engine->parts[i].flush != NULL) engine->parts[i].flush(engine);
    }
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
    if (stores__op_drain(engine) > 0) stores__engine_wake(engine);
    run_flushes(engine);
    flush_parts(engine);
    if (has_work(engine)) stores__engine_wake(engine);
}

static void after_poll(uv_check_t *check) {
    stores_engine *engine = check->data;
    if (stores__engine_forked(engine)) return;
    if (!stores__closing(engine)) uv_idle_stop(&engine->idle);
    stores__op_drain(engine);
    flush_parts(engine);
    /* who waits for the descriptor of the loop asks libuv for how long */
    if (has_work(engine)) stores__engine_wake(engine);
}

void stores_flush(stores_engine *engine) {
    if (stores__closing(engine) || stores__engine_forked(engine)) return;
    run_flushes(engine);
    flush_parts(engine);
    /* an idle handle that is active when a turn begins keeps libuv 1.44 from waiting in it */
    if (!has_work(engine)) uv_idle_stop(&engine->idle);
}

bool stores__engine_start(stores_engine *engine, stores_error *error) {
    /* first, for what is on the loop already could not be taken off it at once */
    int rc = stores__timers_open(&engine->timers, engine->loop);
    if (rc != 0) {
        stores__error_set(error, STORES_INTERNAL, "libuv: %s", uv_strerror(rc));
        return false;
    }
    /* these always succeed */
    uv_prepare_init(engine->loop, &engine->prepare);
    uv_check_init(engine->loop, &engine->check);
    uv_idle_init(engine->loop, &engine->idle);
    engine->prepare.data = engine->check.data = engine->idle.data = engine;
    uv_prepare_start(&engine->prepare, before_poll);
    uv_check_start(&engine->check, after_poll);
    uv_unref((uv_handle_t *)&engine->prepare);
    uv_unref((uv_handle_t *)&engine->check);
    uv_unref((uv_handle_t *)&engine->idle);
    return true;
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
    /* libuv applies changes of its poll set only on the next turn: turn until nothing is due. What
     * is always due, the idle handle of somebody else, or a host whose callbacks ask for more and
     * more, goes on with the next pump: until then stores_backend_timeout says 0. */
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
        stores__op_forsake(op);
        return;
    }
    stores_flush(engine);
    while (op->state != STORES__OP_DONE) uv_run(engine->loop, UV_RUN_ONCE);
    stores_flush(engine);
}

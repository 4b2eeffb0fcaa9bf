/*
 * close.c - the end of an engine. Each state ends when nothing is left of it (engine->left counts),
 * and one function moves it on.
 *
 *   OPEN        calls are taken
 *     | stores_engine_close: every op ends with `closed`, the parts stop, they and the pool close
 *   PARTING     links and connections say good-bye; turns that are owed are made
 *     | the last of them is gone: the timers that are left fire, the four handles close
 *   UNWINDING   libuv closes the handles
 *     | the last of them is closed: what the parts and the pool had is freed; closed() is called
 *   CLOSED      ops and transactions that nobody freed keep the engine's memory, and tables
 *     | the last of them is freed (loop.c)
 *   (freed)
 *
 * In a child of a fork OPEN becomes LEFT, for good: everything is the parent's, and stays as it is.
 * A child that forgets the engine (forget.c) goes the ordinary way, with sockets that lead nowhere.
 */
#include "engine/engine.h"
#include "engine/op.h"
#include "engine/part.h"
#include "engine/table.h"

static void move(stores_engine *engine, enum stores__life to) {
    assert(to > engine->life && engine->life != STORES__LEFT);
    engine->life = to;
}

/* ---- UNWINDING -> CLOSED --------------------------------------------------------------------- */

static void unwound(stores_engine *engine) {
    if (--engine->left > 0) return;
    stores__op_drain(engine);
    stores__listen_free(engine);
    STORES__DOWNWARDS(engine, free, engine);
    stores__pg_pool_free(&engine->pool);
    move(engine, STORES__CLOSED);
    engine->live_ops++; /* closed() may free ops */
    if (engine->closed != NULL) engine->closed(engine->closed_arg);
    stores__engine_op_gone(engine);
}

static void handle_closed(uv_handle_t *handle) {
    unwound(handle->data);
}

static void timers_closed(uv_handle_t *handle) {
    unwound(STORES__CONTAINER((uv_timer_t *)handle, stores_engine, timers.uv));
}

/* ---- PARTING -> UNWINDING -------------------------------------------------------------------- */

/* Both servers are gone. Who waits for a timer alone, a commit between two looks at an epoch, ends
 * now, for the timers end as well. */
static void fire_timers(struct stores__timers *timers) {
    for (size_t left = timers->count; left > 0 && timers->count > 0; left--) {
        struct stores__timer *timer = stores__timers_first(timers);
        stores__timer_stop(timers, timer);
        timer->fire(timer);
    }
}

void stores__engine_parted(void *arg) {
    stores_engine *engine = arg;
    if (--engine->left > 0) return;
    move(engine, STORES__UNWINDING);
    fire_timers(&engine->timers);
    engine->left = 4;
    uv_close((uv_handle_t *)&engine->prepare, handle_closed);
    uv_close((uv_handle_t *)&engine->check, handle_closed);
    uv_close((uv_handle_t *)&engine->idle, handle_closed);
    stores__timers_close(&engine->timers, timers_closed);
}

/* ---- OPEN -> PARTING ------------------------------------------------------------------------- */

static void part_all(stores_engine *engine) {
    const struct stores__part *parts = engine->parts;
    engine->left = 1; /* the pool */
    for (int i = engine->part_count - 1; i >= 0; i--) {
        if (parts[i].close != NULL && parts[i].close(engine, stores__engine_parted)) engine->left++;
    }
    stores__pg_pool_close(&engine->pool);
}

/* The loop of an engine whose handles are all closed. What the host has put on it is the host's to
 * close: where it has not, the loop stays as it is. */
static void close_loop(uv_loop_t *loop) {
    /* what ended with the last turn, and what that closed */
    for (int turns = 0; turns < 8 && uv_run(loop, UV_RUN_NOWAIT) != 0; turns++) {
    }
    if (uv_loop_close(loop) == 0) free(loop);
}

static void end_ops(stores_engine *engine) {
    if (engine->pool.common.deaf) {
        stores__op_forget_all(engine);
    } else {
        stores__op_close_all(engine, STORES_CLOSED, "the store was closed");
    }
}

void stores_engine_close(stores_engine *engine, void (*closed)(void *arg), void *arg) {
    if (engine->life != STORES__OPEN) return;
    if (stores__engine_forked(engine)) {
        move(engine, STORES__LEFT);
        if (closed != NULL) closed(arg);
        return;
    }
    if (!engine->pool.common.deaf) stores_flush(engine);
    engine->closed = closed;
    engine->closed_arg = arg;
    move(engine, STORES__PARTING);
    engine->pool.common.statement = NULL; /* what it points to may go with the engine's holder */
    /* the loop is held until the last handle is closed */
    uv_ref((uv_handle_t *)&engine->prepare);
    end_ops(engine);
    STORES__DOWNWARDS(engine, stop, engine);
    stores__listen_stop_all(engine);
    stores__breaker_stop(engine);
    engine->live_ops++; /* ours, until this function returns */
    part_all(engine);
    if (engine->owns_loop) {
        /* not until nothing is left on it: that may be the host's, and stay */
        while (engine->life != STORES__CLOSED) uv_run(engine->loop, UV_RUN_ONCE);
        close_loop(engine->loop);
    }
    stores__engine_op_gone(engine);
}

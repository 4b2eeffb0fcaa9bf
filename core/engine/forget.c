/*
 * forget.c - a child of a fork lets go of its parent's engine. Every descriptor that the two share
 * is given to a socket that leads nowhere (base/deaf.h); from then on nothing that is done here can
 * reach a server, and the engine is closed as any other: with connections that are lost.
 */
#include <unistd.h>

#include "base/deaf.h"
#include "engine/engine.h"
#include "engine/part.h"

bool stores_engine_forget(stores_engine *engine) {
    if (stores__closing(engine) || !stores__engine_forked(engine)) return false;
    int deaf = stores__deaf_socket();
    if (deaf < 0) return false;
    stores__pg_pool_deafen(&engine->pool, deaf);
    STORES__UPWARDS(engine, deafen, engine, deaf);
    close(deaf);
    /* the descriptor of its own loop is the parent's, too; without another one nothing can be
     * turned, and what it has on it stays in memory */
    if (engine->owns_loop && uv_loop_fork(engine->loop) != 0) return true;
    engine->process = engine->timers.process = stores__process();
    engine->in_child = false;
    stores_engine_close(engine, NULL, NULL);
    return true;
}

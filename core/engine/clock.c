/* The server's clock, and the ids that are made by it. */
#include <stdatomic.h>
#include <sys/time.h>

#include "engine/engine.h"

void stores__clock_told(stores_engine *engine, const struct stores__pg_conn *conn) {
    engine->met = true;
    engine->clock_ms = conn->clock_ms;
    engine->clock_heard_ns = conn->clock_heard_ns;
}

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

int64_t stores_unix_ms(const stores_engine *engine) {
    return unix_ms(engine);
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

/*
 * Whether a replica is there at all. A read that it has begun may take as long as it likes; a
 * server that is stopped, or a network that forgot us, says as little. So a new connection is
 * opened beside the pool: who greets it is there.
 */
#include "replica/internal.h"

static void end(struct stores__replica *replica) {
    replica->probing = false;
    stores__timer_stop(replica->pool.timers, &replica->probe_timer);
    stores__pg_aside_close(&replica->probe);
}

static void greeted(struct stores__pg_aside *aside) {
    end(STORES__CONTAINER(aside, struct stores__replica, probe));
}

static void failed(struct stores__pg_aside *aside, const stores_error *error) {
    struct stores__replica *replica = STORES__CONTAINER(aside, struct stores__replica, probe);
    bool answered = error->sqlstate[0] != '\0'; /* no room, or no rights: it is there */
    end(replica);
    if (!answered) replica->gone(replica);
}

static void lost(struct stores__pg_aside *aside) {
    end(STORES__CONTAINER(aside, struct stores__replica, probe));
}

static void timed_out(struct stores__timer *timer) {
    struct stores__replica *replica = STORES__CONTAINER(timer, struct stores__replica, probe_timer);
    end(replica);
    replica->gone(replica);
}

void stores__silence_look(struct stores__replica *replica,
                          void (*gone)(struct stores__replica *replica)) {
    struct stores__pg_pool *pool = &replica->pool;
    if (replica->probing) return;
    replica->gone = gone;
    replica->probe.ready = greeted;
    replica->probe.failed = failed;
    replica->probe.lost = lost;
    replica->probe_timer.fire = timed_out;
    uint64_t at = uv_now(pool->loop) + 2 * STORES__REPLICA_PATIENCE_MS;
    if (!stores__timer_set(pool->timers, &replica->probe_timer, at)) return;
    replica->probing = true;
    if (!stores__pg_aside_open(pool, &replica->probe)) end(replica);
}

void stores__silence_stop(struct stores__replica *replica) {
    if (replica->probing) end(replica);
}

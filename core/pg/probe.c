/* probe.c - see probe.h. */
#include "pg/probe.h"

void stores__pg_probe_stop(struct stores__pg_probe *probe) {
    if (!probe->asks) return;
    probe->asks = false;
    stores__timer_stop(probe->pool->timers, &probe->timer);
    stores__pg_aside_close(&probe->aside);
}

static void end(struct stores__pg_probe *probe, enum stores__pg_presence presence) {
    stores__pg_probe_stop(probe);
    probe->done(probe, presence);
}

static void greeted(struct stores__pg_aside *aside) {
    end(STORES__CONTAINER(aside, struct stores__pg_probe, aside), STORES__PG_THERE);
}

static void failed(struct stores__pg_aside *aside, const stores_error *error) {
    bool answered = error->sqlstate[0] != '\0'; /* no room, or no rights: it is there */
    end(STORES__CONTAINER(aside, struct stores__pg_probe, aside),
        answered ? STORES__PG_THERE : STORES__PG_UNTOLD);
}

static void lost(struct stores__pg_aside *aside) {
    end(STORES__CONTAINER(aside, struct stores__pg_probe, aside), STORES__PG_UNTOLD);
}

/* A loop that did not turn finds the time up before it has read what came. */
static void timed_out(struct stores__timer *timer) {
    struct stores__pg_probe *probe = STORES__CONTAINER(timer, struct stores__pg_probe, timer);
    struct stores__pg_pool *pool = probe->pool;
    bool was_late = probe->late;
    probe->late = true;
    if (!was_late && stores__timer_set(pool->timers, timer, uv_now(pool->loop) + probe->grace_ms)) {
        return;
    }
    end(probe, STORES__PG_SILENT);
}

void stores__pg_probe_start(struct stores__pg_pool *pool, struct stores__pg_probe *probe,
                            uint64_t ms) {
    if (probe->asks) return;
    if (probe->aside.ready == NULL) stores__list_init(&probe->aside.link);
    probe->pool = pool;
    probe->aside.ready = greeted;
    probe->aside.failed = failed;
    probe->aside.lost = lost;
    probe->timer.fire = timed_out;
    probe->late = false;
    probe->grace_ms = ms / 4 + 1;
    if (!stores__timer_set(pool->timers, &probe->timer, uv_now(pool->loop) + ms)) return;
    probe->asks = true;
    if (!stores__pg_aside_open(pool, &probe->aside)) stores__pg_probe_stop(probe);
}

/*
 * breaker.c - see breaker.h. Calls may take long for a good reason: a lock, a report. So a server
 * that says nothing is asked by a new connection; where that is greeted all is well, and the next
 * one is asked later. Where it is not, calls that have waited for breaker_ms end as those do whose
 * time is up: each says what may have become of its work.
 */
#include "engine/breaker.h"

#include "engine/engine.h"

enum { PATIENCE = 8 }; /* a server that greets is asked again after so many quiet_ms at most */

static uint64_t age_ms(const stores_op *op, uint64_t now_ns) {
    return (now_ns - op->started_ns) / 1000000;
}

/* What a replica answers does not hang on this server; what is asked of both does. */
static bool is_at_replica(const stores_op *op) {
    return op->at_replica > 0 && op->at_replica >= op->docs_missing;
}

static stores_op *oldest(stores_engine *engine) {
    struct stores__list *pending = &engine->pending;
    for (struct stores__list *at = pending->next; at != pending; at = at->next) {
        stores_op *op = STORES__CONTAINER(at, stores_op, link);
        if (!is_at_replica(op)) return op;
    }
    return NULL;
}

static void end_old(stores_engine *engine) {
    char text[160];
    uint64_t now_ns = uv_hrtime(), most = engine->config.breaker_ms;
    snprintf(text, sizeof text,
             "the server has said nothing for %.3g s, nor does it greet a new connection",
             (double)most / 1000);
    for (stores_op *op; (op = oldest(engine)) != NULL && age_ms(op, now_ns) >= most;) {
        stores__op_end_early(op, STORES_CONNECTION_LOST, text);
    }
}

static void probed(struct stores__pg_probe *probe, enum stores__pg_presence presence) {
    stores_engine *engine = STORES__CONTAINER(probe, stores_engine, breaker.probe);
    struct stores__breaker *breaker = &engine->breaker;
    uint64_t heard = engine->pool.common.heard_at;
    if (presence != STORES__PG_SILENT || heard != breaker->asked_behind) {
        breaker->greeted_at = stores__now(engine);
        return;
    }
    breaker->deaf_to = heard;
    breaker->deaf_until = stores__now(engine) + 2 * engine->config.breaker_ms;
    end_old(engine);
}

/* How long after the last greeting: twice as long as what it has been silent for. */
static bool is_due(const stores_engine *engine) {
    const struct stores__breaker *breaker = &engine->breaker;
    uint64_t now = stores__now(engine), heard = engine->pool.common.heard_at;
    if (now < heard + breaker->quiet_ms) return false;
    if (breaker->greeted_at <= heard) return true;
    uint64_t wait = breaker->greeted_at - heard, most = PATIENCE * breaker->quiet_ms;
    return now >= breaker->greeted_at + (wait < most ? wait : most);
}

static void look(struct stores__timer *timer) {
    stores_engine *engine = STORES__CONTAINER(timer, stores_engine, breaker.timer);
    struct stores__breaker *breaker = &engine->breaker;
    const stores_op *op = oldest(engine);
    if (stores__closing(engine) || stores__list_empty(&engine->pending)) return;
    bool heard = breaker->deaf_to != engine->pool.common.heard_at;
    if (heard || stores__now(engine) >= breaker->deaf_until) breaker->deaf_to = UINT64_MAX;
    /* one that is at a replica may come to this server yet */
    if (op != NULL && age_ms(op, uv_hrtime()) >= breaker->quiet_ms) {
        if (breaker->deaf_to != UINT64_MAX) {
            end_old(engine);
        } else if (is_due(engine) && !breaker->probe.asks) {
            breaker->asked_behind = engine->pool.common.heard_at;
            stores__pg_probe_start(&engine->pool, &breaker->probe, engine->config.breaker_ms);
        }
    }
    stores__breaker_watch(engine);
}

void stores__breaker_init(stores_engine *engine) {
    struct stores__breaker *breaker = &engine->breaker;
    breaker->timer.fire = look;
    breaker->probe.done = probed;
    breaker->quiet_ms = engine->config.breaker_ms / 2;
    breaker->deaf_to = UINT64_MAX;
}

void stores__breaker_watch(stores_engine *engine) {
    struct stores__timer *timer = &engine->breaker.timer;
    if (engine->config.breaker_ms == 0 || stores__timer_armed(timer)) return;
    stores__timer_set(&engine->timers, timer,
                      stores__now(engine) + engine->breaker.quiet_ms / 4 + 1);
}

void stores__breaker_stop(stores_engine *engine) {
    stores__timer_stop(&engine->timers, &engine->breaker.timer);
    stores__pg_probe_stop(&engine->breaker.probe);
}

/* Segments that are not answered: a lone write that waits for a row's lock, a backend that hangs.
 * They make way for others, begin again later where they have all the connections that writes may
 * take, and are given up when nobody waits for them any more. */
#include "write/writes_internal.h"

enum { LOOK_MS = 150, LATE_LOOKS = 3 };

static bool is_wanted(const struct stores__segment *segment) {
    for (struct stores__list *at = segment->writes.next; at != &segment->writes; at = at->next) {
        if (STORES__CONTAINER(at, struct stores__write, link)->op != NULL) return true;
    }
    return false;
}

static void make_way(struct stores__segment *segment) {
    struct stores__writes *writes = segment->engine->writes;
    if (segment->place != SEGMENT_RUNNING) return;
    stores__segment_move(segment, SEGMENT_LATE);
    stores__flush_at_end(writes->engine, &writes->flush);
    stores__engine_wake(writes->engine);
}

/* A COMMIT is not canceled: what waits for a standby then would be committed without it. */
static void give_up(struct stores__segment *segment) {
    if (segment->given_up) return;
    segment->given_up = true;
    if (!segment->ending) stores__pg_cancel(segment->conn);
    stores__pg_give_up_in(segment->conn, STORES__PG_GRACE_MS);
}

/* Where rows that somebody holds took all the connections, a write whose row is free had to wait
 * for that somebody: the one that is late for longest is undone, and takes turns with the
 * others. */
static void yield(struct stores__writes *writes) {
    if (stores__list_empty(&writes->queue) && stores__list_empty(&writes->alone)) return;
    for (struct stores__list *at = writes->segments.next; at != &writes->segments; at = at->next) {
        struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        if (segment->place != SEGMENT_LATE || segment->count != 1 || segment->ending ||
            segment->yields || segment->given_up) {
            continue;
        }
        segment->yields = true;
        stores__pg_cancel(segment->conn);
        return;
    }
}

void stores__segments_look(struct stores__timer *timer) {
    struct stores__writes *writes = STORES__CONTAINER(timer, struct stores__writes, watch);
    bool any = false;
    for (struct stores__list *at = writes->segments.next, *next; at != &writes->segments;
         at = next) {
        struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        next = at->next;
        if (segment->conn == NULL) continue;
        any = true;
        if (++segment->looks < LATE_LOOKS) continue;
        make_way(segment);
        if (!is_wanted(segment)) give_up(segment);
    }
    if (stores__segments_crowd(writes)) yield(writes);
    if (any) stores__segments_watch(writes);
}

void stores__segments_watch(struct stores__writes *writes) {
    stores_engine *engine = writes->engine;
    if (stores__timer_armed(&writes->watch)) return;
    stores__timer_set(&engine->timers, &writes->watch, stores__now(engine) + LOOK_MS);
}

bool stores__segments_crowd(const struct stores__writes *writes) {
    int size = writes->engine->pool.size, late = writes->counts[SEGMENT_LATE];
    int all = writes->counts[SEGMENT_RUNNING] + writes->counts[SEGMENT_ALONE] + late;
    return late > 0 && all >= (size > 1 ? size - 1 : 1);
}

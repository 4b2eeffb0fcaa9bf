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

/* One that waits for its row as long as it takes. A turn ends by itself, and so does a segment of
 * several. */
static bool may_yield(const struct stores__segment *segment) {
    return segment->count == 1 && segment->looks >= LATE_LOOKS && !segment->rotates &&
           !segment->ending && !segment->yields && !segment->given_up;
}

static struct stores__write *only_write(const struct stores__segment *segment) {
    return STORES__CONTAINER(segment->writes.next, struct stores__write, link);
}

/* Where rows that somebody holds took all the connections, a write whose row is free had to wait
 * for that somebody: the one that is late for longest is undone, and takes turns with the
 * others. */
static void yield(struct stores__writes *writes, enum stores__segment_place place) {
    for (struct stores__list *at = writes->segments.next; at != &writes->segments; at = at->next) {
        struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        if (segment->place != place || !may_yield(segment)) continue;
        segment->yields = true;
        only_write(segment)->yielded = true;
        stores__pg_cancel(segment->conn);
        return;
    }
}

static void look_at(struct stores__segment *segment) {
    segment->looks++;
    if (segment->yields && !segment->ending && !segment->failed) {
        stores__pg_cancel(segment->conn); /* one that came before its statement had no effect */
    }
    if (segment->looks < LATE_LOOKS) return;
    make_way(segment);
    if (!is_wanted(segment)) give_up(segment);
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
        look_at(segment);
    }
    bool waiting = !stores__list_empty(&writes->queue) || !stores__list_empty(&writes->alone);
    if (waiting && stores__segments_crowd(writes)) yield(writes, SEGMENT_LATE);
    if (!stores__alone_has_room(writes) && stores__alone_next(writes) != NULL) {
        yield(writes, SEGMENT_ALONE);
    }
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

/* Which segments run: how many at once, with which of the writes that wait. */
#include "cache/cache.h"
#include "names/spread.h"
#include "write/writes_internal.h"

enum {
    SEGMENTS_MAX = 3, /* at once: while they run, the next ones gather */
    SPREAD_SEGMENTS_MAX = 8 /* the same, where each is of one shard alone */
};

/* ---- Which writes go together ---------------------------------------------------------------- */

static int by_row(const void *a, const void *b) {
    const struct stores__write *x = *(struct stores__write *const *)a,
                               *y = *(struct stores__write *const *)b;
    const struct stores__table *s = x->statement->table, *t = y->statement->table;
    if (s != t) return strcmp(s->name, t->name);
    if (x->statement->id != y->statement->id) return x->statement->id < y->statement->id ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void take(struct stores__segment *segment, struct stores__write *write) {
    write->segment = segment;
    stores__list_remove(&write->link);
    stores__list_append(&segment->writes, &write->link);
    segment->order[segment->count++] = write;
}

/* A COMMIT on several workers of Citus is one that they prepare, which is dearer, and may be
 * answered before all of them show it. Of a shard there is one. */
static bool share_server(const struct stores__write *one, const struct stores__write *other) {
    const struct stores__table *table = one->statement->table;
    bool same = table == other->statement->table;
    switch (table->spread) {
    case STORES__SPREAD_NONE: return other->statement->table->spread == STORES__SPREAD_NONE;
    case STORES__SPREAD_BY_ID:
        return same && table->shard_count > 0 &&
               stores__spread_shard(table, one->statement->id) ==
                   stores__spread_shard(table, other->statement->id);
    case STORES__SPREAD_COPIED: return same; /* all of them have it */
    case STORES__SPREAD_OTHERWISE: break;
    }
    return false;
}

/* What a trigger of one table may have written is turned: so those writes do not share a
 * transaction with others, which would be turned with them. */
static void take_alike(struct stores__segment *segment, size_t most) {
    struct stores__list *queue = &segment->engine->writes->queue;
    bool caches = segment->engine->cache != NULL, reaches = false;
    for (struct stores__list *at = queue->next, *next; at != queue; at = next) {
        next = at->next;
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (segment->engine->writes->counts[SEGMENT_LATE] > 0 &&
            stores__alone_runs(segment->engine->writes, write)) {
            /* one connection that waits for a row is enough */
            stores__list_remove(&write->link);
            stores__list_append(&segment->engine->writes->alone, &write->link);
            continue;
        }
        bool this = caches && stores__statement_reaches(write->statement);
        if (segment->count == 0) reaches = this;
        bool fits = segment->count == 0 || share_server(segment->order[0], write);
        if (this == reaches && fits) take(segment, write);
        if (segment->count == most) break;
    }
}

/* How many go together. Those under way leave their share of a crowd to the next ones: while a
 * server works for some, the callers of others go on. Where Redis is told there is more to wait
 * for, and so one more of them. */
static size_t most_of(const struct stores__writes *writes) {
    size_t waiting = 0, parts = writes->engine->cache != NULL ? 3 : 2;
    if (writes->engine->config.no_segments) return 1;
    size_t begun = (size_t)writes->counts[SEGMENT_RUNNING]; /* with this one */
    if (begun >= parts) return STORES__SEGMENT_WRITES;
    size_t left = parts + 1 - begun, most = left * STORES__SEGMENT_WRITES;
    for (struct stores__list *at = writes->queue.next; at != &writes->queue && waiting < most;
         at = at->next) {
        waiting++;
    }
    size_t share = (waiting + left - 1) / left;
    return share < STORES__SEGMENT_WRITES / 2 ? STORES__SEGMENT_WRITES / 2 : share;
}

static void take_writes(struct stores__segment *segment) {
    struct stores__writes *writes = segment->engine->writes;
    if (segment->place == SEGMENT_ALONE) {
        struct stores__write *write = stores__alone_next(writes);
        if (write != NULL) take(segment, write);
        return;
    }
    take_alike(segment, most_of(writes));
    /* so that two segments lock rows in one order; writes of one row stay as they came */
    if (segment->count > 1) {
        for (size_t i = 0; i < segment->count; i++) segment->order[i]->order = i;
        qsort(segment->order, segment->count, sizeof *segment->order, by_row);
    }
}

/* ---- Starting -------------------------------------------------------------------------------- */

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__segment *segment = STORES__CONTAINER(wait, struct stores__segment, wait);
    struct stores__writes *writes = segment->engine->writes;
    segment->conn = conn;
    take_writes(segment);
    bool others = !stores__list_empty(&writes->alone);
    if (others) stores__flush_at_end(writes->engine, &writes->flush); /* the next may wait now */
    if (segment->count == 0) {
        stores__segment_close(segment);
        return;
    }
    segment->rotates = segment->place == SEGMENT_ALONE && (others || segment->order[0]->yielded);
    if (segment->count > 1 || writes->engine->cache != NULL || segment->rotates) {
        segment->commit = stores__commit_new(writes->engine);
        if (segment->commit == NULL) {
            stores_error error;
            stores__error_set(&error, STORES_NO_MEMORY, "no memory for a write");
            stores__segment_end(segment, &error);
            return;
        }
    }
    stores__segments_watch(writes);
    stores__segment_send(segment);
}

/* Those who have waited since then at the latest have no connection, or no memory for one. */
static void fail_waiting(struct stores__list *queue, uint64_t since, const stores_error *error) {
    for (struct stores__list *at = queue->next, *next; at != queue; at = next) {
        next = at->next;
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (write->queued_at <= since) stores__write_over(write, error);
    }
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__segment *segment = STORES__CONTAINER(wait, struct stores__segment, wait);
    struct stores__writes *writes = segment->engine->writes;
    /* those who came after this request began to wait have not waited long enough */
    bool all = error->code != STORES_ACQUIRE_TIMEOUT && error->code != STORES_POOL_FULL;
    uint64_t since = all ? UINT64_MAX : wait->since;
    bool alone = segment->place == SEGMENT_ALONE;
    if (all || alone) fail_waiting(&writes->alone, since, error);
    if (all || !alone) fail_waiting(&writes->queue, since, error);
    stores__segment_close(segment);
}

/* A write that runs alone may wait for a row whose holder waits for another write: those that wait
 * must not stand before the others, nor take every connection. */
static bool may_start(const struct stores__writes *writes, enum stores__segment_place place) {
    if (stores__closing(writes->engine) || stores__segments_crowd(writes)) return false;
    if (place == SEGMENT_RUNNING) {
        int most = writes->engine->pool.common.citus ? SPREAD_SEGMENTS_MAX : SEGMENTS_MAX;
        return !stores__list_empty(&writes->queue) && writes->counts[place] < most;
    }
    return stores__alone_has_room(writes) && stores__alone_next(writes) != NULL;
}

/* False: it waits for a connection, and others had better wait with it, not with one request
 * each. */
static bool start_segment(struct stores__writes *writes, enum stores__segment_place place) {
    stores_engine *engine = writes->engine;
    struct stores__segment *segment = malloc(sizeof *segment);
    if (segment != NULL) {
        memset(segment, 0, offsetof(struct stores__segment, error));
    } else {
        stores_error error;
        stores__error_set(&error, STORES_NO_MEMORY, "no memory for a write");
        /* the end of a segment of this kind begins the next one; without one nobody would */
        if (writes->counts[place] == 0) {
            fail_waiting(place == SEGMENT_ALONE ? &writes->alone : &writes->queue, UINT64_MAX,
                         &error);
        }
        return false;
    }
    segment->engine = engine;
    stores__list_init(&segment->writes);
    stores__list_init(&segment->link);
    stores__segment_move(segment, place);
    segment->wait.granted = granted;
    segment->wait.failed = refused;
    bool idle = stores__pg_has_idle(&engine->pool);
    stores__pg_acquire(&engine->pool, &segment->wait, STORES__PG_WRITING, "writes");
    return idle;
}

/* The request of one connection, at most: who hears of it may end other segments. */
static bool glance_at_postgres(const struct stores__writes *writes, bool *ending) {
    for (struct stores__list *at = writes->segments.next; at != &writes->segments; at = at->next) {
        struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        if (segment->conn == NULL) continue;
        if (segment->ending) {
            *ending = true;
        } else if (stores__pg_glance(segment->conn)) {
            return true;
        }
    }
    return false;
}

/* Where hundreds of callers go on at once the loop does not turn meanwhile, and a segment whose
 * statements are done had to wait for all of them before its COMMIT is sent: the disk and the
 * callers would work in turns. */
void stores_glance(stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    if (stores__closing(engine) || stores__engine_forked(engine)) return;
    if (engine->pool.common.deaf) return;
    bool ending = false, answered = glance_at_postgres(engine->writes, &ending);
    if (cache == NULL) return;
    if (ending) stores__nodes_glance(cache);
    if (answered) stores__nodes_flush(cache);
}

void stores__writes_flush(struct stores__flush *flush) {
    struct stores__writes *writes = STORES__CONTAINER(flush, struct stores__writes, flush);
    static const enum stores__segment_place places[] = {SEGMENT_ALONE, SEGMENT_RUNNING};
    for (int i = 0; i < 2; i++) {
        while (may_start(writes, places[i]) && start_segment(writes, places[i])) continue;
    }
}

/* Writes that run alone: which of them may begin, and how many at a time. */
#include "write/writes_internal.h"

enum { SHARE = 2 /* of the pool: they take one connection of so many at most */ };

bool stores__alone_runs(const struct stores__writes *writes, const struct stores__write *write) {
    for (struct stores__list *at = writes->segments.next; at != &writes->segments; at = at->next) {
        const struct stores__segment *segment = STORES__CONTAINER(at, struct stores__segment, link);
        bool single = segment->place != SEGMENT_RUNNING || segment->count == 1;
        if (!single || stores__list_empty(&segment->writes)) continue;
        const struct stores__statement *runs =
            STORES__CONTAINER(segment->writes.next, struct stores__write, link)->statement;
        if (runs->table == write->statement->table && runs->id == write->statement->id) return true;
    }
    return false;
}

struct stores__write *stores__alone_next(const struct stores__writes *writes) {
    for (struct stores__list *at = writes->alone.next; at != &writes->alone; at = at->next) {
        struct stores__write *write = STORES__CONTAINER(at, struct stores__write, link);
        if (!stores__alone_runs(writes, write)) return write;
    }
    return NULL;
}

bool stores__alone_has_room(const struct stores__writes *writes) {
    return writes->counts[SEGMENT_ALONE] * SHARE < writes->engine->pool.size;
}

/* shown.c - see shown.h. The text of a snapshot is xmin:xmax:xid,xid,.. (PostgreSQL's manual, 9.27,
 * "pg_snapshot Components"). */
#include "base/shown.h"

#include <stdlib.h>

/* A number and the colon behind it; NULL: there is none. */
static const char *read_xid(const char *text, uint64_t *xid) {
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    *xid = strtoull(text, &end, 10);
    return *end == ':' ? end + 1 : NULL;
}

static const char *read_bounds(const char *snapshot, uint64_t *xmin, uint64_t *xmax) {
    const char *rest = snapshot != NULL ? read_xid(snapshot, xmin) : NULL;
    return rest != NULL ? read_xid(rest, xmax) : NULL;
}

bool stores__shown_read(const char *snapshot, struct stores__shown *shown) {
    uint64_t xmin, xmax;
    if (read_bounds(snapshot, &xmin, &xmax) == NULL) return false;
    shown->below = xmax;
    shown->running = xmin < xmax ? xmin : 0;
    return true;
}

static bool may_have_shown(struct stores__shown shown, uint64_t xid) {
    return xid < shown.below && xid != shown.running;
}

void stores__shown_add(struct stores__shown *shown, struct stores__shown more) {
    struct stores__shown both = {shown->below > more.below ? shown->below : more.below, 0};
    if (!may_have_shown(*shown, more.running)) both.running = more.running;
    if (shown->running != 0 && !may_have_shown(more, shown->running)) {
        both.running = shown->running;
    }
    *shown = both;
}

bool stores__shown_ended(struct stores__shown shown, const char *snapshot) {
    uint64_t xmin, xmax;
    const char *rest = read_bounds(snapshot, &xmin, &xmax);
    /* who runs from there on is in no list */
    if (rest == NULL ||
        (shown.below > xmax && !(shown.below == xmax + 1 && shown.running == xmax))) {
        return false;
    }
    while (*rest != '\0') {
        char *end;
        uint64_t xid = strtoull(rest, &end, 10);
        if (end == rest || may_have_shown(shown, xid)) return false;
        rest = *end == ',' ? end + 1 : end;
    }
    return true;
}

/*
 * A connection that does not answer is not waited for by those who may ask elsewhere. What they
 * sent stays sent: the server may be at it still, and its answers come in their order, to nobody.
 */
#include "pg/wire.h"

struct stores__pg_topic *stores__pg_stuck_on(const struct stores__pg_conn *conn) {
    const struct stores__pg_ring *ring = &conn->wire->ring;
    return ring->count > 0 ? stores__pg_ring_at(ring, 0)->req->topic : NULL;
}

static void nobody_hears(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)req;
    (void)end;
}

static void forsake(struct stores__pg_wire *wire, struct stores__pg_req *req) {
    wire->nobody.done = nobody_hears;
    for (size_t i = 0; i < wire->ring.count; i++) {
        struct stores__pg_entry *entry = stores__pg_ring_at(&wire->ring, i);
        if (entry->req == req) entry->req = &wire->nobody;
    }
    req->stalled = true;
    req->done(req, STORES__PG_LOST);
}

void stores__pg_forsake(struct stores__pg_conn *conn, const struct stores__pg_topic *stay) {
    struct stores__pg_wire *wire = conn->wire;
    size_t count = wire->ring.count; /* those that come meanwhile come to wait */
    for (size_t i = 0; i < count && wire->phase == WIRE_UP; i++) {
        const struct stores__pg_entry *entry = stores__pg_ring_at(&wire->ring, i);
        struct stores__pg_req *req = entry->req;
        if (entry->kind != ENTRY_SYNC || !req->again) continue;
        if (stay == NULL || req->topic != stay) forsake(wire, req);
    }
}

bool stores__pg_is_wanted(const struct stores__pg_conn *conn) {
    const struct stores__pg_wire *wire = conn->wire;
    for (size_t i = 0; i < wire->ring.count; i++) {
        const struct stores__pg_req *req = stores__pg_ring_at(&wire->ring, i)->req;
        if (req != &wire->nobody && (req->wanted == NULL || req->wanted(req))) return true;
    }
    return false;
}

void stores__pg_blame_silence(struct stores__pg_conn *conn) {
    const struct stores__pg_ring *ring = &conn->wire->ring;
    for (size_t i = 0; i < ring->count; i++) stores__pg_ring_at(ring, i)->req->stalled = true;
}

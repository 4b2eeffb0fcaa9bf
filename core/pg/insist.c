#include "pg/insist.h"

enum { AGAIN_MS = 500 };

static void again(struct stores__timer *timer) {
    struct stores__pg_insist *insist = STORES__CONTAINER(timer, struct stores__pg_insist, timer);
    uint64_t now = uv_now(insist->conn->pool->loop);
    if (now >= insist->ends_at) {
        stores__pg_discard(insist->conn);
        return;
    }
    stores__pg_cancel(insist->conn);
    stores__timer_set(insist->timers, timer, now + AGAIN_MS);
}

void stores__pg_insist(struct stores__pg_insist *insist, struct stores__pg_conn *conn) {
    insist->conn = conn;
    insist->timers = conn->pool->timers;
    insist->timer.fire = again;
    insist->ends_at = uv_now(conn->pool->loop) + STORES__PG_GRACE_MS;
    again(&insist->timer);
}

void stores__pg_insist_over(struct stores__pg_insist *insist) {
    if (insist->conn == NULL) return;
    stores__timer_stop(insist->timers, &insist->timer);
    insist->conn = NULL;
}

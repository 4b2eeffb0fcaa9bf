#include "write/commit_status.h"

enum {
    STATUS_TRIES = 40, /* questions, 10 to 250 ms apart */
    STATUS_WAIT_MS = 250
};

static void took_status(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__status *status = STORES__CONTAINER(req, struct stores__status, req);
    stores_error error;
    (void)index;
    status->asking = false;
    if (stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1) {
        const char *state = stores__pg_value(result, 0, 0, NULL);
        const char *started = stores__pg_value(result, 0, 1, NULL);
        bool same = started != NULL && strcmp(started, status->started) == 0;
        bool known = same && state != NULL;
        if (known && strcmp(state, "committed") == 0) {
            status->found = STORES__FOUND_COMMITTED;
        } else if (known && strcmp(state, "aborted") == 0) {
            if (status->found == STORES__FOUND_NOTHING) status->found = STORES__FOUND_ABORTED;
        } else if (known && strcmp(state, "in progress") == 0) {
            status->asking = true; /* the server works on it, or has not noticed that we are gone */
        }
    }
    stores__pg_result_free(result);
}

static void ask_again(struct stores__timer *timer) {
    stores__status_ask(STORES__CONTAINER(timer, struct stores__status, timer));
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__status *status = STORES__CONTAINER(req, struct stores__status, req);
    stores_engine *engine = status->engine;
    uint64_t ms = (uint64_t)status->tries * 10;
    bool again = (end == STORES__PG_LOST || status->asking) && !stores__closing(engine) &&
                 status->tries++ < STATUS_TRIES;
    status->timer.fire = ask_again;
    if (ms > STATUS_WAIT_MS) ms = STATUS_WAIT_MS;
    if (!again || !stores__timer_set(&engine->timers, &status->timer, stores__now(engine) + ms)) {
        status->done(status, status->found);
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__status *status = STORES__CONTAINER(wait, struct stores__status, wait);
    const char *values[] = {status->xid};
    status->req.again = true;
    status->req.result = took_status;
    status->req.done = over;
    stores__pg_begin(conn, &status->req);
    stores__pg_add(conn, &status->req,
                   "SELECT pg_catalog.pg_xact_status($1::text::xid8),"
                   " " STORES__PG_RUN_SQL,
                   1, values, true);
    stores__pg_sync(conn, &status->req);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__status *status = STORES__CONTAINER(wait, struct stores__status, wait);
    (void)error;
    status->asking = true;
    over(&status->req, STORES__PG_LOST);
}

void stores__status_ask(struct stores__status *status) {
    status->wait.granted = granted;
    status->wait.failed = refused;
    stores__pg_acquire(&status->engine->pool, &status->wait, STORES__PG_READING, "lookups");
}

struct stores__status *stores__status_new(stores_engine *engine) {
    struct stores__status *status = calloc(1, sizeof *status);
    if (status == NULL) return NULL;
    status->engine = engine;
    stores__list_init(&status->wait.link);
    return status;
}

void stores__status_free(struct stores__status *status) {
    if (status == NULL) return;
    stores__timer_stop(&status->engine->timers, &status->timer);
    free(status);
}

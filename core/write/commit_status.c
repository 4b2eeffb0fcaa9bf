/* A COMMIT whose answer was lost: the server is asked, where it is still the same one. */
#include "write/commit_internal.h"

enum {
    STATUS_TRIES = 40, /* questions, 10 to 250 ms apart */
    STATUS_WAIT_MS = 250
};

static void took_status(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_error error;
    (void)index;
    commit->asking = false;
    if (stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1) {
        const char *status = stores__pg_value(result, 0, 0, NULL);
        const char *started = stores__pg_value(result, 0, 1, NULL);
        bool same = started && strcmp(started, commit->conn->identity.started) == 0;
        if (same && status && strcmp(status, "committed") == 0) {
            stores__error_free(commit->error);
            commit->error = NULL;
        } else if (same && commit->error && status && strcmp(status, "aborted") == 0) {
            stores__error_outcome(&commit->error, STORES_OUTCOME_NONE);
        } else if (same && status && strcmp(status, "in progress") == 0) {
            commit->asking = true; /* the server works on it, or has not noticed that we are gone */
        }
    }
    stores__pg_result_free(result);
}

static void status_again(struct stores__timer *timer) {
    stores__commit_ask_status(STORES__CONTAINER(timer, struct stores__commit, timer));
}

static void status_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__commit *commit = STORES__CONTAINER(req, struct stores__commit, req);
    stores_engine *engine = commit->engine;
    uint64_t ms = (uint64_t)commit->status_tries * 10;
    bool again = (end == STORES__PG_LOST || commit->asking) && !stores__closing(engine) &&
                 commit->status_tries++ < STATUS_TRIES;
    commit->timer.fire = status_again;
    if (ms > STATUS_WAIT_MS) ms = STATUS_WAIT_MS;
    if (!again || !stores__timer_set(&engine->timers, &commit->timer, stores__now(engine) + ms)) {
        stores__commit_finish(commit);
    }
}

static void status_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__commit *commit = STORES__CONTAINER(wait, struct stores__commit, wait);
    const char *values[] = {commit->xid};
    commit->req.again = true;
    commit->req.result = took_status;
    commit->req.done = status_over;
    stores__pg_begin(conn, &commit->req);
    stores__pg_add(conn, &commit->req,
                   "SELECT pg_catalog.pg_xact_status($1::text::xid8),"
                   " " STORES__PG_RUN_SQL,
                   1, values, true);
    stores__pg_sync(conn, &commit->req);
}

static void status_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__commit *commit = STORES__CONTAINER(wait, struct stores__commit, wait);
    (void)error;
    commit->asking = true;
    status_over(&commit->req, STORES__PG_LOST);
}

void stores__commit_ask_status(struct stores__commit *commit) {
    commit->step = STEP_ASK;
    commit->wait.granted = status_granted;
    commit->wait.failed = status_refused;
    stores__pg_acquire(&commit->engine->pool, &commit->wait, STORES__PG_READING, "lookups");
}

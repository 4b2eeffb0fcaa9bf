/* probe.c - see probe.h. */
#include "read/probe.h"

#include <stdio.h>

enum { MOST_MS = 10 * 1000 }; /* how long a server that does not answer is waited for */

static void end(struct stores__probe *probe) {
    struct stores__pg_conn *conn = probe->conn;
    probe->conn = NULL;
    stores__pg_release(conn);
    probe->done(probe, probe->free && probe->fits);
}

static void undone(struct stores__pg_req *req, enum stores__pg_end how) {
    (void)how; /* a connection that is lost has undone it as well */
    end(STORES__CONTAINER(req, struct stores__probe, req));
}

static void answered(struct stores__pg_req *req, enum stores__pg_end how) {
    struct stores__probe *probe = STORES__CONTAINER(req, struct stores__probe, req);
    if (how == STORES__PG_LOST) {
        probe->free = false;
        end(probe);
        return;
    }
    req->result = NULL;
    req->done = undone;
    stores__pg_begin(probe->conn, req);
    stores__pg_add(probe->conn, req, "ROLLBACK", 0, NULL, true);
    stores__pg_sync(probe->conn, req);
}

/* Not for a lock, nor for a server that is away: the table does not take such a row. */
static bool is_refusal(const stores_error *error) {
    static const char *const classes[] = {"22", "23", "42", "0A", "44"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strncmp(error->sqlstate, classes[i], 2) == 0) return true;
    }
    return false;
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__probe *probe = STORES__CONTAINER(req, struct stores__probe, req);
    stores_error error;
    bool ok = stores__pg_result_ok(result, &error);
    if (index == probe->at) probe->free = ok;
    if (index == probe->at + 1) probe->fits = ok || is_refusal(&error);
    stores__pg_result_free(result);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__probe *probe = STORES__CONTAINER(wait, struct stores__probe, wait);
    struct stores__table *table = probe->table;
    char id[24];
    const char *values[] = {id, "{}"};
    /* of copies the one that is asked may be over before the others */
    bool copied = table->spread == STORES__SPREAD_COPIED;
    const char *lock = stores__table_sql(table, copied ? STORES__LOCK_SQL : STORES__SHARE_SQL);
    const char *insert = stores__table_sql(table, STORES__INSERT_NEW_SQL);
    snprintf(id, sizeof id, "%lld", (long long)probe->id);
    probe->conn = conn;
    probe->free = false;
    probe->fits = table->unkeyed;
    probe->req.result = took;
    probe->req.done = answered;
    stores__pg_give_up_in(conn, MOST_MS);
    stores__pg_begin(conn, &probe->req);
    stores__pg_add(conn, &probe->req, "BEGIN", 0, NULL, true);
    stores__pg_add(conn, &probe->req, "SET LOCAL citus.propagate_set_commands = 'local'", 0, NULL,
                   true);
    stores__pg_add(conn, &probe->req, "SET LOCAL lock_timeout = 50", 0, NULL, true);
    probe->at = probe->req.added;
    if (lock != NULL && insert != NULL) {
        stores__pg_add(conn, &probe->req, lock, 1, values, true);
        if (!table->unkeyed) stores__pg_add(conn, &probe->req, insert, 2, values, true);
    }
    stores__pg_sync(conn, &probe->req);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__probe *probe = STORES__CONTAINER(wait, struct stores__probe, wait);
    (void)error;
    probe->done(probe, false);
}

void stores__probe_start(struct stores__probe *probe) {
    probe->wait.granted = granted;
    probe->wait.failed = refused;
    stores__pg_acquire(&probe->table->engine->pool, &probe->wait, STORES__PG_WRITING, "lookups");
}

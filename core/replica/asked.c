/* What a replica is asked beside a read. */
#include "replica/internal.h"

#define QUESTION "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn()"
/* Since when it has not committed anything, but for one that has replayed all it received, while it
 * receives. Milliseconds. */
#define LAG                                                                                        \
    "CASE WHEN pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() AND "    \
    "EXISTS (SELECT FROM pg_catalog.pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL) THEN 0"  \
    " ELSE (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()"                            \
    " - pg_catalog.pg_last_xact_replay_timestamp()) * 1000)::pg_catalog.int8 END"
/* What the receiver follows a role may see that reads statistics; the control file is a little
 * late. */
#define TIMELINE                                                                                   \
    "GREATEST((SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),"                       \
    " (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()),"                   \
    " (SELECT received_tli FROM pg_catalog.pg_stat_get_wal_receiver()))"

/* The received place is looked at first: where the replayed one is the same afterwards, nothing was
 * there that a snapshot before could have shown in part. */
static const char reached_sql[] =
    "SELECT pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn(),"
    " pg_catalog.pg_current_snapshot()";

bool stores__standing_questions(struct stores__replicas *replicas) {
    static const char *const timelines[2] = {"0", TIMELINE};
    for (int i = 0; i < 2; i++) {
        struct stores__buf buf = {0};
        stores__buf_fmt(&buf, QUESTION ", %s, %s", replicas->max_lag_ms > 0 ? LAG : "0",
                        timelines[i]);
        const char *text = stores__buf_text(&buf);
        replicas->questions[i] = text != NULL ? stores__strdup(text) : NULL;
        stores__buf_free(&buf);
        if (replicas->questions[i] == NULL) return false;
    }
    return true;
}

void stores__standing_add(const struct stores__replica *replica, struct stores__pg_conn *conn,
                          struct stores__pg_req *req) {
    const struct stores__replicas *replicas = replica->all;
    bool asks = replica->timeline < replicas->timeline;
    stores__pg_add(conn, req, replicas->questions[asks], 0, NULL, true);
}

void stores__standing_take(struct stores__standing *standing, const struct pg_result *result) {
    stores_error error;
    memset(standing, 0, sizeof *standing);
    if (!stores__pg_result_ok(result, &error) || stores__pg_rows(result) != 1) return;
    const char *recovers = stores__pg_value(result, 0, 0, NULL);
    const char *lag = stores__pg_value(result, 0, 2, NULL);
    const char *timeline = stores__pg_value(result, 0, 3, NULL);
    standing->told = true;
    standing->in_recovery = recovers != NULL && recovers[0] == 't';
    if (!stores__lsn_read(stores__pg_value(result, 0, 1, NULL), &standing->lsn)) {
        standing->lsn = 0;
    }
    long long ms = lag != NULL ? strtoll(lag, NULL, 10) : -1;
    standing->lag_ms = lag == NULL ? UINT64_MAX : ms < 0 ? 0 : (uint64_t)ms;
    standing->timeline = timeline != NULL ? (uint32_t)strtoul(timeline, NULL, 10) : 0;
    standing->of_run = true;
}

void stores__reached_add(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    stores__pg_add(conn, req, reached_sql, 0, NULL, true);
}

bool stores__reached_take(const struct pg_result *result, uint64_t *lsn, bool *exact,
                          struct stores__shown *shown) {
    stores_error error;
    uint64_t received;
    if (!stores__pg_result_ok(result, &error) || stores__pg_rows(result) != 1) return false;
    if (!stores__lsn_read(stores__pg_value(result, 0, 1, NULL), lsn)) return false;
    if (!stores__shown_read(stores__pg_value(result, 0, 2, NULL), shown)) return false;
    *exact = stores__lsn_read(stores__pg_value(result, 0, 0, NULL), &received) && received == *lsn;
    return true;
}

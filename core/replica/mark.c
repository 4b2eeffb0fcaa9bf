/* mark.c - see mark.h. */
#include "replica/internal.h"

/* ---- The mark -------------------------------------------------------------------------------- */

void stores__mark_raise(struct stores__mark *mark, struct stores__reach reach,
                        const struct stores__replica *shown_by) {
    if (stores__reach_is_beyond(mark->reach, reach)) return;
    if (stores__reach_is_beyond(reach, mark->reach)) {
        mark->reach = reach;
        mark->shown_by = shown_by;
    } else if (mark->shown_by == NULL) {
        mark->shown_by = shown_by;
    } else if (shown_by != NULL && shown_by != mark->shown_by) {
        mark->reach.lsn++; /* two of them, each of which may have shown the next record */
        mark->shown_by = NULL;
    }
}

uint64_t stores__mark_needs(const struct stores__mark *mark,
                            const struct stores__replica *replica) {
    bool more = mark->shown_by != NULL && mark->shown_by != replica;
    return mark->reach.lsn + more;
}

void stores__mark_read(struct stores__replicas *replicas, const struct stores__replica *replica,
                       struct stores__reach reach, bool exact) {
    stores__mark_raise(&replicas->mark, reach, exact ? NULL : replica);
}

void stores__mark_untold(stores_engine *engine) {
    if (engine->replicas != NULL) engine->replicas->mark.untold++;
}

/* ---- Asked of the primary -------------------------------------------------------------------- */

/* What a COMMIT that waits for its flush wrote is flushed when it is answered, and what others have
 * not flushed yet no replica can have. A read may have shown what another session committed without
 * waiting: then all that is written counts. */
#define COMMITTED                                                                                  \
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL"                                           \
    " WHEN pg_catalog.current_setting('synchronous_commit') = 'off'"                               \
    " THEN pg_catalog.pg_current_wal_insert_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END"
#define READ                                                                                       \
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL"                                           \
    " ELSE pg_catalog.pg_current_wal_insert_lsn() END"
/* A pooler's next server may be another one than its last. */
#define TIMELINE                                                                                   \
    ", CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.substr("                       \
    "pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END"

static const char *const questions[2][2] = {
    {"SELECT " COMMITTED, "SELECT " COMMITTED TIMELINE},
    {"SELECT " READ, "SELECT " READ TIMELINE},
};

void stores__marking_add_question(struct stores__marking *marking, stores_engine *engine,
                                  struct stores__pg_conn *conn, struct stores__pg_req *req,
                                  enum stores__marked what) {
    marking->index = req->added;
    marking->untold = engine->replicas->mark.untold;
    stores__pg_add(conn, req, questions[what][engine->pool.pooler], 0, NULL, true);
}

static uint32_t timeline_of(const char *digits) {
    return digits != NULL ? (uint32_t)strtoul(digits, NULL, 16) : 0;
}

void stores__marking_take(const struct stores__marking *marking, stores_engine *engine,
                          const struct stores__pg_conn *conn, const struct pg_result *result) {
    struct stores__mark *mark = &engine->replicas->mark;
    struct stores__reach reach = {timeline_of(conn->identity.timeline), 0};
    stores_error error;
    bool told = stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1 &&
                stores__lsn_read(stores__pg_value(result, 0, 0, NULL), &reach.lsn);
    if (!told) {
        mark->untold++;
        return;
    }
    if (engine->pool.pooler) {
        reach.timeline = timeline_of(stores__pg_value(result, 0, 1, NULL));
        stores__shows_follow(engine->replicas, reach.timeline);
    }
    stores__mark_raise(mark, reach, NULL);
    if ((int)(marking->untold - mark->covered) > 0) mark->covered = marking->untold;
}

/*
 * One read that is tried on a replica: one request of three statements.
 *
 *     how far are you?   answered at once, also before a long read: it decides
 *     the read
 *     and now?           what the read may have seen; it is the mark from then on
 *
 * An attempt belongs to who started it until it is over or left; then to itself, until its
 * connection is idle again.
 */
#include "replica/internal.h"

#include "pg/insist.h"

enum { AT_STANDING, AT_READ, AT_REACHED };
enum {
    LINGER_MS =
        50, /* that a statement may go on whose answer nobody wants: most are over by then */
    LATE_MS = 50, /* a timer that is so late says that the loop did not turn */
    HASTY_MOST = 3 /* callers in a hurry who get nothing: then it does not answer */
};

struct stores__attempt {
    struct stores__list link; /* replica->attempts, while somebody waits for it */
    struct stores__replica *replica;
    struct stores__replica_read read;
    struct stores__need need;
    /* NULL: nobody waits */
    void (*done)(void *arg, struct pg_result *result, enum stores__replica_reason why);
    void *arg;
    bool starting, failed; /* inside stores__attempt_start; it failed there, */
    enum stores__replica_reason why; /* for that; NONE: no memory */
    bool on_trial, judged; /* it finds out whether the replica is fit again; it has */
    bool fits, reached, exact, broken, untold;
    uint32_t timeline; /* of its server, as known when it was asked */
    struct stores__reach reach; /* on the timeline of the primary by then */
    struct stores__shown shown;
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn; /* NULL: not granted */
    struct stores__pg_req req;
    struct stores__pg_insist insist;
    struct stores__timer timer;
    uint64_t patience_ms, due_at;
    struct pg_result *result;
};

static struct stores__timers *timers_of(const struct stores__attempt *attempt) {
    return attempt->replica->pool.timers;
}

static uint64_t now_of(const struct stores__attempt *attempt) {
    return uv_now(attempt->replica->pool.loop);
}

static void destroy(struct stores__attempt *attempt) {
    struct stores__replica *replica = attempt->replica;
    stores__timer_stop(timers_of(attempt), &attempt->timer);
    stores__pg_insist_over(&attempt->insist);
    stores__list_remove(&attempt->link);
    replica->reading--;
    if (attempt->on_trial && !attempt->judged)
        replica->on_trial = false; /* nothing was found out */
    if (attempt->result != NULL) stores__pg_result_free(attempt->result);
    free(attempt);
}

/* How long its replica may be silent. */
static uint64_t patience_of(const struct stores__attempt *attempt) {
    uint64_t breaker_ms = attempt->replica->all->engine->config.breaker_ms;
    uint64_t part = breaker_ms / STORES__REPLICA_OF_BREAKER + 1;
    bool is_short = breaker_ms > 0 && part < STORES__REPLICA_PATIENCE_MS;
    return is_short ? part : STORES__REPLICA_PATIENCE_MS;
}

/* Nobody waits for it from now on. */
static void tell(struct stores__attempt *attempt, struct pg_result *result,
                 enum stores__replica_reason why) {
    void (*done)(void *arg, struct pg_result *result,
                 enum stores__replica_reason why) = attempt->done;
    attempt->done = NULL;
    stores__list_remove(&attempt->link);
    if (attempt->starting) {
        attempt->failed = true;
        attempt->why = why;
    } else if (done != NULL) {
        done(attempt->arg, result, why);
    }
}

static void give_up(struct stores__attempt *attempt, enum stores__replica_reason why) {
    if (attempt->done == NULL) return;
    if (why != STORES__REPLICA_BUSY && why != STORES__REPLICA_FAILED) attempt->judged = true;
    stores__replica_failed(attempt->replica, why);
    tell(attempt, NULL, why);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void linger_over(struct stores__timer *timer) {
    struct stores__attempt *attempt = STORES__CONTAINER(timer, struct stores__attempt, timer);
    stores__pg_insist(&attempt->insist, attempt->conn);
}

/* Its answer is of no use: what runs is canceled, where it does not end by itself. A lane is
 * others', too. */
static void let_go(struct stores__attempt *attempt) {
    if (!attempt->read.own) return;
    attempt->timer.fire = linger_over;
    if (!stores__timer_set(timers_of(attempt), &attempt->timer, now_of(attempt) + LINGER_MS)) {
        linger_over(&attempt->timer);
    }
}

/* Where it is not there at all those that it began end. */
static void probed(struct stores__pg_probe *probe, enum stores__pg_presence presence) {
    struct stores__replica *replica = STORES__CONTAINER(probe, struct stores__replica, probe);
    struct stores__list all;
    if (presence == STORES__PG_THERE) return;
    stores__list_init(&all);
    stores__list_move(&replica->attempts, &all);
    for (struct stores__list *at; (at = stores__list_shift(&all)) != NULL;) {
        struct stores__attempt *attempt = STORES__CONTAINER(at, struct stores__attempt, link);
        struct stores__pg_conn *conn = attempt->conn;
        if (conn == NULL) {
            stores__list_append(&replica->attempts, at); /* its own patience ends it */
            continue;
        }
        give_up(attempt, STORES__REPLICA_SILENT);
        if (attempt->read.own) stores__pg_discard(conn);
    }
}

static void silent_since(struct stores__timer *timer) {
    struct stores__attempt *attempt = STORES__CONTAINER(timer, struct stores__attempt, timer);
    attempt->patience_ms *= 2;
    stores__timer_set(timers_of(attempt), timer, now_of(attempt) + attempt->patience_ms);
    attempt->replica->probe.done = probed;
    stores__pg_probe_start(&attempt->replica->pool, &attempt->replica->probe,
                           2 * patience_of(attempt));
}

static void judge(struct stores__attempt *attempt, const struct pg_result *result) {
    struct stores__standing standing;
    stores__standing_take(&standing, result);
    standing.of_run = stores__replica_is_run(attempt->replica, attempt->conn);
    if (standing.timeline == 0) standing.timeline = attempt->timeline;
    enum stores__replica_reason why = stores__replica_judge(attempt->replica, &attempt->need,
                                                            &standing);
    attempt->judged = true;
    attempt->fits = why == STORES__REPLICA_NONE;
    attempt->reach.timeline = attempt->replica->all->timeline;
    if (attempt->fits) {
        attempt->patience_ms = patience_of(attempt);
        attempt->timer.fire = silent_since;
        stores__timer_set(timers_of(attempt), &attempt->timer,
                          now_of(attempt) + attempt->patience_ms);
    } else {
        if (attempt->done != NULL) let_go(attempt);
        give_up(attempt, why);
    }
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__attempt *attempt = STORES__CONTAINER(req, struct stores__attempt, req);
    stores_error error;
    bool ok = stores__pg_result_ok(result, &error);
    if (!ok && stores__pg_stale_plan(req)) stores__pg_forget_statements(attempt->conn);
    if (!ok) {
        attempt->broken = true;
        attempt->untold = attempt->untold || index == AT_STANDING;
    } else if (index == AT_STANDING) {
        judge(attempt, result);
    } else if (index == AT_READ) {
        attempt->result = result;
        return;
    } else if (index == AT_REACHED) {
        attempt->reached = stores__reached_take(result, &attempt->reach.lsn, &attempt->exact,
                                                &attempt->shown);
    }
    stores__pg_result_free(result);
}

static void answer(struct stores__attempt *attempt) {
    struct stores__replica *replica = attempt->replica;
    struct pg_result *result = attempt->result;
    stores__mark_read(replica->all, replica, attempt->reach, attempt->exact);
    stores__shows_note(replica, attempt->shown);
    replica->seen = attempt->reach.lsn;
    replica->reads++;
    attempt->result = NULL;
    tell(attempt, result, STORES__REPLICA_NONE);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__attempt *attempt = STORES__CONTAINER(req, struct stores__attempt, req);
    bool complete = end == STORES__PG_SYNCED && attempt->fits && !attempt->broken &&
                    attempt->result != NULL && attempt->reached &&
                    attempt->reach.timeline == attempt->replica->all->timeline;
    if (complete && !attempt->exact && !stores__replica_is_run(attempt->replica, attempt->conn)) {
        attempt->reach.lsn++; /* another server of its name does not show what this one may have */
        attempt->exact = true;
    }
    stores__timer_stop(timers_of(attempt), &attempt->timer);
    stores__pg_insist_over(&attempt->insist);
    if (attempt->read.own) stores__pg_release(attempt->conn);
    if (attempt->done != NULL && complete) {
        answer(attempt);
    } else {
        bool gone = end == STORES__PG_LOST || attempt->untold;
        give_up(attempt, !gone          ? STORES__REPLICA_FAILED
                         : req->stalled ? STORES__REPLICA_SILENT
                                        : STORES__REPLICA_DOWN);
    }
    if (!attempt->starting) destroy(attempt);
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* The loop did not turn, and what has come meanwhile was not read yet. */
static bool was_away(struct stores__attempt *attempt) {
    uint64_t now = now_of(attempt);
    if (now < attempt->due_at + LATE_MS) return false;
    attempt->due_at = now + LATE_MS;
    return stores__timer_set(timers_of(attempt), &attempt->timer, attempt->due_at);
}

/* What a caller in a hurry does not get says little of the replica. */
static enum stores__replica_reason why_silent(const struct stores__attempt *attempt) {
    bool hasty = attempt->patience_ms < patience_of(attempt);
    if (hasty && ++attempt->replica->hasty < HASTY_MOST) return STORES__REPLICA_BUSY;
    return STORES__REPLICA_SILENT;
}

static void out_of_patience(struct stores__timer *timer) {
    struct stores__attempt *attempt = STORES__CONTAINER(timer, struct stores__attempt, timer);
    struct stores__pg_conn *conn = attempt->conn;
    if (was_away(attempt)) return;
    if (conn == NULL) {
        bool busy = stores__pg_open_count(&attempt->replica->pool) > 0;
        stores__pg_unwait(&attempt->wait);
        give_up(attempt, busy ? STORES__REPLICA_BUSY : why_silent(attempt));
        destroy(attempt);
        return;
    }
    give_up(attempt, why_silent(attempt));
    if (attempt->read.own) stores__pg_discard(conn); /* it is over with that, and gone */
}

static bool is_wanted(const struct stores__pg_req *req) {
    return STORES__CONTAINER(req, struct stores__attempt, req)->done != NULL;
}

static void send_read(struct stores__attempt *attempt) {
    struct stores__pg_conn *conn = attempt->conn;
    const struct stores__replica_read *read = &attempt->read;
    struct stores__pg_req *req = &attempt->req;
    req->result = took;
    req->done = over;
    req->again = !read->own;
    req->wanted = is_wanted;
    req->kept = STORES__PG_KEPT_IN_READS;
    if (read->own) stores__pg_foreign(conn, read->sql);
    if (read->runs) stores__pg_foreign(conn, NULL);
    stores__pg_begin(conn, req);
    stores__replica_runs(attempt->replica, conn);
    attempt->timeline = attempt->replica->timeline;
    stores__standing_add(attempt->replica, conn, req);
    if (read->own) stores__pg_hurry(conn);
    stores__pg_add(conn, req, read->sql, read->count, read->values, !read->own);
    stores__reached_add(conn, req);
    if (read->own || (conn->foreign && conn->pool->pooler)) {
        stores__pg_sync_last(conn, req);
    } else {
        stores__pg_sync(conn, req);
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__attempt *attempt = STORES__CONTAINER(wait, struct stores__attempt, wait);
    bool is_it = stores__replica_is_it(attempt->replica, conn);
    if (is_it && conn->standby) {
        attempt->conn = conn;
        send_read(attempt);
        return;
    }
    if (attempt->read.own) stores__pg_release(conn); /* a lane without a request goes by itself */
    give_up(attempt, is_it ? STORES__REPLICA_PROMOTED : STORES__REPLICA_FOREIGN);
    stores__pg_pool_renew(&attempt->replica->pool, UINT64_MAX); /* it may be another one later */
    if (!attempt->starting) destroy(attempt);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__attempt *attempt = STORES__CONTAINER(wait, struct stores__attempt, wait);
    bool busy = error->code == STORES_POOL_FULL ||
                (error->code == STORES_ACQUIRE_TIMEOUT &&
                 stores__pg_open_count(&attempt->replica->pool) > 0);
    give_up(attempt, busy ? STORES__REPLICA_BUSY : STORES__REPLICA_DOWN);
    if (!attempt->starting) destroy(attempt);
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static struct stores__attempt *attempt_new(struct stores__replica *replica,
                                           const struct stores__replica_read *read) {
    struct stores__attempt *attempt = calloc(1, sizeof *attempt);
    if (attempt == NULL) return NULL;
    attempt->replica = replica;
    attempt->read = *read;
    attempt->on_trial = replica->on_trial;
    stores__list_init(&attempt->link);
    stores__list_init(&attempt->wait.link);
    return attempt;
}

struct stores__attempt *stores__attempt_start(struct stores__replica *replica,
                                              const struct stores__replica_read *read,
                                              const struct stores__need *need,
                                              void (*done)(void *arg, struct pg_result *result,
                                                           enum stores__replica_reason why),
                                              void *arg, enum stores__replica_reason *why) {
    struct stores__attempt *attempt = attempt_new(replica, read);
    *why = STORES__REPLICA_BUSY;
    if (attempt == NULL) {
        replica->on_trial = false;
        return NULL;
    }
    uint64_t now = now_of(attempt), left = read->ends_at > now ? (read->ends_at - now) / 3 : 0;
    attempt->need = *need;
    attempt->done = done;
    attempt->arg = arg;
    attempt->starting = true;
    attempt->patience_ms = left < patience_of(attempt) ? left : patience_of(attempt);
    attempt->due_at = now + attempt->patience_ms;
    attempt->timer.fire = out_of_patience;
    attempt->wait.granted = granted;
    attempt->wait.failed = refused;
    replica->reading++;
    stores__list_append(&replica->attempts, &attempt->link);
    const struct stores__pg_common *common = &replica->all->engine->pool.common;
    replica->pool.common.statement = common->statement;
    replica->pool.common.statement_arg = common->statement_arg;
    if (stores__timer_set(timers_of(attempt), &attempt->timer, attempt->due_at)) {
        stores__pg_acquire(&replica->pool, &attempt->wait,
                           read->own ? STORES__PG_CHECKED_OUT : STORES__PG_READING, "reads");
    } else {
        attempt->failed = true;
    }
    attempt->starting = false;
    if (!attempt->failed) return attempt;
    if (attempt->why != STORES__REPLICA_NONE) *why = attempt->why;
    destroy(attempt);
    return NULL;
}

void stores__attempt_leave(struct stores__attempt *attempt) {
    attempt->done = NULL;
    stores__list_remove(&attempt->link);
    if (attempt->conn == NULL) {
        stores__pg_unwait(&attempt->wait);
        destroy(attempt);
    } else if (attempt->read.own) {
        stores__timer_stop(timers_of(attempt), &attempt->timer);
        stores__pg_insist(&attempt->insist, attempt->conn);
    }
}

/*
 * Whether the primary has ended what replicas have shown. A commit is in the WAL, and may be
 * replayed and shown by a standby, before the session that made it leaves the list of those that
 * run: for microseconds, for as long as that process does not get the processor, or until a
 * synchronous standby has answered. A read of the primary in between would go back in time. So
 * before one that a replica might have answered the primary is asked who runs: as long as that is
 * somebody whom a replica may have shown as ended, it is asked again.
 *
 * One question at a time, for all who doubt: who comes while it is under way waits for the next.
 */
#include "replica/internal.h"

enum { PAUSE_ROUNDS = 6, PAUSE_MOST_MS = 50, LOST_MOST = 3 };

static const char question[] = "SELECT pg_catalog.pg_current_snapshot(),"
                               " pg_catalog.current_setting('synchronous_standby_names') = '',"
                               " pg_catalog.pg_is_in_recovery()";

static void look(struct stores__doubts *doubts);

static struct stores__replicas *replicas_of(struct stores__doubts *doubts) {
    return STORES__CONTAINER(doubts, struct stores__replicas, doubts);
}

static void settle(struct stores__doubt *doubt, const stores_error *error) {
    stores__list_remove(&doubt->link);
    doubt->over(doubt, error);
}

static void settle_all(struct stores__list *list, const stores_error *error) {
    while (!stores__list_empty(list)) {
        settle(STORES__CONTAINER(list->next, struct stores__doubt, link), error);
    }
}

/* ---- The answer ------------------------------------------------------------------------------ */

struct said {
    const char *snapshot;
    bool synchronous; /* it may wait for standbys, for as long as they are away */
    bool standby; /* no primary is there: it has what it has */
};

static void gather(const struct stores__replicas *replicas, struct stores__doubt *doubt) {
    doubt->all = doubt->shown;
    stores__shows_add(replicas, &doubt->all);
    doubt->era = stores__shows_era(replicas);
}

/* The primary was met, so that it is known which tokens are of its system; or those who showed the
 * timeline before are not believed any more. */
static void look_again(const struct stores__replicas *replicas, struct stores__doubt *doubt) {
    if (doubt->era == stores__shows_era(replicas)) return;
    if (doubt->tokens != NULL && replicas->met) {
        memset(&doubt->shown, 0, sizeof doubt->shown);
        stores__token_add_shown(doubt->tokens, replicas->system, &doubt->shown);
        doubt->tokens = NULL;
    }
    gather(replicas, doubt);
}

/* A transaction that runs for long is no commit that is about to end: where nobody is waited for,
 * those are over in a moment. That it was such a moment is believed only of who has waited one,
 * from when on nobody is waited for. */
static bool has_ended(struct stores__doubt *doubt, const struct said *said, uint64_t now) {
    if (stores__shown_ended(doubt->all, said->snapshot)) return true;
    if (said->synchronous) doubt->since = now;
    return !said->synchronous && now >= doubt->since + STORES__REPLICA_PATIENCE_MS;
}

static void judge(struct stores__doubts *doubts, const struct said *said) {
    struct stores__replicas *replicas = replicas_of(doubts);
    uint64_t now = stores__now(replicas->engine);
    while (!stores__list_empty(&doubts->asked)) {
        struct stores__doubt *doubt = STORES__CONTAINER(doubts->asked.next, struct stores__doubt,
                                                        link);
        look_again(replicas, doubt);
        if (said->standby || now >= doubt->until) { /* all its calls have met their deadlines */
            settle(doubt, NULL);
        } else if (has_ended(doubt, said, now)) {
            struct stores__shows *shows = &replicas->shows;
            if (doubt->shows > shows->settled) shows->settled = doubt->shows;
            settle(doubt, NULL);
        } else {
            stores__list_remove(&doubt->link);
            stores__list_append(&doubts->waiting, &doubt->link);
        }
    }
}

static void take(struct stores__doubts *doubts, const struct pg_result *answer) {
    const char *nobody = stores__pg_value(answer, 0, 1, NULL);
    const char *recovers = stores__pg_value(answer, 0, 2, NULL);
    struct said said = {stores__pg_value(answer, 0, 0, NULL), nobody == NULL || nobody[0] != 't',
                        recovers != NULL && recovers[0] == 't'};
    judge(doubts, &said);
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__doubts *doubts = STORES__CONTAINER(req, struct stores__doubts, req);
    (void)index;
    if (stores__pg_result_ok(result, &doubts->error) && stores__pg_rows(result) == 1 &&
        doubts->answer == NULL) {
        doubts->answer = result;
        return;
    }
    if (stores__pg_stale_plan(req)) stores__pg_forget_statements(doubts->conn);
    stores__pg_result_free(result);
}

/* ---- The question ---------------------------------------------------------------------------- */

static void pause_over(struct stores__timer *timer) {
    look(STORES__CONTAINER(timer, struct stores__doubts, timer));
}

/* Who doubts for long is in no hurry. */
static void ask_later(struct stores__doubts *doubts) {
    struct stores__replicas *replicas = replicas_of(doubts);
    if (stores__list_empty(&doubts->waiting)) return;
    uint64_t ms = PAUSE_MOST_MS;
    if (doubts->rounds < PAUSE_ROUNDS) ms = UINT64_C(1) << doubts->rounds++;
    doubts->timer.fire = pause_over;
    if (!stores__timer_set(&replicas->engine->timers, &doubts->timer,
                           stores__now(replicas->engine) + ms)) {
        look(doubts);
    }
}

/* Gives those of whom it was asked too often, and why they do not hear it. */
static void was_lost(struct stores__doubts *doubts, struct stores__list *given_up,
                     stores_error *error) {
    uint64_t now = stores__now(replicas_of(doubts)->engine);
    *error = doubts->error;
    if (doubts->beginning) return; /* nobody hears of anything in there */
    bool enough = !doubts->req.stalled && ++doubts->lost > LOST_MOST;
    if (error->code == STORES_OK) {
        stores__error_set(error, STORES_CONNECTION_LOST,
                          "the connection was lost while the primary was asked whether it has "
                          "ended what a replica has shown");
    }
    if (enough) doubts->lost = 0;
    for (struct stores__list *at = doubts->asked.next, *next; at != &doubts->asked; at = next) {
        next = at->next;
        if (!enough && now < STORES__CONTAINER(at, struct stores__doubt, link)->until) continue;
        stores__list_remove(at);
        stores__list_append(given_up, at);
    }
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__doubts *doubts = STORES__CONTAINER(req, struct stores__doubts, req);
    struct pg_result *answer = doubts->answer;
    struct stores__list given_up;
    stores_error error;
    (void)end;
    stores__list_init(&given_up);
    if (answer != NULL) {
        doubts->lost = 0;
        take(doubts, answer);
        stores__pg_result_free(answer);
        doubts->answer = NULL;
    } else {
        was_lost(doubts, &given_up, &error);
    }
    doubts->busy = false;
    stores__list_move(&doubts->asked, &doubts->waiting);
    ask_later(doubts);
    settle_all(&given_up, &error); /* who hears of it may doubt again */
}

static bool is_wanted(const struct stores__pg_req *req) {
    const struct stores__doubts *doubts = STORES__CONTAINER(req, struct stores__doubts, req);
    return !stores__list_empty(&doubts->asked);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__doubts *doubts = STORES__CONTAINER(wait, struct stores__doubts, wait);
    struct stores__pg_req *req = &doubts->req;
    doubts->conn = conn;
    memset(&doubts->error, 0, sizeof doubts->error);
    stores__list_move(&doubts->waiting, &doubts->asked);
    req->result = took;
    req->done = over;
    req->again = true;
    req->wanted = is_wanted;
    req->kept = STORES__PG_KEPT_IN_READS;
    stores__pg_begin(conn, req);
    stores__pg_add(conn, req, question, 0, NULL, true);
    stores__pg_sync(conn, req);
}

static void fail(struct stores__doubts *doubts, const stores_error *error) {
    struct stores__list all;
    stores__list_init(&all);
    stores__list_move(&doubts->waiting, &all);
    settle_all(&all, error);
}

static void refusal_over(struct stores__timer *timer) {
    struct stores__doubts *doubts = STORES__CONTAINER(timer, struct stores__doubts, timer);
    stores_error error = doubts->error;
    fail(doubts, &error);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__doubts *doubts = STORES__CONTAINER(wait, struct stores__doubts, wait);
    doubts->busy = false;
    if (doubts->beginning) {
        doubts->error = *error;
        doubts->refused = true;
    } else {
        fail(doubts, error);
    }
}

static void look(struct stores__doubts *doubts) {
    struct stores__replicas *replicas = replicas_of(doubts);
    if (doubts->busy || stores__list_empty(&doubts->waiting)) return;
    if (!doubts->beginning) stores__timer_stop(&replicas->engine->timers, &doubts->timer);
    doubts->busy = true;
    doubts->wait.granted = granted;
    doubts->wait.failed = refused;
    stores__pg_acquire(&replicas->engine->pool, &doubts->wait, STORES__PG_READING, "reads");
}

/* ---- Who doubts ------------------------------------------------------------------------------ */

void stores__doubts_init(struct stores__doubts *doubts) {
    stores__list_init(&doubts->waiting);
    stores__list_init(&doubts->asked);
    stores__list_init(&doubts->wait.link);
}

/* With its timer set before: to say later that there is no connection to ask by. */
static void look_first(struct stores__doubts *doubts) {
    struct stores__replicas *replicas = replicas_of(doubts);
    doubts->beginning = true;
    doubts->refused = false;
    look(doubts);
    doubts->beginning = false;
    if (doubts->refused) {
        doubts->timer.fire = refusal_over;
    } else if (doubts->busy) {
        stores__timer_stop(&replicas->engine->timers, &doubts->timer);
    }
}

bool stores__doubt_begin(struct stores__replicas *replicas, struct stores__doubt *doubt) {
    struct stores__doubts *doubts = &replicas->doubts;
    uint64_t now = stores__now(replicas->engine);
    if (!doubts->busy && !stores__timer_set(&replicas->engine->timers, &doubts->timer, now)) {
        return false;
    }
    doubt->since = now;
    doubt->shows = replicas->shows.count;
    gather(replicas, doubt);
    doubts->rounds = 0;
    stores__list_append(&doubts->waiting, &doubt->link);
    if (!doubts->busy) look_first(doubts);
    return true;
}

void stores__doubts_close(struct stores__replicas *replicas) {
    struct stores__doubts *doubts = &replicas->doubts;
    stores__timer_stop(&replicas->engine->timers, &doubts->timer);
    stores__list_move(&doubts->waiting, &doubts->asked);
    settle_all(&doubts->asked, NULL); /* the primary, which closes as well, says so */
}

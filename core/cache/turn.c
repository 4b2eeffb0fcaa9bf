/* Turns that are begun on purpose, and those that are owed: what was written while Redis could not
 * be told is remembered by table, and turned when it can be. */
#include <stdio.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"
#include "cache/held.h"
#include "cache/held_scripts.h"
#include "cache/scripts.h"

enum { RESUME_MS = 200, RESUME_DOUBLED = 2 };

struct turn {
    struct stores__redis_req req;
    struct stores__epoch *epoch; /* held */
    void (*done)(void *arg, bool ok);
    void *arg;
    enum stores__turn_by by;
    bool held; /* sent as one of a table that processes may hold */
    bool asked_again; /* the connection was lost meanwhile, and the question was put once more */
    struct stores__pg_wait wait; /* to ask for the mark */
    struct stores__pg_req ask;
    uint64_t longest; /* as PostgreSQL said after the turn; 0: there is no mark */
    char text[STORES__EPOCH_TEXT];
};

static struct stores__redis_script script_turn = {.source = STORES__SCRIPT_TURN, .follows = true};
static struct stores__redis_script script_turn_held = {.source = STORES__SCRIPT_TURN_HELD,
                                                       .follows = true};

/* ---- Those who hold rows of it --------------------------------------------------------------- */

static void turn_over(struct turn *turn, bool ok) {
    struct stores__epoch *epoch = turn->epoch;
    if (turn->done != NULL) turn->done(turn->arg, ok);
    free(turn);
    stores__epoch_let_go(epoch);
}

static void let_go_of(void *arg, bool ok) {
    turn_over(arg, ok);
}

static void wait_for_leases(struct turn *turn) {
    if (stores__held_wait_out(turn->epoch, turn->longest, let_go_of, turn) != STORES__HELD_WAITS) {
        turn_over(turn, false);
    }
}

static void took_mark(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct turn *turn = STORES__CONTAINER(req, struct turn, ask);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1) {
        const char *seconds = stores__pg_value(result, 0, 0, NULL);
        if (seconds != NULL) turn->longest = strtoull(seconds, NULL, 10) * 1000;
    }
    stores__pg_result_free(result);
}

static void ask_for_mark(struct turn *turn);

static void mark_known(struct stores__pg_req *req, enum stores__pg_end end) {
    struct turn *turn = STORES__CONTAINER(req, struct turn, ask);
    if (end == STORES__PG_LOST && (!turn->asked_again || req->stalled)) {
        turn->asked_again = turn->asked_again || !req->stalled;
        ask_for_mark(turn);
        return;
    }
    if (end == STORES__PG_LOST) turn->longest = STORES__LEASE_MOST_MS;
    if (turn->longest > 0) {
        wait_for_leases(turn);
    } else {
        turn_over(turn, true);
    }
}

static void mark_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct turn *turn = STORES__CONTAINER(wait, struct turn, wait);
    char oid[12];
    const char *values[] = {oid};
    snprintf(oid, sizeof oid, "%u", turn->epoch->oid);
    turn->ask.again = true;
    turn->ask.result = took_mark;
    turn->ask.done = mark_known;
    stores__pg_begin(conn, &turn->ask);
    /* a standby may be late with it */
    stores__pg_add(
        conn, &turn->ask,
        "SELECT greatest(pg_catalog.pg_is_in_recovery()::int4, " STORES__MARK("$1::text") ")", 1,
        values, true);
    stores__pg_sync(conn, &turn->ask);
}

static void mark_refused(struct stores__pg_wait *wait, const stores_error *error) {
    (void)error;
    wait_for_leases(STORES__CONTAINER(wait, struct turn, wait));
}

/* No hash is there, or none any more: where the table is marked, leases of one that was lost may
 * run still. What PostgreSQL says now, after the turn, holds for whoever held rows before it; where
 * it says nothing, they may be as long as any. */
static void ask_for_mark(struct turn *turn) {
    stores_engine *engine = turn->epoch->engine;
    if ((turn->by == STORES__TURN_NAMED && !stores__epoch_marked(turn->epoch)) ||
        stores__closing(engine)) {
        turn_over(turn, true);
        return;
    }
    turn->longest = STORES__LEASE_MOST_MS;
    stores__list_init(&turn->wait.link);
    turn->wait.granted = mark_granted;
    turn->wait.failed = mark_refused;
    stores__pg_acquire(&engine->pool, &turn->wait, STORES__PG_READING, "turns");
}

static void after_turn(struct turn *turn, const struct redisReply *reply) {
    struct stores__epoch *epoch = turn->epoch;
    stores__held_wrote(epoch, NULL);
    if (stores__redis_count(reply) == 0) {
        ask_for_mark(turn);
        return;
    }
    switch (stores__held_wait(epoch, reply, let_go_of, turn)) {
    case STORES__HELD_TOLD: turn_over(turn, true); break;
    case STORES__HELD_FAILED: turn_over(turn, false); break;
    case STORES__HELD_WAITS: break;
    }
}

/* ---- B<new> ---------------------------------------------------------------------------------- */

/* Where there was no epoch, none was set: nothing counts, and whoever needs one begins a turn. */
static void turn_set(struct stores__redis_req *req, struct redisReply **reply) {
    struct turn *turn = STORES__CONTAINER(req, struct turn, req);
    struct stores__epoch *epoch = turn->epoch;
    const char *text = stores__redis_text(*reply, NULL);
    bool told = turn->held &&
                (stores__redis_count(*reply) == 4 || stores__redis_integer(*reply, 0) == 1);
    bool set = told || (text != NULL && text[0] == 'B' && strcmp(text + 1, turn->text) == 0);
    bool absent = text != NULL && text[0] == '\0';
    if (set) {
        stores__trouble_over(stores__epoch_node(epoch));
        /* one that was set where the slot went meanwhile is nobody's there: who sees it turns
         * again */
        bool ours = stores__epoch_is_ours(epoch, turn->text);
        memcpy(epoch->texts.believed, ours ? turn->text : "", ours ? sizeof turn->text : 1);
        epoch->state = ours ? STORES__EPOCH_TURNING : STORES__EPOCH_UNKNOWN;
        epoch->since = stores__now(epoch->engine);
        epoch->engine->counters.turns_started++;
    } else if (absent) {
        epoch->state = STORES__EPOCH_UNKNOWN;
    }
    if (turn->held && (set || absent)) {
        after_turn(turn, *reply);
    } else {
        turn_over(turn, set || absent);
    }
}

bool stores__epoch_turn(struct stores__epoch *epoch, enum stores__turn_by by,
                        void (*done)(void *arg, bool ok), void *arg) {
    struct stores__cache *cache = epoch->engine->cache;
    struct stores__args args = {0};
    char value[STORES__EPOCH_TEXT + 1];
    const struct stores__node *node = stores__epoch_node(epoch);
    if (cache->closed || !stores__node_up(node)) return false;
    struct turn *turn = calloc(1, sizeof *turn);
    char fresh[17] = "";
    if (turn == NULL) return false;
    turn->by = by;
    bool makes = by == STORES__TURN_FIRST ||
                 (stores__epoch_marked(epoch) && by != STORES__TURN_FREE);
    turn->held = makes || by != STORES__TURN_LOCKED;
    if ((makes && !stores__random_text(fresh, 16)) ||
        !stores__epoch_make(cache, node->run_id, turn->text)) {
        free(turn);
        return false;
    }
    stores__epoch_told(epoch);
    turn->done = done;
    turn->arg = arg;
    turn->req.done = turn_set;
    turn->epoch = stores__epoch_hold(epoch);
    snprintf(value, sizeof value, "B%s", turn->text);
    stores__args_epoch_key(&args, epoch);
    stores__args_str(&args, value);
    if (turn->held) {
        stores__args_str(&args, stores__held_own(epoch));
        stores__args_str(&args, fresh);
        stores__args_str(&args, stores__ear_words(stores__epoch_node(epoch)));
        stores__args_longest(&args, epoch);
        stores__args_str(&args, by == STORES__TURN_FIRST ? "1" : "");
    }
    if (!stores__args_send(&args, cache, &turn->req, turn->held ? &script_turn_held : &script_turn,
                           1)) {
        free(turn);
        stores__epoch_let_go(epoch);
        return false;
    }
    stores__nodes_flush(cache);
    return true;
}

/* ---- Redis was away -------------------------------------------------------------------------- */

static void resume_timer(struct stores__timer *timer);

static void resume_later(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->engine;
    unsigned doubled = epoch->resume_failures < RESUME_DOUBLED ? epoch->resume_failures
                                                               : RESUME_DOUBLED;
    if (stores__closing(engine)) return;
    epoch->resume.fire = resume_timer;
    /* it has a place since the epoch was made: what is owed is not forgotten for want of memory */
    stores__timer_set(&engine->timers, &epoch->resume,
                      stores__now(engine) + ((uint64_t)RESUME_MS << doubled));
}

void stores__epoch_bypassed(struct stores__epoch *epoch) {
    epoch->bypasses++;
    /* a link that is down calls stores__epoch_resume_all when it is up; one that is not, does
     * not */
    resume_later(epoch);
}

/* Those that were counted before the turn was sent have either committed, or hold their locks,
 * which the end of the turn waits for. */
static void resumed(void *arg, bool ok) {
    struct stores__epoch *epoch = arg;
    epoch->resuming = false;
    if (!ok) { /* it stays remembered, whether Redis is away or refuses */
        epoch->resume_failures++;
        resume_later(epoch);
        return;
    }
    epoch->resume_failures = 0;
    epoch->bypasses -= epoch->turned_bypasses;
    epoch->turned_bypasses = 0;
    stores__epoch_end_turn(epoch);
    if (epoch->bypasses > 0) resume_later(epoch); /* the turn, which holds it, lets go of it */
}

static void resume(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->engine;
    if (epoch->bypasses == 0 || epoch->resuming || stores__closing(engine)) return;
    if (engine->cache->closed) return;
    if (!stores__node_up(stores__epoch_node(epoch))) {
        /* the link says when it is up; of a cluster, another node may have the slot before that */
        if (engine->cache->map != NULL) resume_later(epoch);
        return;
    }
    epoch->turned_bypasses = epoch->bypasses;
    epoch->resuming = stores__epoch_turn(epoch, STORES__TURN_FREE, resumed, epoch);
    if (!epoch->resuming) resume_later(epoch);
}

static void resume_timer(struct stores__timer *timer) {
    struct stores__epoch *epoch = STORES__CONTAINER(timer, struct stores__epoch, resume);
    stores__timer_set(&epoch->engine->timers, timer, UINT64_MAX); /* keeps the place it just had */
    resume(epoch);
}

void stores__epoch_resume_all(stores_engine *engine) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        resume(STORES__CONTAINER(at, struct stores__epoch, link));
    }
}

static void moved(struct stores__epoch *epoch) {
    if (epoch->told) stores__epoch_bypassed(epoch);
    epoch->told = false;
}

void stores__epoch_moved_node(stores_engine *engine, const struct stores__node *node) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        if (stores__epoch_node(epoch) == node) moved(epoch);
    }
}

void stores__epoch_moved_slots(stores_engine *engine, unsigned first, unsigned last,
                               const struct stores__node *next) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        bool inside = epoch->slot >= first && epoch->slot <= last;
        if (inside && stores__epoch_node(epoch) != next) moved(epoch);
    }
}

/* ---- The store closes, and owes turns -------------------------------------------------------- */

struct owed {
    struct stores__epoch *epoch; /* held by its turn */
    unsigned bypasses;
    void (*done)(stores_engine *engine);
};

static void turned_at_last(void *arg, bool ok) {
    struct owed *owed = arg;
    if (ok) owed->epoch->bypasses -= owed->bypasses;
    owed->done(owed->epoch->engine);
    free(owed);
}

bool stores__epoch_payable(const stores_engine *engine) {
    const struct stores__list *epochs = &engine->epochs;
    for (const struct stores__list *at = epochs->next; at != epochs; at = at->next) {
        const struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        if (epoch->bypasses > 0 && stores__epoch_node(epoch)->run_id[0] == '\0') return false;
    }
    return true;
}

bool stores__epoch_owes(const stores_engine *engine) {
    const struct stores__list *epochs = &engine->epochs;
    for (const struct stores__list *at = epochs->next; at != epochs; at = at->next) {
        if (STORES__CONTAINER(at, struct stores__epoch, link)->bypasses > 0) return true;
    }
    return false;
}

size_t stores__epoch_pay(stores_engine *engine, void (*done)(stores_engine *engine)) {
    size_t sent = 0;
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        struct owed *owed = epoch->bypasses > 0 ? malloc(sizeof *owed) : NULL;
        if (owed == NULL) continue;
        *owed = (struct owed){.epoch = epoch, .bypasses = epoch->bypasses, .done = done};
        if (stores__epoch_turn(epoch, STORES__TURN_FREE, turned_at_last, owed)) {
            sent++;
        } else {
            free(owed);
        }
    }
    return sent;
}

/* ---- What is told of them -------------------------------------------------------------------- */

/* The name by which this engine met the table; one that it never met has its oid alone. */
static const char *name_of(const struct stores__epoch *epoch, char room[24]) {
    struct stores__list *tables = &epoch->engine->tables;
    for (struct stores__list *at = tables->next; at != tables; at = at->next) {
        const struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (table->epoch == epoch) return table->name;
    }
    snprintf(room, 24, "oid %u", epoch->oid);
    return room;
}

void stores_turning(stores_engine *engine,
                    void (*turning)(void *arg, const char *table, uint64_t ms, const char *writers),
                    void *arg) {
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        const struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__epoch, link);
        char room[24];
        if (epoch->step == TURN_NONE && epoch->state != STORES__EPOCH_TURNING &&
            epoch->bypasses == 0) {
            continue;
        }
        uint64_t since = epoch->since ? stores__now(engine) - epoch->since : 0;
        turning(arg, name_of(epoch, room), since,
                epoch->writers.names ? epoch->writers.names : "{}");
    }
}

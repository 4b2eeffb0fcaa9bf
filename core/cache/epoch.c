/*
 * The epoch of each table: what this process believes, and the turn from one epoch to the next
 * (docs/cache.md, "Turns"). It is the table's oid that has an epoch, and not a name: a name may
 * mean another table tomorrow, and what locks tell of is oids. A turn begins with B<new>. It ends
 * when every transaction that held a lock of a writer on the table, as listed after B was seen, is
 * over; then B becomes V by compare-and-set. Anybody who sees B ends it, so that it ends also when
 * its beginner died.
 */
#include <stdio.h>

#include "cache/scripts.h"
#include "cache/epoch_internal.h"

enum {
    POLL_FIRST_MS = 5,
    POLL_MAX_MS = 200,
    WORKERS_MS = 10 * 1000 /* how long other servers are waited for */
};

static struct stores__redis_script script_epoch = {.source = STORES__SCRIPT_EPOCH};

/* ---- Compare-and-set ------------------------------------------------------------------------- */

/* What Redis holds under the key of an epoch, its state and all; of no length: nothing. */
struct seen {
    const char *value;
    size_t len;
};

static void list_writers(struct stores__epoch *epoch);

static void epoch_answered(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, redis_req);
    size_t len = 0;
    const char *now = stores__redis_text(*reply, &len);
    bool ending = epoch->step == TURN_ENDING;
    stores__epoch_hold(epoch);
    stores__epoch_rest(epoch);
    if (now == NULL) {
        epoch->state = STORES__EPOCH_UNKNOWN; /* the next reader sees what is there, and goes on */
        stores__epoch_let_go(epoch);
        return;
    }
    if (ending && len > 1 && now[0] == 'V' &&
        strncmp(now + 1, epoch->texts.turning, len - 1) == 0) {
        epoch->engine->counters.turns_ended++;
    }
    stores__epoch_seen(epoch, now, len);
    stores__epoch_let_go(epoch);
}

static void set_epoch(struct stores__epoch *epoch, enum stores__turn_step step,
                      const struct seen *seen, char state) {
    struct stores__cache *cache = epoch->engine->cache;
    struct stores__args args = {0};
    char value[STORES__EPOCH_TEXT + 1];
    snprintf(value, sizeof value, "%c%s", state, epoch->texts.turning);
    stores__args_epoch_key(&args, epoch);
    stores__args_add(&args, seen->value, seen->len);
    stores__args_str(&args, value);
    epoch->step = step;
    epoch->redis_req.done = epoch_answered;
    if (!stores__args_send(&args, cache, &epoch->redis_req, &script_epoch, 1))
        stores__epoch_rest(epoch);
    stores__nodes_flush(cache);
}

static void begin_turn(struct stores__epoch *epoch, const struct seen *seen) {
    struct stores__cache *cache = epoch->engine->cache;
    const char *run_id = stores__epoch_node(epoch)->run_id;
    epoch->state = STORES__EPOCH_UNKNOWN;
    if (epoch->step != TURN_NONE || cache->closed || run_id[0] == '\0') return;
    if (!stores__epoch_make(cache, run_id, epoch->texts.turning)) return;
    cache->engine->counters.turns_started++;
    if (epoch->held != NULL) cache->held_hooks->forget(epoch);
    epoch->since = stores__now(cache->engine);
    set_epoch(epoch, TURN_SETTING, seen, 'B');
}

/* ---- The end of a turn ----------------------------------------------------------------------- */

static void poll_again(struct stores__timer *timer) {
    list_writers(STORES__CONTAINER(timer, struct stores__epoch, timer));
}

static void wait_then(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->engine;
    uint64_t ms = POLL_FIRST_MS << (epoch->polls < 6 ? epoch->polls : 6);
    epoch->polls++;
    epoch->step = TURN_WAITING;
    epoch->timer.fire = poll_again;
    if (ms > POLL_MAX_MS) ms = POLL_MAX_MS;
    if (!stores__timer_set(&engine->timers, &epoch->timer, stores__now(engine) + ms)) {
        stores__epoch_rest(epoch);
    }
}

static void took_list(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, req);
    stores_error error;
    bool ok = stores__pg_result_ok(result, &error);
    if (index == 1) {
        if (!ok || !stores__past_told_by(epoch->engine->cache, result)) {
            epoch->failed = true;
        }
    } else if (!ok || !stores__writers_take(&epoch->writers, result)) {
        epoch->failed = true;
    }
    stores__pg_result_free(result);
}

static void list_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, req);
    char value[STORES__EPOCH_TEXT + 1];
    stores__epoch_hold(epoch);
    if (epoch->lent != NULL) stores__pg_release(epoch->lent);
    epoch->lent = NULL;
    if (epoch->step == TURN_NONE || stores__closing(epoch->engine)) {
        stores__epoch_rest(epoch);
    } else if (end == STORES__PG_LOST || epoch->failed) {
        /* virtual ids of another server mean nothing, nor does a list that is not whole */
        stores__writers_clear(&epoch->writers);
        wait_then(epoch);
    } else if (epoch->writers.count > 0) {
        wait_then(epoch);
    } else {
        snprintf(value, sizeof value, "B%s", epoch->texts.turning);
        set_epoch(epoch, TURN_ENDING, &(struct seen){value, strlen(value)}, 'V');
    }
    stores__epoch_let_go(epoch);
}

static void list_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    struct stores__cache *cache = epoch->engine->cache;
    if (epoch->wait.place == STORES__PG_WRITING) {
        epoch->lent = conn;
        stores__pg_give_up_in(conn, WORKERS_MS);
    }
    /* a standby does not know the writers, nor does a server of another past */
    epoch->failed = !conn->pool->pooler && !stores__past_is(cache, &conn->identity);
    epoch->req.again = true;
    epoch->req.result = took_list;
    epoch->req.done = list_over;
    stores__pg_begin(conn, &epoch->req);
    stores__writers_ask(&epoch->writers, conn, &epoch->req, epoch->oid);
    if (conn->pool->pooler) stores__past_question(conn, &epoch->req);
    stores__pg_sync(conn, &epoch->req);
}

static void list_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    (void)error;
    stores__epoch_hold(epoch);
    stores__writers_clear(&epoch->writers);
    if (stores__closing(epoch->engine)) {
        stores__epoch_rest(epoch);
    } else {
        wait_then(epoch);
    }
    stores__epoch_let_go(epoch);
}

static void list_writers(struct stores__epoch *epoch) {
    epoch->step = TURN_LISTING;
    epoch->wait.granted = list_granted;
    epoch->wait.failed = list_refused;
    /* the word of other servers takes long: nothing else is to stand behind it on a lane */
    bool several = epoch->engine->pool.common.citus;
    stores__pg_acquire(&epoch->engine->pool, &epoch->wait,
                       several ? STORES__PG_WRITING : STORES__PG_READING, "turns");
}

void stores__epoch_end_turn(struct stores__epoch *epoch) {
    if (epoch->step != TURN_NONE || epoch->state != STORES__EPOCH_TURNING) return;
    memcpy(epoch->texts.turning, epoch->texts.believed, sizeof epoch->texts.turning);
    if (epoch->since == 0) epoch->since = stores__now(epoch->engine);
    stores__writers_clear(&epoch->writers);
    epoch->polls = 0;
    list_writers(epoch);
}

/* ---- What is seen ---------------------------------------------------------------------------- */

/* What an epoch that stands in Redis is to this process. */
enum verdict {
    CANNOT_TELL, /* it is not known which servers these are */
    ABSENT, /* nothing that is cached counts: a turn begins */
    NOBODYS, /* of a past that is over, or of another Redis: the same; we may be the late ones */
    OF_LATER, /* of a past that nobody has told us of yet */
    TURNS, /* ours, and B: the turn is to be ended */
    IS_NEW, /* ours, V, and not what was believed */
    IS_BELIEVED /* ours, V, and the one that was believed in */
};

/* Decides, and changes nothing. */
static enum verdict judge(const struct stores__epoch *epoch, const struct seen *seen) {
    const struct stores__cache *cache = epoch->engine->cache;
    const char *believed = epoch->texts.believed;
    if (!stores__past_known(cache) || stores__epoch_node(epoch)->run_id[0] == '\0') {
        return CANNOT_TELL;
    }
    if (seen->len < 2 || (seen->value[0] != 'V' && seen->value[0] != 'B')) return ABSENT;
    switch (stores__owner_of(epoch, seen->value + 1, seen->len - 1)) {
    case STORES__OWNER_NONE: return NOBODYS;
    case STORES__OWNER_LATER: return OF_LATER;
    case STORES__OWNER_US: break;
    }
    if (seen->value[0] == 'B') return TURNS;
    bool same = strlen(believed) == seen->len - 1 &&
                memcmp(believed, seen->value + 1, seen->len - 1) == 0;
    return same ? IS_BELIEVED : IS_NEW;
}

/* An epoch of a past that we know nothing of: PostgreSQL failed over, or was started again, and
 * others know it before we do. Nothing is believed until a connection told the past once more. */
static void doubt(struct stores__epoch *epoch, const struct seen *seen) {
    struct stores__cache *cache = epoch->engine->cache;
    char *later = epoch->texts.later;
    bool fits = seen->len < sizeof epoch->texts.later;
    bool known = fits && strlen(later) == seen->len && memcmp(later, seen->value, seen->len) == 0;
    if (known && cache->identity_serial > epoch->later_serial) {
        begin_turn(epoch, seen); /* we asked, and it is not the server's */
        return;
    }
    epoch->state = STORES__EPOCH_UNKNOWN;
    if (!known && fits) {
        memcpy(later, seen->value, seen->len);
        later[seen->len] = '\0';
        epoch->later_serial = cache->identity_serial;
        stores__pg_pool_renew(&cache->engine->pool, UINT64_MAX);
        stores__past_ask(cache);
    }
}

static void believe(struct stores__epoch *epoch, const struct seen *seen,
                    enum stores__epoch_state state) {
    memcpy(epoch->texts.believed, seen->value + 1, seen->len - 1);
    epoch->texts.believed[seen->len - 1] = '\0';
    epoch->state = state;
}

bool stores__epoch_seen(struct stores__epoch *epoch, const char *value, size_t len) {
    struct seen seen = {value ? value : "", value ? len : 0};
    switch (judge(epoch, &seen)) {
    case CANNOT_TELL: return false;
    case NOBODYS: stores__trouble_doubt(stores__epoch_node(epoch)); /* fall through */
    case ABSENT: begin_turn(epoch, &seen); return false;
    case OF_LATER: doubt(epoch, &seen); return false;
    case TURNS:
        believe(epoch, &seen, STORES__EPOCH_TURNING);
        stores__epoch_end_turn(epoch);
        return false;
    case IS_NEW:
        believe(epoch, &seen, STORES__EPOCH_VALID);
        epoch->valid_since = epoch->engine->facts_serial;
        epoch->since = 0;
        return false;
    case IS_BELIEVED: break;
    }
    if (epoch->state != STORES__EPOCH_VALID) epoch->valid_since = epoch->engine->facts_serial;
    epoch->state = STORES__EPOCH_VALID;
    epoch->since = 0;
    return epoch->bypasses == 0 && stores__past_trusted(epoch->engine->cache);
}

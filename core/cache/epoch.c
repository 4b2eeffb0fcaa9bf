/*
 * The epoch of each table: what this process believes, and the turn from one epoch to the next
 * (docs/cache.md, "Turns"). It is the table's oid that has an epoch, and not a name: a name may
 * mean another table tomorrow, and what locks tell of is oids. A turn begins with B<new>. It ends
 * when every transaction that held a lock of a writer on the table, as listed after B was seen, is
 * over; then B becomes V by compare-and-set. Anybody who sees B ends it, so that it ends also when
 * its beginner died.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cache/scripts.h"
#include "cache/epoch_internal.h"

enum { POLL_FIRST_MS = 5, POLL_MAX_MS = 200 };

static struct stores__redis_script script_epoch = {.source = STORES__SCRIPT_EPOCH};

/* The table, and its partitions (or what inherits from it): who writes to one of those locks it
 * alone. */
#define TREE                                                                                       \
    "WITH RECURSIVE tree AS (SELECT $1::pg_catalog.oid AS oid"                                     \
    " UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid),"

/* Who may have used an older epoch: transactions with a writer's lock, by their virtual ids; and
 * the sessions that run a statement outside of transactions, by the sign that they hold
 * (write/calls_turn.c). */
#define WRITERS                                                                                    \
    " writers AS (SELECT CASE WHEN locktype = 'relation' THEN virtualtransaction"                  \
    "  ELSE 'session ' || pid::text END AS who FROM pg_catalog.pg_locks"                           \
    " WHERE database = (SELECT oid FROM pg_catalog.pg_database"                                    \
    "  WHERE datname = pg_catalog.current_database()) AND granted"                                 \
    " AND ((locktype = 'relation' AND relation IN (SELECT oid FROM tree)"                          \
    " AND mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',"                   \
    " 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))"                           \
    " OR (locktype = 'advisory' AND classid = " STORES__SIGN_CLASS " AND objsubid = 2"             \
    " AND objid IN (SELECT oid FROM tree))))"                                                      \
    " SELECT pg_catalog.array_agg(DISTINCT who)::text, pg_catalog.count(DISTINCT who) FROM "       \
    "writers"

static const char list_sql[] = TREE WRITERS;
static const char poll_sql[] = TREE WRITERS " WHERE who = ANY($2::text[])";

/* ---- Epochs as text -------------------------------------------------------------------------- */

bool stores__epoch_make(const struct stores__cache *cache, const char *run_id,
                        char out[STORES__EPOCH_TEXT]) {
    char random[17];
    if (!stores__past_known(cache) || !stores__random_text(random, 16)) return false;
    if (run_id[0] == '\0') run_id = "----------------";
    snprintf(out, STORES__EPOCH_TEXT, "%s.%.16s.%.28s", random, run_id, cache->server.past);
    return true;
}

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
        if (!ok || !stores__past_told_by(epoch->engine->cache, result, 0)) {
            epoch->failed = true;
        }
    } else if (ok && stores__pg_rows(result) == 1) {
        const char *writers = stores__pg_value(result, 0, 0, NULL);
        const char *count = stores__pg_value(result, 0, 1, NULL);
        free(epoch->writers);
        epoch->writers = writers ? stores__strdup(writers) : NULL;
        epoch->writer_count = count ? atoi(count) : 0;
        if (epoch->writer_count > 0 && epoch->writers == NULL) epoch->failed = true;
        epoch->listed = true;
    } else {
        epoch->failed = true;
    }
    stores__pg_result_free(result);
}

static void list_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, req);
    char value[STORES__EPOCH_TEXT + 1];
    stores__epoch_hold(epoch);
    if (epoch->step == TURN_NONE || stores__closing(epoch->engine)) {
        stores__epoch_rest(epoch);
    } else if (end == STORES__PG_LOST || epoch->failed) {
        epoch->listed = false; /* virtual ids of another server mean nothing: start again */
        wait_then(epoch);
    } else if (epoch->writer_count > 0) {
        wait_then(epoch);
    } else {
        snprintf(value, sizeof value, "B%s", epoch->texts.turning);
        set_epoch(epoch, TURN_ENDING, &(struct seen){value, strlen(value)}, 'V');
    }
    stores__epoch_let_go(epoch);
}

static void list_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    char oid[12];
    const char *values[] = {oid, epoch->writers};
    struct stores__cache *cache = epoch->engine->cache;
    snprintf(oid, sizeof oid, "%u", epoch->oid);
    /* a standby does not know the writers, nor does a server of another past */
    epoch->failed = !conn->pool->pooler && !stores__past_is(cache, &conn->identity);
    epoch->req.again = true;
    epoch->req.result = took_list;
    epoch->req.done = list_over;
    stores__pg_begin(conn, &epoch->req);
    if (epoch->listed) {
        stores__pg_add(conn, &epoch->req, poll_sql, 2, values, true);
    } else {
        stores__pg_add(conn, &epoch->req, list_sql, 1, values, true);
    }
    if (conn->pool->pooler) stores__past_question(conn, &epoch->req);
    stores__pg_sync(conn, &epoch->req);
}

static void list_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    (void)error;
    stores__epoch_hold(epoch);
    epoch->listed = false;
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
    stores__pg_acquire(&epoch->engine->pool, &epoch->wait, STORES__PG_READING, "turns");
}

void stores__epoch_end_turn(struct stores__epoch *epoch) {
    if (epoch->step != TURN_NONE || epoch->state != STORES__EPOCH_TURNING) return;
    memcpy(epoch->texts.turning, epoch->texts.believed, sizeof epoch->texts.turning);
    if (epoch->since == 0) epoch->since = stores__now(epoch->engine);
    epoch->listed = false;
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

/* What the epoch with this text, without its state, is: NOBODYS, OF_LATER or, where it is of these
 * servers, IS_NEW. */
static enum verdict judge_owner(const struct stores__epoch *epoch, const char *text, size_t len) {
    enum { DATED = 8 + 8 }; /* what tells the order of two pasts: the timeline, and the start */
    const char *past = epoch->engine->cache->server.past;
    const char *run_id = stores__epoch_node(epoch)->run_id;
    size_t run = strlen(run_id);
    if (run == 0 || len != 16 + 1 + run + 1 + strlen(past)) return NOBODYS;
    if (memcmp(text + 17, run_id, run) != 0) return NOBODYS;
    const char *other = text + 17 + run + 1;
    if (memcmp(other, past, strlen(past)) == 0) return IS_NEW;
    return memcmp(other, past, DATED) < 0 ? NOBODYS : OF_LATER;
}

bool stores__epoch_is_ours(const struct stores__epoch *epoch, const char *text) {
    return judge_owner(epoch, text, strlen(text)) == IS_NEW;
}

/* Decides, and changes nothing. */
static enum verdict judge(const struct stores__epoch *epoch, const struct seen *seen) {
    const struct stores__cache *cache = epoch->engine->cache;
    const char *believed = epoch->texts.believed;
    if (!stores__past_known(cache) || stores__epoch_node(epoch)->run_id[0] == '\0') {
        return CANNOT_TELL;
    }
    if (seen->len < 2 || (seen->value[0] != 'V' && seen->value[0] != 'B')) return ABSENT;
    enum verdict owner = judge_owner(epoch, seen->value + 1, seen->len - 1);
    if (owner != IS_NEW) return owner;
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

/*
 * The epoch of each table: what this process believes, and the turn from one epoch to the next
 * (docs/cache.md, "Turns"). It is the table's oid that has an epoch, and not a name: a name may mean
 * another table tomorrow, and what locks tell of is oids. A turn begins with B<new>. It ends when
 * every transaction that held a lock of a writer on the table, as listed after B was seen, is over;
 * then B becomes V by compare-and-set. Anybody who sees B ends it, so that it ends also when its
 * beginner died.
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

/* Who may have used an older epoch: transactions with a writer's lock, by their virtual ids; and the
 * sessions that run a statement outside of transactions, by the sign that they hold
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

bool stores__epoch_make(const struct stores__cache *cache, char out[STORES__EPOCH_TEXT]) {
    char random[17];
    if (cache->run_id[0] == '\0' || !stores__past_known(cache)) return false;
    if (!stores__random_text(random, 16)) return false;
    snprintf(out, STORES__EPOCH_TEXT, "%s.%.16s.%.28s", random, cache->run_id, cache->server.past);
    return true;
}

/* 0: ours; -1: nobody's any more; 1: of a past that we have not heard of yet. */
static int compare_owner(const struct stores__cache *cache, const char *epoch, size_t len) {
    enum { DATED = 8 + 8 }; /* what tells the order of two pasts: the timeline, and the start */
    const char *past = cache->server.past;
    size_t run = strlen(cache->run_id);
    if (len != 16 + 1 + run + 1 + strlen(past)) return -1;
    if (memcmp(epoch + 17, cache->run_id, run) != 0) return -1;
    const char *other = epoch + 17 + run + 1;
    if (memcmp(other, past, strlen(past)) == 0) return 0;
    return memcmp(other, past, DATED) < 0 ? -1 : 1;
}

/* ---- Compare-and-set ------------------------------------------------------------------------- */

static void begin_turn(struct stores__epoch *epoch, const char *seen, size_t len);
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
    if (ending && len > 1 && now[0] == 'V' && strncmp(now + 1, epoch->turning, len - 1) == 0) {
        epoch->engine->counters.turns_ended++;
    }
    stores__epoch_seen(epoch, now, len);
    stores__epoch_let_go(epoch);
}

static void set_epoch(struct stores__epoch *epoch, enum stores__turn_step step, const char *seen,
                      size_t len, char state, const char *text) {
    struct stores__cache *cache = epoch->engine->cache;
    struct stores__args args = {0};
    char value[STORES__EPOCH_TEXT + 1];
    snprintf(value, sizeof value, "%c%s", state, text);
    stores__args_epoch_key(&args, epoch);
    stores__args_add(&args, seen, len);
    stores__args_str(&args, value);
    epoch->step = step;
    epoch->redis_req.done = epoch_answered;
    if (!stores__args_send(&args, cache, &epoch->redis_req, &script_epoch, 1))
        stores__epoch_rest(epoch);
    stores__redis_flush(cache->redis);
}

static void begin_turn(struct stores__epoch *epoch, const char *seen, size_t len) {
    struct stores__cache *cache = epoch->engine->cache;
    epoch->state = STORES__EPOCH_UNKNOWN;
    if (epoch->step != TURN_NONE || cache->redis == NULL) return;
    if (!stores__epoch_make(cache, epoch->turning)) return;
    cache->engine->counters.turns_started++;
    epoch->since = stores__now(cache->engine);
    set_epoch(epoch, TURN_SETTING, seen, len, 'B', epoch->turning);
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
    char seen[STORES__EPOCH_TEXT + 1];
    stores__epoch_hold(epoch);
    if (epoch->step == TURN_NONE || stores__closing(epoch->engine)) {
        stores__epoch_rest(epoch);
    } else if (end == STORES__PG_LOST || epoch->failed) {
        epoch->listed = false; /* virtual ids of another server mean nothing: start again */
        wait_then(epoch);
    } else if (epoch->writer_count > 0) {
        wait_then(epoch);
    } else {
        snprintf(seen, sizeof seen, "B%s", epoch->turning);
        set_epoch(epoch, TURN_ENDING, seen, strlen(seen), 'V', epoch->turning);
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
    memcpy(epoch->turning, epoch->text, sizeof epoch->turning);
    if (epoch->since == 0) epoch->since = stores__now(epoch->engine);
    epoch->listed = false;
    epoch->polls = 0;
    list_writers(epoch);
}

/* ---- What is seen ---------------------------------------------------------------------------- */

/* An epoch of a past that we know nothing of: PostgreSQL failed over, or was started again, and
 * others know it before we do. Nothing is believed until a connection told the past once more. */
static void doubt(struct stores__epoch *epoch, const char *value, size_t len) {
    struct stores__cache *cache = epoch->engine->cache;
    bool known = len < sizeof epoch->odd && strncmp(epoch->odd, value, len) == 0 &&
                 epoch->odd[len] == '\0';
    if (known && cache->identity_serial > epoch->odd_serial) {
        begin_turn(epoch, value, len); /* we asked, and it is not the server's */
        return;
    }
    epoch->state = STORES__EPOCH_UNKNOWN;
    if (!known && len < sizeof epoch->odd) {
        memcpy(epoch->odd, value, len);
        epoch->odd[len] = '\0';
        epoch->odd_serial = cache->identity_serial;
        stores__pg_pool_renew(&cache->engine->pool, UINT64_MAX);
        stores__past_ask(cache);
    }
}

bool stores__epoch_seen(struct stores__epoch *epoch, const char *value, size_t len) {
    struct stores__cache *cache = epoch->engine->cache;
    if (cache->run_id[0] == '\0' || !stores__past_known(cache)) return false;
    if (value == NULL || len < 2 || (value[0] != 'V' && value[0] != 'B')) {
        begin_turn(epoch, value ? value : "", value ? len : 0);
        return false;
    }
    int owner = compare_owner(cache, value + 1, len - 1);
    if (owner != 0) {
        if (owner < 0) {
            stores__trouble_doubt(cache);
            begin_turn(epoch, value, len);
        } else {
            doubt(epoch, value, len);
        }
        return false;
    }
    bool same = strlen(epoch->text) == len - 1 && memcmp(epoch->text, value + 1, len - 1) == 0;
    if (!same) {
        memcpy(epoch->text, value + 1, len - 1);
        epoch->text[len - 1] = '\0';
    }
    if (value[0] == 'V') {
        epoch->since = 0;
        bool counts = same && epoch->bypasses == 0 && stores__past_trusted(cache);
        if (!same || epoch->state != STORES__EPOCH_VALID) {
            epoch->valid_since = epoch->engine->facts_serial;
        }
        epoch->state = STORES__EPOCH_VALID;
        return counts;
    }
    epoch->state = STORES__EPOCH_TURNING;
    stores__epoch_end_turn(epoch);
    return false;
}

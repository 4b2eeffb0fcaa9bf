/*
 * The epoch of each table: what this process believes, and the turn from one epoch to the next
 * (docs/cache.md, "Epochs"). A turn begins with B<new>. It ends when every transaction that held a
 * lock of a writer on the table, as listed after B was seen, is over; then B becomes V by
 * compare-and-set. Anybody who sees B ends it, so that it ends also when its beginner died.
 */
#include <stdio.h>

#include "cache.h"
#include "cache_scripts.h"

enum { POLL_FIRST_MS = 5, POLL_MAX_MS = 200, RESUME_MS = 200 };

enum turn_step {
    TURN_NONE,
    TURN_SETTING, /* B<new> by compare-and-set is on its way */
    TURN_LISTING, /* who writes? */
    TURN_WAITING, /* until they are over */
    TURN_ENDING /* V<new> by compare-and-set is on its way */
};

struct stores__epoch {
    struct stores__table *table;
    enum stores__epoch_state state;
    char text[STORES__EPOCH_TEXT];
    char facts
        [STORES__EPOCH_TEXT]; /* the last one that was V here: what is known of the table is its */
    unsigned bypasses; /* writes that went by Redis: to be turned when it is back */
    unsigned turned_bypasses; /* how many of them the turn on its way covers */
    struct stores__timer resume;
    char odd[STORES__EPOCH_TEXT]; /* an epoch of a later timeline than the one we know */
    uint64_t odd_serial;

    enum turn_step step;
    char turning[STORES__EPOCH_TEXT]; /* the epoch that the turn is about */
    uint64_t since;
    bool listed, failed;
    unsigned polls;
    char *writers; /* an array of virtual transaction ids, as PostgreSQL wrote it */
    int writer_count;
    struct stores__timer timer;
    struct stores__redis_req redis_req;
    struct stores__pg_wait wait;
    struct stores__pg_req req;
};

static struct stores__redis_script script_epoch = {.source = STORES__SCRIPT_EPOCH};
static struct stores__redis_script script_turn = {.source = STORES__SCRIPT_TURN};

/* Held by transactions that may have used an older epoch; RowExclusive is what writers hold. */
#define WRITER_LOCKS                                                                               \
    " FROM pg_catalog.pg_locks WHERE locktype = 'relation'"                                        \
    " AND database = (SELECT oid FROM pg_catalog.pg_database"                                      \
    "  WHERE datname = pg_catalog.current_database())"                                             \
    " AND relation IN (SELECT oid FROM tree)"                                                      \
    " AND granted AND mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',"       \
    " 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"

/* The table, and its partitions (or what inherits from it): who writes to one of those locks it
 * alone. */
#define TREE                                                                                       \
    "WITH RECURSIVE tree AS (SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid"             \
    " UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid) "

static const char list_sql[] = TREE
    "SELECT pg_catalog.array_agg(DISTINCT virtualtransaction)::text,"
    " pg_catalog.count(DISTINCT virtualtransaction)" WRITER_LOCKS;
static const char poll_sql[] = TREE
    "SELECT pg_catalog.array_agg(DISTINCT virtualtransaction)::text,"
    " pg_catalog.count(DISTINCT virtualtransaction)" WRITER_LOCKS
    " AND virtualtransaction = ANY($2::text[])";

/* ---- Epochs as text -------------------------------------------------------------------------- */

/* 16 random characters, then whose it is: Redis's run and PostgreSQL's timeline. */
static bool make_epoch(const struct stores__cache *cache, char out[STORES__EPOCH_TEXT]) {
    char random[17];
    if (cache->run_id[0] == '\0' || cache->timeline[0] == '\0') return false;
    if (!stores__random_text(random, 16)) return false;
    snprintf(out, STORES__EPOCH_TEXT, "%s.%s.%s", random, cache->run_id, cache->timeline);
    return true;
}

/* 0: ours; -1: nobody's any more; 1: of a timeline that we have not heard of yet. */
static int compare_owner(const struct stores__cache *cache, const char *epoch, size_t len) {
    size_t run = strlen(cache->run_id);
    if (len != 16 + 1 + run + 1 + strlen(cache->timeline)) return -1;
    if (memcmp(epoch + 17, cache->run_id, run) != 0) return -1;
    int order = memcmp(epoch + 17 + run + 1, cache->timeline, strlen(cache->timeline));
    return order == 0 ? 0 : order > 0 ? 1 : -1;
}

const char *stores__epoch_text(const struct stores__table *table) {
    return table->epoch->text;
}

enum stores__epoch_state stores__epoch_state(const struct stores__table *table) {
    return table->epoch->state;
}

bool stores__epoch_facts_hold(const struct stores__table *table) {
    return table->epoch->state == STORES__EPOCH_VALID && table->checked != 0;
}

bool stores__epoch_is_bypassed(const struct stores__table *table) {
    return table->epoch->bypasses > 0;
}

/* ---- Compare-and-set ------------------------------------------------------------------------- */

static void begin_turn(struct stores__epoch *epoch, const char *seen, size_t len);
static void list_writers(struct stores__epoch *epoch);

static void stop_turn(struct stores__epoch *epoch) {
    epoch->step = TURN_NONE;
    free(epoch->writers);
    epoch->writers = NULL;
    epoch->writer_count = 0;
}

static void epoch_answered(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, redis_req);
    size_t len = 0;
    const char *now = stores__redis_text(*reply, &len);
    bool ending = epoch->step == TURN_ENDING;
    stop_turn(epoch);
    if (now == NULL) {
        epoch->state = STORES__EPOCH_UNKNOWN; /* the next reader sees what is there, and goes on */
        return;
    }
    if (ending && len > 1 && now[0] == 'V' && strncmp(now + 1, epoch->turning, len - 1) == 0) {
        epoch->table->engine->counters.turns_ended++;
    }
    stores__epoch_seen(epoch->table, now, len);
}

static void set_epoch(struct stores__epoch *epoch, enum turn_step step, const char *seen,
                      size_t len, char state, const char *text) {
    struct stores__cache *cache = epoch->table->engine->cache;
    struct stores__args args = {0};
    char value[STORES__EPOCH_TEXT + 1];
    snprintf(value, sizeof value, "%c%s", state, text);
    stores__args_epoch_key(&args, epoch->table);
    stores__args_add(&args, seen, len);
    stores__args_str(&args, value);
    epoch->step = step;
    epoch->redis_req.done = epoch_answered;
    if (!stores__args_send(&args, cache, &epoch->redis_req, &script_epoch, 1)) stop_turn(epoch);
    stores__redis_flush(cache->redis);
}

static void begin_turn(struct stores__epoch *epoch, const char *seen, size_t len) {
    struct stores__cache *cache = epoch->table->engine->cache;
    epoch->state = STORES__EPOCH_UNKNOWN;
    if (epoch->step != TURN_NONE || cache->redis == NULL) return;
    if (!make_epoch(cache, epoch->turning)) return;
    cache->engine->counters.turns_started++;
    epoch->since = stores__now(cache->engine);
    set_epoch(epoch, TURN_SETTING, seen, len, 'B', epoch->turning);
}

/* ---- The end of a turn ----------------------------------------------------------------------- */

static void poll_again(struct stores__timer *timer) {
    list_writers(STORES__CONTAINER(timer, struct stores__epoch, timer));
}

static void wait_then(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->table->engine;
    uint64_t ms = POLL_FIRST_MS << (epoch->polls < 6 ? epoch->polls : 6);
    epoch->polls++;
    epoch->step = TURN_WAITING;
    epoch->timer.fire = poll_again;
    if (ms > POLL_MAX_MS) ms = POLL_MAX_MS;
    if (!stores__timer_set(&engine->timers, &epoch->timer, stores__now(engine) + ms)) {
        stop_turn(epoch);
    }
}

static void took_list(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__epoch *epoch = STORES__CONTAINER(req, struct stores__epoch, req);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error) && stores__pg_rows(result) == 1) {
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
    stores_engine *engine = epoch->table->engine;
    char seen[STORES__EPOCH_TEXT + 1];
    if (epoch->step == TURN_NONE || engine->closing) {
        stop_turn(epoch);
        return;
    }
    if (end == STORES__PG_LOST || epoch->failed) {
        epoch->listed = false; /* virtual ids of another server mean nothing: start again */
        wait_then(epoch);
    } else if (epoch->writer_count > 0) {
        wait_then(epoch);
    } else {
        snprintf(seen, sizeof seen, "B%s", epoch->turning);
        set_epoch(epoch, TURN_ENDING, seen, strlen(seen), 'V', epoch->turning);
    }
}

static void list_granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    const char *values[] = {epoch->table->name, epoch->writers};
    epoch->failed = conn->standby; /* a standby does not know the writers */
    epoch->req.result = took_list;
    epoch->req.done = list_over;
    stores__pg_begin(conn, &epoch->req);
    if (epoch->listed) {
        stores__pg_add(conn, &epoch->req, poll_sql, 2, values, true);
    } else {
        stores__pg_add(conn, &epoch->req, list_sql, 1, values, true);
    }
    stores__pg_sync(conn, &epoch->req);
}

static void list_refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__epoch *epoch = STORES__CONTAINER(wait, struct stores__epoch, wait);
    (void)error;
    epoch->listed = false;
    if (epoch->table->engine->closing) {
        stop_turn(epoch);
    } else {
        wait_then(epoch);
    }
}

static void list_writers(struct stores__epoch *epoch) {
    epoch->step = TURN_LISTING;
    epoch->wait.granted = list_granted;
    epoch->wait.failed = list_refused;
    stores__pg_acquire(&epoch->table->engine->pool, &epoch->wait, STORES__PG_READING, "turns");
}

void stores__epoch_end_turn(struct stores__table *table) {
    struct stores__epoch *epoch = table->epoch;
    if (epoch->step != TURN_NONE || epoch->state != STORES__EPOCH_TURNING) return;
    memcpy(epoch->turning, epoch->text, sizeof epoch->turning);
    if (epoch->since == 0) epoch->since = stores__now(table->engine);
    epoch->listed = false;
    epoch->polls = 0;
    list_writers(epoch);
}

/* ---- What is seen ---------------------------------------------------------------------------- */

/* An epoch of a timeline that we know nothing of: PostgreSQL failed over, and others know it before
 * we do. Nothing is believed until a connection told the timeline once more. */
static void doubt(struct stores__epoch *epoch, const char *value, size_t len) {
    struct stores__cache *cache = epoch->table->engine->cache;
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
        stores__pg_pool_renew(&cache->engine->pool);
    }
}

bool stores__epoch_seen(struct stores__table *table, const char *value, size_t len) {
    struct stores__epoch *epoch = table->epoch;
    struct stores__cache *cache = table->engine->cache;
    if (cache->run_id[0] == '\0' || cache->timeline[0] == '\0') return false;
    if (value == NULL || len < 2 || (value[0] != 'V' && value[0] != 'B')) {
        begin_turn(epoch, value ? value : "", value ? len : 0);
        return false;
    }
    int owner = compare_owner(cache, value + 1, len - 1);
    if (owner != 0) {
        if (owner < 0) {
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
        bool counts = same && epoch->bypasses == 0;
        epoch->state = STORES__EPOCH_VALID;
        if (strcmp(epoch->facts, epoch->text) != 0) {
            /* DDL turns a table, and all it may have changed was seen by now: facts are asked anew */
            if (epoch->facts[0] != '\0') stores__table_doubt(table);
            memcpy(epoch->facts, epoch->text, sizeof epoch->facts);
        }
        return counts;
    }
    epoch->state = STORES__EPOCH_TURNING;
    stores__epoch_end_turn(table);
    return false;
}

void stores__epoch_void_all(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__table, link)->epoch;
        epoch->state = STORES__EPOCH_UNKNOWN;
        epoch->text[0] = '\0';
    }
}

/* ---- Turning on purpose ---------------------------------------------------------------------- */

struct stores__turn {
    struct stores__redis_req req;
    struct stores__table *table;
    void (*done)(void *arg, bool ok);
    void *arg;
    char text[STORES__EPOCH_TEXT];
};

static void turn_set(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__turn *turn = STORES__CONTAINER(req, struct stores__turn, req);
    struct stores__epoch *epoch = turn->table->epoch;
    const char *text = stores__redis_text(*reply, NULL);
    bool ok = text != NULL && text[0] == 'B' && strcmp(text + 1, turn->text) == 0;
    if (ok) {
        memcpy(epoch->text, turn->text, sizeof epoch->text);
        epoch->state = STORES__EPOCH_TURNING;
        epoch->since = stores__now(turn->table->engine);
        turn->table->engine->counters.turns_started++;
    }
    if (turn->done != NULL) turn->done(turn->arg, ok);
    free(turn);
}

struct stores__turn *stores__epoch_turn(struct stores__table *table,
                                        void (*done)(void *arg, bool ok), void *arg) {
    struct stores__cache *cache = table->engine->cache;
    struct stores__turn *turn = calloc(1, sizeof *turn);
    struct stores__args args = {0};
    char value[STORES__EPOCH_TEXT + 1];
    if (turn == NULL) return NULL;
    turn->table = table;
    turn->done = done;
    turn->arg = arg;
    turn->req.done = turn_set;
    if (cache->redis == NULL || !make_epoch(cache, turn->text)) {
        free(turn);
        return NULL;
    }
    snprintf(value, sizeof value, "B%s", turn->text);
    stores__args_epoch_key(&args, table);
    stores__args_str(&args, value);
    if (!stores__args_send(&args, cache, &turn->req, &script_turn, 1)) {
        free(turn);
        return NULL;
    }
    stores__redis_flush(cache->redis);
    return turn;
}

/* ---- Redis was away -------------------------------------------------------------------------- */

static void resume(struct stores__epoch *epoch);

static void resume_later(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->table->engine;
    stores__timer_set(&engine->timers, &epoch->resume, stores__now(engine) + RESUME_MS);
}

void stores__epoch_bypassed(struct stores__table *table) {
    table->epoch->bypasses++;
    /* a link that is down calls stores__epoch_resume_all when it is up; one that is not, does not */
    resume_later(table->epoch);
}

/* Those that were counted before the turn was sent have either committed, or hold their locks, which
 * the end of the turn waits for. */
static void resumed(void *arg, bool ok) {
    struct stores__epoch *epoch = arg;
    if (!ok) return; /* it stays remembered: the next time that Redis is up it is tried again */
    epoch->bypasses -= epoch->turned_bypasses;
    epoch->turned_bypasses = 0;
    stores__epoch_end_turn(epoch->table);
    if (epoch->bypasses > 0) resume_later(epoch);
}

static void resume(struct stores__epoch *epoch) {
    stores_engine *engine = epoch->table->engine;
    if (epoch->bypasses == 0 || engine->closing || !stores__cache_up(engine->cache)) return;
    epoch->turned_bypasses = epoch->bypasses;
    if (stores__epoch_turn(epoch->table, resumed, epoch) == NULL) resume_later(epoch);
}

static void resume_timer(struct stores__timer *timer) {
    resume(STORES__CONTAINER(timer, struct stores__epoch, resume));
}

void stores__epoch_resume_all(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        resume(STORES__CONTAINER(at, struct stores__table, link)->epoch);
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

bool stores__epoch_new(struct stores__table *table) {
    struct stores__epoch *epoch = calloc(1, sizeof *epoch);
    if (epoch == NULL) return false;
    epoch->table = table;
    stores__list_init(&epoch->wait.link);
    epoch->resume.fire = resume_timer;
    table->epoch = epoch;
    return true;
}

void stores__epoch_free(struct stores__table *table) {
    if (table->epoch == NULL) return;
    stop_turn(table->epoch);
    free(table->epoch);
    table->epoch = NULL;
}

void stores__epoch_stop_all(stores_engine *engine) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__epoch *epoch = STORES__CONTAINER(at, struct stores__table, link)->epoch;
        stores__timer_stop(&engine->timers, &epoch->timer);
        stores__timer_stop(&engine->timers, &epoch->resume);
        stores__pg_unwait(&epoch->wait);
    }
}

void stores_turning(stores_engine *engine,
                    void (*turning)(void *arg, const char *table, uint64_t ms, const char *writers),
                    void *arg) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        const struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        const struct stores__epoch *epoch = table->epoch;
        if (epoch->step == TURN_NONE && epoch->state != STORES__EPOCH_TURNING &&
            epoch->bypasses == 0) {
            continue;
        }
        uint64_t since = epoch->since ? stores__now(engine) - epoch->since : 0;
        turning(arg, table->name, since, epoch->writers ? epoch->writers : "{}");
    }
}

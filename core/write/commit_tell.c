#include "write/commit_tell.h"

#include "base/ids.h"
#include "cache/held.h"
#include "cache/held_scripts.h"
#include "cache/scripts.h"

enum {
    EPOCH_TRIES = 40, /* looks at an epoch that is not known yet, 1 to 10 ms apart */
    EPOCH_WAIT_MS = 10
};

struct intent_req {
    struct stores__redis_req req;
    struct stores__tell *tell;
    struct stores__table *table; /* held */
    bool held; /* sent as one of a table that processes may hold rows of */
    size_t count; /* of its rows, where this process holds some */
    int64_t *ids;
};

static struct stores__redis_script script_intent = {.source = STORES__SCRIPT_INTENT,
                                                    .follows = true};
static struct stores__redis_script script_intent_full = {.source = STORES__SCRIPT_INTENT_FULL,
                                                         .follows = true};

static struct stores__redis_script script_held = {.source = STORES__SCRIPT_INTENT_HELD,
                                                  .follows = true};
static struct stores__redis_script script_held_full = {.source = STORES__SCRIPT_INTENT_HELD_FULL,
                                                       .follows = true};

static void send_all(struct stores__tell *tell);

static void send_again(struct stores__timer *timer) {
    send_all(STORES__CONTAINER(timer, struct stores__tell, timer));
}

/* A copy of the first INTENT may still come, so that nothing is published. */
static void tell_again(struct stores__tell *tell) {
    tell->turns_sent = false;
    stores__settle_unpublish(tell->rows, 0);
    send_all(tell);
}

/* Takes one, where the link was lost while the answers were due: it is made anew at once, and Redis
 * is told once more. */
static bool another_try(struct stores__tell *tell) {
    struct stores__cache *cache = tell->engine->cache;
    /* of several nodes of a cluster that are configured the first ones may be gone */
    size_t most = cache->was_up || cache->seed_count < 2 ? 1 : 2 * cache->seed_count;
    if (tell->told_again >= most || !stores__cache_up(cache) ||
        stores__nodes_failures(cache) == tell->failures) {
        return false;
    }
    tell->told_again++;
    return true;
}

/* Somebody, perhaps we, is setting an epoch at this moment. */
static bool wait_for_epochs(struct stores__tell *tell) {
    stores_engine *engine = tell->engine;
    uint64_t ms = (uint64_t)(tell->tries < EPOCH_WAIT_MS ? tell->tries : EPOCH_WAIT_MS);
    tell->timer.fire = send_again;
    return stores__timer_set(&engine->timers, &tell->timer, stores__now(engine) + ms);
}

/* Whether Redis can be told: of a cluster, the nodes that are to be. */
static bool is_up(const struct stores__tell *tell) {
    return stores__epochs_up(tell->engine->cache, tell->turns, tell->turn_count) &&
           stores__settle_nodes_up(tell->rows);
}

/* No lease is left. Where Redis came back meanwhile it is told after all: others may have read by
 * it all along, and go on to. */
static void no_lease_left(struct stores__timer *timer) {
    struct stores__tell *tell = STORES__CONTAINER(timer, struct stores__tell, timer);
    if (stores__closing(tell->engine)) { /* before its time */
        tell->done(tell, STORES__MUST_NOT);
    } else if (tell->away && !tell->waited && is_up(tell)) {
        tell->waited = true;
        tell_again(tell);
    } else {
        tell->done(tell, STORES__NOT_TOLD);
    }
}

static uint64_t absence(const struct stores__tell *tell) {
    uint64_t most = stores__settle_absence(tell->rows);
    for (size_t i = 0; i < tell->turn_count; i++) {
        uint64_t ms = stores__held_absence(tell->turns[i]);
        if (ms > most) most = ms;
    }
    return most;
}

/* Who goes by Redis waits until no lease is left that was granted before Redis was lost: a holder
 * that reaches it no more, as we do, has let go by then. */
static void not_told(struct stores__tell *tell) {
    stores_engine *engine = tell->engine;
    bool bypasses = engine->config.on_cache_failure != STORES_CACHE_FAILURE_ERROR;
    uint64_t ms = bypasses ? absence(tell) : 0;
    tell->away = !is_up(tell);
    tell->timer.fire = no_lease_left;
    if (ms == 0) {
        tell->done(tell, STORES__NOT_TOLD);
    } else if (stores__closing(engine) ||
               !stores__timer_set(&engine->timers, &tell->timer, uv_hrtime() / 1000000 + ms)) {
        tell->done(tell, STORES__MUST_NOT);
    }
}

static void all_answered(struct stores__tell *tell) {
    if (tell->failed && another_try(tell)) {
        tell_again(tell);
    } else if (tell->failed) {
        not_told(tell);
    } else if (!tell->refused) {
        tell->done(tell, STORES__TOLD);
    } else if (tell->tries++ >= EPOCH_TRIES) {
        not_told(tell);
    } else if (stores__settle_epochs_known(tell->rows)) {
        send_all(tell);
    } else if (!wait_for_epochs(tell)) {
        not_told(tell);
    }
}

static void answered(struct stores__tell *tell) {
    if (--tell->waiting == 0) all_answered(tell);
}

/* A full Redis takes intents all the same, for they make less stale than they take room; but who
 * writes nothing that Redis does not take hears of it. */
static bool is_full(const struct stores__tell *tell, const struct redisReply *reply) {
    const char *why = stores__redis_error(reply);
    return why != NULL && strncmp(why, "OOM", 3) == 0 &&
           tell->engine->config.on_cache_failure != STORES_CACHE_FAILURE_ERROR;
}

static void intent_free(struct intent_req *intent) {
    free(intent->ids);
    stores__table_let_go(intent->table);
    free(intent);
}

static void turned(void *arg, bool ok) {
    struct stores__tell *tell = arg;
    if (!ok) tell->failed = true;
    answered(tell);
}

/* The slot moves, and some of the keys have: a command about several of them is refused. The epoch
 * is one key, and is turned where it is. Whoever sees it then ends the turn. */
static void turn_instead(struct intent_req *intent) {
    struct stores__tell *tell = intent->tell;
    stores__settle_unpublish(tell->rows, 0);
    tell->waiting++;
    if (stores__epoch_turn(intent->table->epoch, tell->by, turned, tell)) return;
    tell->waiting--;
    tell->failed = true;
}

static void let_go_of(void *arg, bool ok) {
    turned(arg, ok);
}

/* It was counted, and told to those who hold rows: this process is done with its own, and waits for
 * the others'. */
static void tell_holders(struct intent_req *intent, const struct redisReply *reply) {
    struct stores__tell *tell = intent->tell;
    struct stores__epoch *epoch = intent->table->epoch;
    for (size_t i = 0; i < intent->count; i++) stores__held_wrote(epoch, &intent->ids[i]);
    switch (stores__held_wait(epoch, reply, let_go_of, tell)) {
    case STORES__HELD_TOLD: break;
    case STORES__HELD_WAITS: tell->waiting++; break;
    case STORES__HELD_FAILED: tell->failed = true; break;
    }
}

static void intent_placed(struct stores__redis_req *req, struct redisReply **reply) {
    struct intent_req *intent = STORES__CONTAINER(req, struct intent_req, req);
    struct stores__tell *tell = intent->tell;
    size_t len = 0;
    const char *epoch = stores__redis_text(*reply, &len);
    enum stores__slot_says slot = stores__slot_says(*reply);
    if (slot == STORES__SLOT_AGAIN) {
        turn_instead(intent);
    } else if (slot == STORES__SLOT_MOVED || slot == STORES__SLOT_ASK) {
        tell->refused = true; /* the nodes do not agree yet about who has it */
    } else if (epoch != NULL) {
        stores__epoch_seen(intent->table->epoch, epoch, len);
        tell->refused = true;
    } else if (is_full(tell, *reply)) {
        tell->full = tell->refused = true;
    } else if (intent->held && stores__redis_count(*reply) == 4) {
        tell_holders(intent, *reply);
        if (!tell->full) stores__trouble_over(stores__epoch_node(intent->table->epoch));
    } else if (stores__redis_integer(*reply, 0) != 1) {
        tell->failed = true;
    } else if (!tell->full) {
        stores__trouble_over(stores__epoch_node(intent->table->epoch));
    }
    intent_free(intent);
    answered(tell);
}

/* The ids stand at the end of the keys of the rows. */
static bool copy_ids(struct intent_req *intent, const struct stores__args *keys, int count) {
    intent->ids = malloc((size_t)count * sizeof *intent->ids);
    if (intent->ids == NULL) return false;
    for (int i = 1; i <= count; i++) {
        size_t end = i < count ? stores__args_offset(keys, i + 1) : keys->buf.len;
        const char *text = keys->buf.data + end;
        while (text[-1] != '/') text--;
        const char *last = keys->buf.data + end;
        if (stores_id_parse(text, (size_t)(last - text), &intent->ids[intent->count], NULL)) {
            intent->count++;
        }
    }
    return true;
}

/* What holders are told, and by whom. */
static bool add_holders(struct intent_req *intent, struct stores__args *keys, int count) {
    struct stores__epoch *epoch = intent->table->epoch;
    if (!intent->held || keys->failed || keys->buf.failed) return true;
    intent->tell->held = true;
    if (stores__held_own(epoch)[0] != '\0' && !copy_ids(intent, keys, count)) return false;
    stores__args_held_key(keys, epoch);
    return true;
}

static bool send_intent(struct intent_req *intent, struct stores__args *keys, const char *epoch,
                        int count) {
    struct stores__tell *tell = intent->tell;
    char fresh[17];
    bool held = intent->held;
    if (!add_holders(intent, keys, count) || (held && !stores__random_text(fresh, 16))) {
        stores__args_free(keys);
        return false;
    }
    stores__args_str(keys, epoch);
    stores__args_str(keys, tell->entry);
    if (held) {
        stores__args_str(keys, stores__held_own(intent->table->epoch));
        stores__args_str(keys, fresh);
        stores__args_str(keys, stores__ear_words(stores__epoch_node(intent->table->epoch)));
        stores__args_longest(keys, intent->table->epoch);
    }
    struct stores__redis_script *script = tell->full ? &script_intent_full : &script_intent;
    if (held) script = tell->full ? &script_held_full : &script_held;
    return stores__args_send(keys, tell->engine->cache, &intent->req, script,
                             count + 1 + (held ? 1 : 0));
}

/* One script for at most so many rows of one table, all under the epoch believed in now. */
static bool place(void *arg, struct stores__table *table, const char *epoch,
                  struct stores__args *keys, int count) {
    struct stores__tell *tell = arg;
#ifdef STORES_TEST_DELETE_AFTER_COMMIT
    /* The mistake that spec/consistency must be able to see: no intent before COMMIT, so that the
     * SETTLE after it finds none and deletes what stands there. Never defined in a release. */
    stores__args_free(keys);
    return true;
#endif
    struct intent_req *intent = stores__zeroed(sizeof *intent);
    if (intent == NULL) {
        stores__args_free(keys);
        return false;
    }
    stores__epoch_told(table->epoch);
    intent->tell = tell;
    intent->table = stores__table_hold(table);
    intent->req.done = intent_placed;
    intent->held = stores__epoch_marked(table->epoch);
    if (!send_intent(intent, keys, epoch, count)) {
        intent_free(intent);
        return false;
    }
    tell->engine->counters.intents += (uint64_t)count;
    tell->waiting++;
    return true;
}

static bool make_entry(struct stores__tell *tell) {
    char random[17];
    if (tell->xid[0] == '\0' || !stores__random_text(random, 16)) return false;
    unsigned long long xid = strtoull(tell->xid, NULL, 10);
    memcpy(tell->entry, random, 16);
    for (char *at = tell->entry + STORES__ENTRY_TEXT; at > tell->entry + 16; xid /= 16) {
        *--at = "0123456789abcdef"[xid % 16];
    }
    tell->entry[STORES__ENTRY_TEXT] = '\0';
    return true;
}

static void send_turns(struct stores__tell *tell) {
    for (size_t i = 0; !tell->failed && i < tell->turn_count; i++) {
        tell->waiting++;
        if (stores__epoch_marked(tell->turns[i])) tell->held = true;
        bool first = tell->turns[i] == tell->first;
        if (!stores__epoch_turn(tell->turns[i], first ? STORES__TURN_FIRST : tell->by, turned,
                                tell)) {
            tell->waiting--;
            tell->failed = true;
        }
    }
}

static void send_intents(struct stores__tell *tell) {
    if (tell->failed || stores__settle_count(tell->rows) == 0) return;
    if (!stores__settle_place(tell->rows, place, tell)) tell->failed = true;
}

/* The tell may be gone when this returns. */
static void send_all(struct stores__tell *tell) {
    struct stores__cache *cache = tell->engine->cache;
    bool named = stores__settle_count(tell->rows) > 0;
    tell->failures = stores__nodes_failures(cache);
    tell->refused = false;
    tell->failed = !stores__cache_up(cache) ||
                   (named && tell->entry[0] == '\0' && !make_entry(tell));
    tell->waiting = 1; /* ours, so that answers cannot end it before all is sent */
    if (!tell->turns_sent) send_turns(tell);
    tell->turns_sent = true;
    send_intents(tell);
    answered(tell);
}

void stores__tell_start(struct stores__tell *tell) {
    if (tell->engine->cache->nameless) {
        tell->done(tell, STORES__NOT_TOLD);
    } else {
        send_all(tell);
    }
}

void stores__tell_stop(struct stores__tell *tell) {
    stores__timer_stop(&tell->engine->timers, &tell->timer);
}

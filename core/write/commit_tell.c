/* Redis is told before COMMIT: epochs are turned, intents placed. */
#include <stdio.h>

#include "cache/scripts.h"
#include "write/commit_internal.h"

enum {
    EPOCH_TRIES = 40, /* looks at an epoch that is not known yet, 1 to 10 ms apart */
    EPOCH_WAIT_MS = 10
};

struct intent_req {
    struct stores__redis_req req;
    struct stores__commit *commit;
    struct stores__table *table; /* held */
};

static struct stores__redis_script script_intent = {.source = STORES__SCRIPT_INTENT};
static struct stores__redis_script script_intent_full = {.source = STORES__SCRIPT_INTENT_FULL};

static void not_told(struct stores__commit *commit) {
    stores_engine *engine = commit->engine;
    if (engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR) {
        char text[320];
        snprintf(text, sizeof text,
                 "Redis did not take the intents of this write, which was rolled back: %s",
                 stores__trouble_why(engine->cache));
        stores__commit_fail(commit, STORES_CACHE_FAILURE, text);
        stores__commit_roll_back(commit);
        return;
    }
    /* without names for the keys there is nothing that could be made up for later */
    for (size_t i = 0; !engine->cache->nameless && i < commit->turn_count; i++) {
        stores__epoch_bypassed(commit->turns[i]);
    }
    if (!engine->cache->nameless) stores__settle_bypass(commit->rows);
    engine->counters.bypassed++;
    stores__commit_send(commit);
}

static void look_again(struct stores__timer *timer) {
    stores__commit_tell(STORES__CONTAINER(timer, struct stores__commit, timer));
}

/* The link was lost while the answers were due: it is made anew at once, and Redis is told once more.
 * A copy of the first INTENT may still come, so that nothing is published. */
static bool tell_again(struct stores__commit *commit) {
    struct stores__cache *cache = commit->engine->cache;
    if (commit->told_again || cache->redis == NULL || !stores__cache_up(cache) ||
        stores__redis_stats(cache->redis)->failures == commit->failures) {
        return false;
    }
    commit->told_again = commit->turn_again = true;
    stores__settle_unpublish(commit->rows, 0);
    stores__commit_tell(commit);
    return true;
}

static void told(struct stores__commit *commit) {
    stores_engine *engine = commit->engine;
    if (commit->failed) {
        if (!tell_again(commit)) not_told(commit);
    } else if (!commit->refused) {
        stores__commit_send(commit);
    } else if (commit->tries++ >= EPOCH_TRIES) {
        not_told(commit);
    } else if (stores__settle_epochs_known(commit->rows)) {
        stores__commit_tell(commit);
    } else {
        /* somebody, perhaps we, is setting the epoch at this moment */
        uint64_t ms = (uint64_t)(commit->tries < EPOCH_WAIT_MS ? commit->tries : EPOCH_WAIT_MS);
        commit->step = STEP_WAIT;
        commit->timer.fire = look_again;
        if (!stores__timer_set(&engine->timers, &commit->timer, stores__now(engine) + ms)) {
            not_told(commit);
        }
    }
}

static void answered(struct stores__commit *commit) {
    if (--commit->waiting == 0) told(commit);
}

/* A full Redis takes intents all the same, for they make less stale than they take room; but who
 * writes nothing that Redis does not take hears of it. */
static bool is_full(const struct stores__commit *commit, const struct redisReply *reply) {
    const char *why = stores__redis_error(reply);
    return why != NULL && strncmp(why, "OOM", 3) == 0 &&
           commit->engine->config.on_cache_failure != STORES_CACHE_FAILURE_ERROR;
}

static void intent_free(struct intent_req *intent) {
    stores__table_let_go(intent->table);
    free(intent);
}

static void intent_placed(struct stores__redis_req *req, struct redisReply **reply) {
    struct intent_req *intent = STORES__CONTAINER(req, struct intent_req, req);
    struct stores__commit *commit = intent->commit;
    size_t len = 0;
    const char *epoch = stores__redis_text(*reply, &len);
    if (epoch != NULL) {
        stores__epoch_seen(intent->table->epoch, epoch, len);
        commit->refused = true;
    } else if (is_full(commit, *reply)) {
        commit->full = commit->refused = true;
    } else if (stores__redis_integer(*reply, 0) != 1) {
        commit->failed = true;
    } else if (!commit->full) {
        stores__trouble_over(commit->engine->cache);
    }
    intent_free(intent);
    answered(commit);
}

static void turned(void *arg, bool ok) {
    struct stores__commit *commit = arg;
    if (!ok) commit->failed = true;
    answered(commit);
}

/* One script for at most so many rows of one table, all under the epoch believed in now. */
static bool place(void *arg, struct stores__table *table, const char *epoch,
                  struct stores__args *keys, int count) {
    struct stores__commit *commit = arg;
#ifdef STORES_TEST_DELETE_AFTER_COMMIT
    /* The mistake that spec/consistency must be able to see: no intent before COMMIT, so that the
     * SETTLE after it finds none and deletes what stands there. Never defined in a release. */
    stores__buf_free(&keys->buf);
    free(keys->offsets);
    return true;
#endif
    struct intent_req *intent = calloc(1, sizeof *intent);
    if (intent == NULL) {
        stores__args_free(keys);
        return false;
    }
    intent->commit = commit;
    intent->table = stores__table_hold(table);
    intent->req.done = intent_placed;
    stores__args_str(keys, epoch);
    stores__args_str(keys, commit->entry);
    struct stores__redis_script *script = commit->full ? &script_intent_full : &script_intent;
    if (!stores__args_send(keys, commit->engine->cache, &intent->req, script, count + 1)) {
        intent_free(intent);
        return false;
    }
    commit->engine->counters.intents += (uint64_t)count;
    commit->waiting++;
    return true;
}

static bool make_entry(struct stores__commit *commit) {
    char random[17];
    if (commit->xid[0] == '\0' || !stores__random_text(random, 16)) return false;
    snprintf(commit->entry, sizeof commit->entry, "%s%016llx", random,
             strtoull(commit->xid, NULL, 10));
    return true;
}

void stores__commit_tell(struct stores__commit *commit) {
    struct stores__cache *cache = commit->engine->cache;
    commit->step = STEP_TELL;
    if (cache->nameless) {
        not_told(commit);
        return;
    }
    if (commit->phase != NULL) commit->phase(commit->arg, STORES__PHASE_REDIS);
    bool turn = commit->tries == 0 || commit->turn_again;
    if (cache->redis != NULL) commit->failures = stores__redis_stats(cache->redis)->failures;
    commit->refused = commit->failed = commit->turn_again = false;
    commit->waiting = 1; /* ours, so that answers cannot end it before all is sent */
    if (cache->redis == NULL || !stores__cache_up(cache)) {
        commit->failed = true;
    } else {
        bool named = stores__settle_count(commit->rows) > 0;
        if (named && commit->entry[0] == '\0' && !make_entry(commit)) commit->failed = true;
        for (size_t i = 0; !commit->failed && turn && i < commit->turn_count; i++) {
            commit->waiting++;
            if (!stores__epoch_turn(commit->turns[i], turned, commit)) {
                commit->waiting--;
                commit->failed = true;
            }
        }
        if (!commit->failed && named && !stores__settle_place(commit->rows, place, commit)) {
            commit->failed = true;
        }
    }
    answered(commit);
}

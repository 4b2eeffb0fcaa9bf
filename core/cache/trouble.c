/*
 * What Redis refuses, whether it may evict intents, and whether it is what it was. An answer that is
 * an error is no answer: it is said once, in Redis' own words, and what it was about is tried again.
 */
#include <stdio.h>

#include "cache/cache.h"

enum { SAY_AGAIN_MS = 60 * 1000, LOOK_MS = 5 * 1000, DOUBT_MS = 250 };

static bool same_kind(const char *a, const char *b) {
    size_t len = strcspn(a, " ");
    return len == strcspn(b, " ") && memcmp(a, b, len) == 0;
}

void stores__trouble_refused(struct stores__cache *cache, const char *text) {
    stores_engine *engine = cache->engine;
    uint64_t now = stores__now(engine);
    bool said = cache->said_at != 0 && now < cache->said_at + SAY_AGAIN_MS;
    engine->counters.redis_refused++;
    if (!said || !same_kind(cache->trouble_said, text)) {
        cache->said_at = now;
        snprintf(cache->trouble_said, sizeof cache->trouble_said, "%s", text);
        stores__log(engine, "Redis refuses what the cache asks of it: %s", text);
    }
    snprintf(cache->trouble, sizeof cache->trouble, "%s", text);
}

void stores__trouble_over(struct stores__cache *cache) {
    cache->trouble[0] = '\0';
}

const char *stores__trouble_now(const struct stores__cache *cache) {
    const char *why = cache->redis != NULL ? stores__redis_why(cache->redis) : "";
    if (cache->nameless) return "the role of this store may not ask PostgreSQL who it is";
    if (cache->run_id[0] == '\0' && why[0] != '\0') return why;
    if (cache->trouble[0] != '\0') return cache->trouble;
    return cache->evicts_any ? "Redis may evict write intents" : "";
}

const char *stores__trouble_why(const struct stores__cache *cache) {
    const char *now = stores__trouble_now(cache);
    return now[0] != '\0' ? now : "it did not answer";
}

const char *stores_redis_trouble(const stores_engine *engine) {
    return engine->cache != NULL ? stores__trouble_now(engine->cache) : "";
}

/* ---- Looks at it ----------------------------------------------------------------------------- */

void stores__trouble_evicts(struct stores__cache *cache, bool evicts_any) {
    bool said = cache->evicts_any;
    cache->looked_at = stores__now(cache->engine);
    cache->evicts_any = evicts_any && !cache->engine->config.unsafe_eviction;
    if (cache->evicts_any && !said) {
        stores__log(cache->engine,
                    "Redis may evict write intents (maxmemory-policy allkeys-*, or INFO does not "
                    "tell it): nothing is read into the cache; set a volatile-* policy or "
                    "noeviction, or say unsafe_eviction = true");
    }
}

static void took_policy(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__cache *cache = STORES__CONTAINER(req, struct stores__cache, policy_req);
    cache->asks_policy = false;
    if (*reply != NULL) stores__trouble_evicts(cache, stores__redis_evicts(*reply));
}

static void took_history(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__cache *cache = STORES__CONTAINER(req, struct stores__cache, history_req);
    cache->asks_history = false;
    if (*reply != NULL && !stores__redis_goes_on(cache->redis, *reply)) {
        stores__redis_renew(cache->redis, "Redis is, or was, a replica");
    }
}

static bool ask_info(struct stores__cache *cache, struct stores__redis_req *req,
                     const char *section) {
    struct stores__args args = {0};
    stores__args_str(&args, "INFO");
    stores__args_str(&args, section);
    return stores__args_send(&args, cache, req, NULL, 0);
}

void stores__trouble_look(struct stores__cache *cache) {
    uint64_t now = stores__now(cache->engine);
    bool doubted = cache->redis_doubted && now >= cache->looked_at + DOUBT_MS;
    if (now < cache->looked_at + LOOK_MS && !doubted) return;
    if (cache->asks_policy || cache->asks_history) return;
    cache->looked_at = now;
    cache->redis_doubted = false;
    cache->policy_req.done = took_policy;
    cache->history_req.done = took_history;
    cache->asks_policy = ask_info(cache, &cache->policy_req, "memory");
    cache->asks_history = ask_info(cache, &cache->history_req, "replication");
}

void stores__trouble_doubt(struct stores__cache *cache) {
    cache->redis_doubted = true;
}

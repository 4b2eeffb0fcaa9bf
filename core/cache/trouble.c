/*
 * What Redis refuses, and whether it may evict intents. An answer that is an error is no answer: it is
 * said once, in Redis' own words, and what it was about is tried again.
 */
#include <stdio.h>

#include "cache/cache.h"

enum { SAY_AGAIN_MS = 60 * 1000, POLICY_MS = 5 * 1000 };

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

/* ---- Eviction -------------------------------------------------------------------------------- */

void stores__trouble_evicts(struct stores__cache *cache, bool evicts_any) {
    bool said = cache->evicts_any;
    cache->policy_at = stores__now(cache->engine);
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

void stores__trouble_ask_policy(struct stores__cache *cache) {
    struct stores__args args = {0};
    uint64_t now = stores__now(cache->engine);
    if (cache->asks_policy || now < cache->policy_at + POLICY_MS) return;
    cache->policy_at = now;
    cache->policy_req.done = took_policy;
    stores__args_str(&args, "INFO");
    stores__args_str(&args, "memory");
    cache->asks_policy = stores__args_send(&args, cache, &cache->policy_req, NULL, 0);
}

/*
 * What Redis refuses, whether it may evict intents, and whether it is what it was. An answer that
 * is an error is no answer: it is said once, in Redis' own words, and what it was about is tried
 * again.
 */
#include <stdio.h>

#include "cache/cache.h"

enum { SAY_AGAIN_MS = 60 * 1000, LOOK_MS = 5 * 1000, DOUBT_MS = 250 };

/* A kind is told by the first word, such as NOPERM or OOM. */
static size_t kind_len(const char *text) {
    enum { MOST = sizeof((struct stores__trouble_said *)0)->kind - 1 };
    size_t len = strcspn(text, " ");
    return len < MOST ? len : MOST;
}

static bool is_kind(const char *kind, const char *text) {
    size_t len = kind_len(text);
    return len == strlen(kind) && memcmp(kind, text, len) == 0;
}

/* What the log has of this kind; the oldest of all where it has nothing. */
static struct stores__trouble_said *find_said(struct stores__cache *cache, const char *text) {
    struct stores__trouble_said *oldest = &cache->said[0];
    for (size_t i = 0; i < STORES__TROUBLES; i++) {
        if (is_kind(cache->said[i].kind, text)) return &cache->said[i];
        if (cache->said[i].at < oldest->at) oldest = &cache->said[i];
    }
    return oldest;
}

/* Trouble that lasts is said once; that which comes back, at most once a minute. */
static bool is_news(struct stores__cache *cache, const char *text, uint64_t now) {
    struct stores__trouble_said *said = find_said(cache, text);
    bool known = is_kind(said->kind, text);
    if (known && (said->at >= cache->well_at || now < said->at + SAY_AGAIN_MS)) return false;
    snprintf(said->kind, sizeof said->kind, "%.*s", (int)kind_len(text), text);
    said->at = now;
    return true;
}

void stores__trouble_refused(struct stores__cache *cache, const char *text) {
    stores_engine *engine = cache->engine;
    engine->counters.redis_refused++;
    if (is_news(cache, text, stores__now(engine))) {
        stores__log(engine, "Redis refuses what the cache asks of it: %s", text);
    }
    snprintf(cache->trouble, sizeof cache->trouble, "%s", text);
}

static void is_well(struct stores__cache *cache) {
    if (cache->trouble[0] == '\0') return;
    cache->trouble[0] = '\0';
    cache->well_at = stores__now(cache->engine);
}

void stores__trouble_over(struct stores__node *node) {
    struct stores__cache *cache = node->cache;
    if (node->redis != NULL) stores__redis_wrote(node->redis);
    if (!cache->refuses_reads) is_well(cache);
}

void stores__trouble_reads(struct stores__cache *cache, const struct redisReply *reply) {
    if (reply == NULL) return;
    bool refused = stores__redis_error(reply) != NULL;
    if (cache->refuses_reads && !refused) is_well(cache);
    cache->refuses_reads = refused;
}

/* Why rows are not cached, or writes not told, just now; "": they are. */
static const char *trouble_now(const struct stores__cache *cache) {
    const char *why = stores__nodes_why(cache);
    if (cache->nameless) return cache->nameless_why;
    if (why[0] != '\0') return why;
    if (cache->trouble[0] != '\0') return cache->trouble;
    if (stores__nodes_alone(cache)) {
        return "no replica follows Redis, which takes no writes without one";
    }
    return stores__nodes_evict(cache) ? cache->evicts_why : "";
}

const char *stores__trouble_why(const struct stores__cache *cache) {
    const char *now = trouble_now(cache);
    return now[0] != '\0' ? now : "it did not answer";
}

const char *stores_redis_trouble(const stores_engine *engine) {
    return engine->cache != NULL ? trouble_now(engine->cache) : "";
}

/* ---- Looks at it ----------------------------------------------------------------------------- */

void stores__trouble_evicts(struct stores__node *node, bool evicts_any, const char *refusal) {
    struct stores__cache *cache = node->cache;
    bool said = stores__nodes_evict(cache), refused = refusal[0] != '\0';
    node->looked_at = stores__now(cache->engine);
    node->evicts_any = evicts_any && !cache->engine->config.unsafe_eviction;
    if (!node->evicts_any) return;
    snprintf(cache->evicts_why, sizeof cache->evicts_why, "Redis may evict write intents%s%s",
             refused ? ": it does not tell its policy: " : "", refusal);
    if (!said) {
        stores__log(cache->engine,
                    "Redis may evict write intents (%s%s): nothing is read into the cache; set a "
                    "volatile-* policy or noeviction, or say unsafe_eviction = true",
                    refused ? "it does not tell its policy: "
                            : "maxmemory-policy allkeys-*, or INFO does not tell it",
                    refusal);
    }
}

/* The script of somebody else has been running for long: nothing is answered until it ends. */
static bool is_busy(struct stores__node *node, const char *error) {
    bool busy = error != NULL && strncmp(error, "BUSY", 4) == 0;
    if (busy) stores__trouble_doubt(node);
    return busy;
}

static void took_policy(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__node *node = STORES__CONTAINER(req, struct stores__node, policy_req);
    const char *error = stores__redis_error(*reply);
    char words[sizeof node->cache->evicts_why - 64] = "";
    node->asks_policy = false;
    if (*reply == NULL || is_busy(node, error)) return;
    if (error != NULL) {
        node->cache->engine->counters.redis_refused++;
        stores__redis_words(error, words, sizeof words);
    }
    stores__trouble_evicts(node, stores__redis_evicts(*reply), words);
}

static void took_history(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__node *node = STORES__CONTAINER(req, struct stores__node, history_req);
    const char *error = stores__redis_error(*reply);
    node->asks_history = false;
    if (*reply == NULL || is_busy(node, error)) return;
    if (!stores__redis_goes_on(node->redis, *reply)) {
        stores__redis_renew(node->redis, error ? "Redis does not say whether it is a replica"
                                               : "Redis is, or was, a replica");
    }
}

static bool ask_info(struct stores__node *node, struct stores__redis_req *req,
                     const char *section) {
    struct stores__args args = {.node = node};
    stores__args_str(&args, "INFO");
    stores__args_str(&args, section);
    if (!stores__args_send(&args, node->cache, req, NULL, 0)) return false;
    req->quiet = true;
    return true;
}

void stores__trouble_look(struct stores__node *node) {
    uint64_t now = stores__now(node->cache->engine);
    bool doubted = (node->doubted || stores__node_alone(node)) && now >= node->looked_at + DOUBT_MS;
    if (now < node->looked_at + LOOK_MS && !doubted) return;
    if (node->asks_policy || node->asks_history) return;
    node->looked_at = now;
    node->doubted = false;
    node->policy_req.done = took_policy;
    node->history_req.done = took_history;
    node->asks_policy = ask_info(node, &node->policy_req, "memory");
    node->asks_history = ask_info(node, &node->history_req, "replication");
}

void stores__trouble_doubt(struct stores__node *node) {
    node->doubted = true;
}

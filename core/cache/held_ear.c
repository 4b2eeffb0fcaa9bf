/*
 * The ear: one link a node, on which this process is subscribed to the channels of the tables that
 * it holds, and to one of its own on which its writers hear that all have acked. Nothing is sent on
 * it but that. A link that is lost is made anew by itself; what was subscribed there is not, which
 * the count of its connections tells.
 */
#include <stdio.h>

#include "cache/epoch_internal.h"
#include "cache/held.h"

#define MS UINT64_C(1000000)

enum { ASK_AGAIN_MS = 1000 /* for a channel, where it was refused */ };

struct stores__ear {
    struct stores__cache *cache;
    struct stores__node *node; /* NULL: it closes */
    struct stores__redis *redis;
    struct stores__redis_req words_req;
    char words[544]; /* the channel of this process; "": it has none */
    uint64_t words_connects; /* of the link, when it was subscribed there; 0: it was not */
    uint64_t words_at; /* when it may be asked for */
    bool wanting; /* it was asked for */
};

static void published(void *arg, const char *channel, const char *text) {
    const struct stores__ear *ear = arg;
    if (ear->node == NULL || text == NULL) return;
    if (strcmp(channel, ear->words) == 0) {
        ear->cache->held_hooks->word(ear->cache, text);
    } else {
        ear->cache->held_hooks->heard(ear->cache, channel, text);
    }
}

static void gone(void *arg) {
    struct stores__ear *ear = arg;
    struct stores__cache *cache = ear->cache;
    free(ear);
    stores__nodes_link_gone(cache);
}

static struct stores__ear *open_ear(struct stores__node *node) {
    struct stores__ear *ear = calloc(1, sizeof *ear);
    struct stores__redis_hooks hooks = {.arg = ear, .published = published};
    if (ear == NULL) return NULL;
    ear->cache = node->cache;
    ear->node = node;
    ear->redis = stores__redis_open_same(node->redis, &hooks);
    if (ear->redis == NULL) {
        free(ear);
        return NULL;
    }
    node->cache->links++;
    return ear;
}

void stores__ear_close(struct stores__node *node) {
    struct stores__ear *ear = node->ear;
    stores__voice_close(node);
    if (ear == NULL) return;
    node->ear = NULL;
    ear->node = NULL;
    stores__redis_close(ear->redis, gone, ear);
}

/* Whether it is connected to another server than the node is, or never will be to that one: the
 * node moved, as the sentinels say. */
static bool strayed(const struct stores__node *node) {
    const struct stores__redis *redis = node->ear->redis;
    if (!stores__redis_same_place(redis, node->redis)) return true;
    return stores__redis_state(redis) == STORES__REDIS_UP &&
           strncmp(stores__redis_run_id(redis), node->run_id, sizeof node->run_id - 1) != 0;
}

/* The link of a node on which messages come, made where there is none. NULL: no memory, or the
 * node is not up. */
static struct stores__redis *ear_of(struct stores__node *node) {
    if (node->cache->closed || node->redis == NULL || node->run_id[0] == '\0') return NULL;
    if (node->ear != NULL && strayed(node)) stores__ear_close(node);
    if (node->ear == NULL) node->ear = open_ear(node);
    return node->ear != NULL ? node->ear->redis : NULL;
}

uint64_t stores__ear_connects(const struct stores__node *node) {
    if (node->ear == NULL || node->run_id[0] == '\0') return 0;
    const struct stores__redis *redis = node->ear->redis;
    if (stores__redis_state(redis) != STORES__REDIS_UP || strayed(node)) return 0;
    return stores__redis_stats(redis)->connects;
}

/* ---- What is subscribed there ---------------------------------------------------------------- */

static bool join(struct stores__redis *redis, struct stores__redis_req *req, const char *channel,
                 size_t len) {
    const char *words[] = {"SUBSCRIBE", channel};
    size_t lens[] = {9, len};
    if (!stores__redis_send(redis, req, 2, words, lens)) return false;
    req->quiet = true;
    stores__redis_flush(redis);
    return true;
}

bool stores__ear_join(struct stores__epoch *epoch, struct stores__redis_req *req) {
    struct stores__redis *redis = ear_of(stores__epoch_node(epoch));
    struct stores__args args = {0};
    if (redis == NULL) return false;
    stores__args_held_key(&args, epoch);
    bool sent = !args.failed && !args.buf.failed && join(redis, req, args.buf.data, args.buf.len);
    stores__args_free(&args);
    return sent;
}

const char *stores__ear_words(const struct stores__node *node) {
    const struct stores__ear *ear = node->ear;
    if (ear == NULL || ear->words_connects == 0) return "";
    return ear->words_connects == stores__ear_connects(node) ? ear->words : "";
}

static void words_come(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__ear *ear = STORES__CONTAINER(req, struct stores__ear, words_req);
    const char *kind = stores__redis_text(stores__redis_at(*reply, 0), NULL);
    ear->wanting = false;
    if (ear->node != NULL && kind != NULL && strcmp(kind, "subscribe") == 0) {
        ear->words_connects = stores__ear_connects(ear->node);
    }
}

void stores__ear_want_words(struct stores__node *node) {
    char random[17];
    if (ear_of(node) == NULL) return;
    struct stores__ear *ear = node->ear;
    uint64_t now = stores__held_now();
    if (ear->wanting || now < ear->words_at || !stores__random_text(random, 16)) return;
    ear->words_at = now + ASK_AGAIN_MS * MS;
    ear->words_connects = 0;
    ear->words_req.done = words_come;
    snprintf(ear->words, sizeof ear->words, "%swriter/%s", ear->cache->prefix, random);
    ear->wanting = join(ear->redis, &ear->words_req, ear->words, strlen(ear->words));
}

void stores__ear_read(struct stores__node *node) {
    if (node->ear != NULL) stores__redis_read(node->ear->redis);
}

void stores__ear_deafen(struct stores__node *node, int deaf) {
    if (node->ear != NULL) stores__redis_deafen(node->ear->redis, deaf);
    stores__voice_deafen(node, deaf);
}

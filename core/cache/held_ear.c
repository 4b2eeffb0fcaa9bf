/*
 * The ear: one link a node, on which this process is subscribed to the channels of the tables that
 * it holds. Nothing is sent on it but that. A link that is lost is made anew by itself; what was
 * subscribed there is not, which the count of its connections tells.
 */
#include "cache/epoch_internal.h"
#include "cache/held.h"

struct stores__ear {
    struct stores__cache *cache;
    struct stores__node *node; /* NULL: it closes */
    struct stores__redis *redis;
};

static void published(void *arg, const char *channel, const char *text) {
    const struct stores__ear *ear = arg;
    if (ear->node == NULL || text == NULL) return;
    ear->cache->held_hooks->heard(ear->cache, channel, text);
}

static void gone(void *arg) {
    struct stores__ear *ear = arg;
    struct stores__cache *cache = ear->cache;
    free(ear);
    cache->links--;
    if (cache->closed && cache->links == 0) cache->leaving(cache->engine);
}

static struct stores__ear *open_ear(struct stores__node *node) {
    struct stores__ear *ear = calloc(1, sizeof *ear);
    struct stores__redis_hooks hooks = {.arg = ear, .published = published};
    if (ear == NULL) return NULL;
    ear->cache = node->cache;
    ear->node = node;
    ear->redis = stores__redis_open_ear(node->redis, &hooks);
    if (ear->redis == NULL) {
        free(ear);
        return NULL;
    }
    node->cache->links++;
    return ear;
}

void stores__ear_close(struct stores__node *node) {
    struct stores__ear *ear = node->ear;
    if (ear == NULL) return;
    node->ear = NULL;
    ear->node = NULL;
    stores__redis_close(ear->redis, gone, ear);
}

/* Whether it is connected to another server than the node is: that one moved. */
static bool strayed(const struct stores__node *node) {
    const struct stores__redis *redis = node->ear->redis;
    return stores__redis_state(redis) == STORES__REDIS_UP &&
           strncmp(stores__redis_run_id(redis), node->run_id, sizeof node->run_id - 1) != 0;
}

struct stores__redis *stores__ear_of(struct stores__node *node) {
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

void stores__ear_read(struct stores__node *node) {
    if (node->ear != NULL) stores__redis_read(node->ear->redis);
}

void stores__ear_deafen(struct stores__node *node, int deaf) {
    if (node->ear != NULL) stores__redis_deafen(node->ear->redis, deaf);
}

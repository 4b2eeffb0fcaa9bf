/* The servers that the cache is on, and their links: see nodes.h. */
#include "cache/cache.h"

#include <stdio.h>

static struct stores__node *node_new(struct stores__cache *cache) {
    struct stores__node *node = calloc(1, sizeof *node);
    if (node == NULL) return NULL;
    node->cache = cache;
    node->serial = ++cache->node_serial;
    node->wants_up = true;
    stores__list_append(&cache->nodes, &node->link);
    return node;
}

static struct stores__redis_hooks hooks_of(struct stores__node *node) {
    struct stores__redis_hooks hooks = node->cache->link_hooks;
    hooks.arg = node;
    return hooks;
}

bool stores__nodes_open(struct stores__cache *cache, const struct stores__redis_config *config) {
    stores_engine *engine = cache->engine;
    struct stores__node *node = node_new(cache);
    if (node == NULL) return false;
    if (config->path == NULL) {
        snprintf(node->place.host, sizeof node->place.host, "%s", config->host);
        node->place.port = config->port;
    }
    cache->node = node;
    struct stores__redis_hooks hooks = hooks_of(node);
    node->redis = stores__redis_open(engine->loop, &engine->timers, config, &hooks);
    if (node->redis != NULL) cache->links++;
    return node->redis != NULL;
}

struct stores__node *stores__node_at(struct stores__cache *cache,
                                     const struct stores__place *place) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (stores__place_is(&node->place, place)) return node;
    }
    struct stores__node *node = node_new(cache);
    if (node != NULL) node->place = *place;
    return node;
}

/* One that has a link, whose config serves others, too. */
static const struct stores__redis *any_link(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    for (const struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL) return node->redis;
    }
    return NULL;
}

struct stores__redis *stores__node_link(struct stores__node *node) {
    struct stores__cache *cache = node->cache;
    if (cache->closed) return NULL;
    if (node->redis == NULL) {
        struct stores__redis_hooks hooks = hooks_of(node);
        const struct stores__redis *other = any_link(cache);
        if (other == NULL) return NULL;
        node->redis = stores__redis_open_beside(other, node->place.host, node->place.port, &hooks);
        if (node->redis != NULL) cache->links++;
    }
    return node->redis;
}

struct stores__node *stores__node_after(struct stores__cache *cache, uint64_t serial) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        bool counts = cache->map != NULL ? node->slots > 0 : node == cache->node;
        if (node->serial > serial && counts) return node;
    }
    return NULL;
}

void stores__nodes_flush(struct stores__cache *cache) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL && !cache->closed) stores__redis_flush(node->redis);
    }
}

void stores__nodes_glance(struct stores__cache *cache) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL && !cache->closed) stores__redis_glance(node->redis);
    }
}

void stores__nodes_deafen(struct stores__cache *cache, int deaf) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL) stores__redis_deafen(node->redis, deaf);
        if (node->ear != NULL) cache->held_hooks->deafen(node, deaf);
    }
}

static void add(struct stores__redis_stats *sum, const struct stores__redis_stats *stats) {
    sum->round_trips += stats->round_trips;
    sum->commands += stats->commands;
    sum->bytes_out += stats->bytes_out;
    sum->bytes_in += stats->bytes_in;
    sum->connects += stats->connects;
    sum->failures += stats->failures;
    sum->timeouts += stats->timeouts;
}

uint64_t stores__nodes_failures(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    uint64_t failures = cache->dropped.failures;
    for (const struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL) failures += stores__redis_stats(node->redis)->failures;
    }
    return failures;
}

/* Whether its state matters: of a cluster, the nodes that have slots, and were needed. */
static bool matters(const struct stores__cache *cache, const struct stores__node *node) {
    if (node->redis == NULL) return false;
    return cache->map != NULL ? node->slots > 0 : node == cache->node;
}

const char *stores__nodes_why(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    for (const struct stores__list *at = nodes->next; at != nodes && !cache->closed;
         at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (!matters(cache, node) || node->run_id[0] != '\0') continue;
        const char *why = stores__redis_why(node->redis);
        if (why[0] != '\0') return why;
    }
    return "";
}

struct stores__nodes_figures stores__nodes_figures(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    struct stores__nodes_figures figures = {.up = true, .sum = cache->dropped};
    for (const struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis == NULL) continue;
        add(&figures.sum, stores__redis_stats(node->redis));
        figures.pending += stores__redis_pending(node->redis);
        if (!matters(cache, node)) continue;
        figures.links++;
        if (stores__redis_state(node->redis) != STORES__REDIS_UP) figures.up = false;
    }
    figures.up = figures.up && figures.links > 0;
    return figures;
}

bool stores__nodes_evict(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    for (const struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (matters(cache, node) && node->evicts_any) return true;
    }
    return false;
}

bool stores__nodes_alone(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    for (const struct stores__list *at = nodes->next; at != nodes && !cache->closed;
         at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (matters(cache, node) && stores__node_alone(node)) return true;
    }
    return false;
}

void stores__nodes_nudge(struct stores__cache *cache) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis != NULL) stores__redis_nudge(node->redis);
    }
}

bool stores__cache_up(const struct stores__cache *cache) {
    const struct stores__list *nodes = &cache->nodes;
    for (const struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        const struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (stores__node_up(node)) return !cache->closed;
    }
    return false;
}

/* ---- The end --------------------------------------------------------------------------------- */

void stores__nodes_link_gone(struct stores__cache *cache) {
    cache->links--;
    if (cache->closed && cache->links == 0) cache->leaving(cache->engine);
}

/* A link is gone, and with it the node that was dropped. */
static void gone(void *arg) {
    struct stores__node *node = arg;
    struct stores__cache *cache = node->cache;
    node->redis = NULL;
    if (node->dropped) free(node);
    stores__nodes_link_gone(cache);
}

void stores__node_drop(struct stores__node *node) {
    struct stores__cache *cache = node->cache;
    stores__list_remove(&node->link);
    if (node->ear != NULL) cache->held_hooks->node_gone(node);
    if (node->redis == NULL) {
        free(node);
        return;
    }
    add(&cache->dropped, stores__redis_stats(node->redis));
    node->dropped = true;
    stores__redis_close(node->redis, gone, node);
}

void stores__nodes_close(struct stores__cache *cache) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->ear != NULL) cache->held_hooks->node_gone(node);
        if (node->redis != NULL) stores__redis_close(node->redis, gone, node);
    }
}

void stores__nodes_free(struct stores__cache *cache) {
    struct stores__list *at;
    while ((at = stores__list_shift(&cache->nodes)) != NULL) {
        free(STORES__CONTAINER(at, struct stores__node, link));
    }
}

/*
 * Which node of a cluster has which slot: see nodes.h. Nothing waits for the map: where it is
 * wrong, a node says so, and its word moves the slot here. With a slot all goes that was believed
 * of its tables: an epoch that came along is not the new node's.
 */
#include "cache/epoch_internal.h"

enum { ASK_AGAIN_MS = 100, TIDY_MS = 1000 };

/* Something is to be done in a while, or sooner if that was said before. */
static void soon(struct stores__map *map, uint64_t ms) {
    stores_engine *engine = map->cache->engine;
    uint64_t at = stores__now(engine) + ms;
    if (stores__closing(engine) || map->wakes_at <= at) return;
    map->wakes_at = at;
    stores__timer_set(&engine->timers, &map->timer, at);
}

/* ---- Who has what ---------------------------------------------------------------------------- */

/* What was told to the one that had a slot, the next one's clients may not have heard: it may have
 * been demoted. Who is only thought to have it, as long as nobody told, was told nothing. */
static void give(struct stores__map *map, unsigned first, unsigned last,
                 struct stores__node *node) {
    stores_engine *engine = map->cache->engine;
    if (map->learned) stores__epoch_moved_slots(engine, first, last, node);
    stores__epoch_void_slots(engine, first, last, node);
    for (unsigned slot = first; slot <= last; slot++) {
        struct stores__node *before = map->owners[slot];
        if (map->learned && before != node && before->told_others) {
            before->told_others = false;
            stores__turn_all(engine);
        }
        map->owners[slot]->slots--;
        map->owners[slot] = node;
        node->slots++;
    }
}

/* The node at a place that another one named; one without a host is where that one is. */
static struct stores__node *place(struct stores__node *from, struct stores__place *place) {
    if (place->host[0] == '\0') {
        const char *host = from->place.host[0] != '\0' ? from->place.host : "127.0.0.1";
        memcpy(place->host, host, strlen(host) + 1);
    }
    return stores__node_at(from->cache, place);
}

/* Links that nobody needs any more are closed, where others live: what is configured may be the
 * name of whichever node answers. */
static void tidy(struct stores__map *map) {
    struct stores__cache *cache = map->cache;
    struct stores__list *next;
    bool lives = false;
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->slots > 0 && node->run_id[0] != '\0') {
            cache->node = node;
            lives = true;
        }
    }
    for (struct stores__list *at = cache->nodes.next; lives && at != &cache->nodes; at = next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        next = at->next;
        if (node->slots > 0 || node->place.host[0] == '\0') continue;
        if (node->redis == NULL || stores__redis_pending(node->redis) == 0) {
            stores__node_drop(node);
        } else {
            soon(map, TIDY_MS);
        }
    }
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void take(struct stores__map *map, struct stores__node *from,
                 const struct redisReply *slots) {
    struct stores__slot_range range;
    for (size_t i = 0; i < stores__redis_count(slots); i++) {
        if (!stores__slots_read(slots, i, &range)) continue;
        struct stores__node *node = place(from, &range.place);
        if (node != NULL) give(map, range.first, range.last, node);
    }
    map->learned = stores__redis_count(slots) > 0;
}

static struct stores__node *asked_node(const struct stores__map *map) {
    struct stores__list *nodes = &map->cache->nodes;
    for (struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->serial == map->asked_serial) return node;
    }
    return NULL;
}

static bool all_up(const struct stores__map *map) {
    struct stores__node *node = NULL;
    uint64_t serial = 0;
    while ((node = stores__node_after(map->cache, serial)) != NULL) {
        if (!stores__node_up(node)) return false;
        serial = node->serial;
    }
    return true;
}

static void told(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__map *map = STORES__CONTAINER(req, struct stores__map, req);
    struct stores__node *from = asked_node(map);
    map->asking = false;
    if (map->cache->closed) return;
    if (from != NULL && stores__redis_count(*reply) > 0) {
        take(map, from, *reply);
        soon(map, TIDY_MS);
    }
    if (*reply == NULL || map->due || !all_up(map)) soon(map, ASK_AGAIN_MS);
}

/* Who is asked next: the node after the one that was asked last, among those that answer. */
static struct stores__node *next_to_ask(const struct stores__map *map) {
    struct stores__list *nodes = &map->cache->nodes;
    struct stores__node *first = NULL;
    for (struct stores__list *at = nodes->next; at != nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis == NULL || node->run_id[0] == '\0') continue;
        if (node->serial > map->asked_serial) return node;
        if (first == NULL) first = node;
    }
    return first;
}

/* Opens a link to one more node of those that are known, and to the places that are configured. */
static void look_further(struct stores__cache *cache) {
    for (struct stores__list *at = cache->nodes.next; at != &cache->nodes; at = at->next) {
        struct stores__node *node = STORES__CONTAINER(at, struct stores__node, link);
        if (node->redis == NULL && stores__node_link(node) != NULL) return;
    }
    if (cache->seed_count == 0) return;
    struct stores__place *seed = &cache->seeds[cache->seed_next++ % cache->seed_count];
    struct stores__node *node = stores__node_at(cache, seed);
    if (node == NULL || stores__node_link(node) == NULL) return;
    if (cache->map == NULL) cache->node = node;
}

static void ask(struct stores__map *map) {
    static const char *const words[] = {"CLUSTER", "SLOTS"};
    static const size_t lens[] = {7, 5};
    struct stores__node *node = next_to_ask(map);
    map->due = true;
    if (map->asking) return;
    if (node == NULL) {
        look_further(map->cache);
        soon(map, ASK_AGAIN_MS);
        return;
    }
    map->req.done = told;
    map->asking = stores__redis_send(node->redis, &map->req, 2, words, lens);
    if (!map->asking) {
        soon(map, ASK_AGAIN_MS);
        return;
    }
    map->req.most = STORES__SLOTS;
    map->due = false;
    map->asked_serial = node->serial;
    stores__redis_flush(node->redis);
}

static void ask_later(struct stores__map *map) {
    map->due = true;
    soon(map, ASK_AGAIN_MS);
}

static void fire(struct stores__timer *timer) {
    struct stores__map *map = STORES__CONTAINER(timer, struct stores__map, timer);
    map->wakes_at = UINT64_MAX;
    stores__timer_set(&map->cache->engine->timers, timer, UINT64_MAX); /* keeps its place */
    if (map->cache->closed) return;
    tidy(map);
    if (map->due || !map->learned || !all_up(map)) ask(map);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static bool map_new(struct stores__node *node) {
    struct stores__cache *cache = node->cache;
    struct stores__map *map = calloc(1, sizeof *map);
    if (map == NULL) return false;
    map->timer.fire = fire;
    map->wakes_at = UINT64_MAX;
    if (!stores__timer_set(&cache->engine->timers, &map->timer, UINT64_MAX)) {
        free(map);
        return false;
    }
    map->cache = cache;
    for (unsigned slot = 0; slot < STORES__SLOTS; slot++) map->owners[slot] = cache->node;
    cache->node->slots = STORES__SLOTS;
    cache->map = map;
    return true;
}

bool stores__map_met(struct stores__node *node) {
    if (node->cache->map == NULL && !map_new(node)) return false;
    ask(node->cache->map);
    return true;
}

void stores__map_down(struct stores__node *node) {
    struct stores__cache *cache = node->cache;
    if (cache->closed) return;
    if (cache->map != NULL) {
        ask(cache->map);
    } else if (cache->seed_count > 1) {
        look_further(cache);
    }
}

bool stores__map_elsewhere(struct stores__node *node, struct stores__redis_req *req,
                           const char *error) {
    struct stores__redirect to = stores__redirect_read(error);
    struct stores__cache *cache = node->cache;
    if (cache->closed || (cache->map == NULL && !map_new(node))) return false;
    if (to.says == STORES__SLOT_MOVED) ask(cache->map);
    if (to.says == STORES__SLOT_DOWN) ask_later(cache->map);
    if (to.says != STORES__SLOT_MOVED && to.says != STORES__SLOT_ASK) return false;
    struct stores__node *owner = place(node, &to.place);
    if (owner == NULL) return false;
    if (to.says == STORES__SLOT_MOVED && cache->map->owners[to.slot] != owner) {
        give(cache->map, to.slot, to.slot, owner);
    }
    struct stores__redis *link = stores__node_link(owner);
    return link != NULL &&
           stores__redis_hand_over(node->redis, link, req, to.says == STORES__SLOT_ASK);
}

void stores__map_free(struct stores__cache *cache) {
    if (cache->map == NULL) return;
    stores__timer_stop(&cache->engine->timers, &cache->map->timer);
    free(cache->map);
    cache->map = NULL;
}

/*
 * nodes.h - the servers that the cache is on: one, or the nodes of a cluster, each with a link of
 * its own that is made when it is needed. All keys of a table have one hash tag, and so are on one
 * node.
 */
#ifndef STORES_CACHE_NODES_H
#define STORES_CACHE_NODES_H

#include "engine/engine.h"
#include "redis/link.h"
#include "redis/slots.h"

struct stores__cache;
struct stores__ear;
struct stores__voice;

struct stores__node {
    struct stores__list link; /* cache->nodes, in the order in which they were met */
    struct stores__cache *cache;
    uint64_t serial; /* from 1; no two nodes of a cache have the same */
    struct stores__place place; /* its host is "" where it is the path of a unix socket */
    struct stores__redis *redis; /* NULL: not needed so far */
    unsigned slots; /* of a cluster, as far as the map knows: how many it has */
    bool dropped; /* goes with its link */
    bool wants_up; /* never connected so far: calls wait for the first attempt */
    bool evicts_any; /* intents could be evicted: no lease is taken */
    char met[17]; /* its run_id when it was up last; "": it never was */
    bool told_others; /* it was told of writes to tables whose epochs are gone */
    char run_id[17]; /* of the run, and of the history, 8 digits each; "" while it is down */
    /* Every few seconds it is asked whether they could, and whether it is still the primary that it
     * was; sooner where somebody else's epoch says that it is not. */
    bool asks_policy, asks_history, doubted;
    uint64_t looked_at;
    struct stores__redis_req policy_req, history_req;
    struct stores__ear *ear; /* held_ear.c; NULL: nothing of it is held */
    struct stores__voice *voice; /* held_voice.c; there is none without an ear */
    uint64_t down_at; /* when it was lost, in ns of stores__held_now; 0: it was not */
};

/* It answers, as far as anybody knows. */
static inline bool stores__node_up(const struct stores__node *node) {
    return node->run_id[0] != '\0' || node->wants_up;
}

/* No replica follows it, and it takes no writes without one: what it has may be out of date. */
static inline bool stores__node_alone(const struct stores__node *node) {
    return node->redis != NULL && stores__redis_alone(node->redis);
}

/* The first node of a cache, with a link. False: no memory. */
bool stores__nodes_open(struct stores__cache *cache, const struct stores__redis_config *config);
/* The node at a place, which is made where there is none; it has no link yet. NULL: no memory. */
struct stores__node *stores__node_at(struct stores__cache *cache,
                                     const struct stores__place *place);
/* Its link, which is made where there is none. NULL: no memory, or the cache is closed. */
struct stores__redis *stores__node_link(struct stores__node *node);
/* Nobody needs it any more, and nothing of it is under way: closes its link, and frees it. */
void stores__node_drop(struct stores__node *node);
/* The next node by serial that has slots, or that is the only one; NULL: there is none. */
struct stores__node *stores__node_after(struct stores__cache *cache, uint64_t serial);
/* Sends what is queued, to each of them. */
void stores__nodes_flush(struct stores__cache *cache);
/* Takes the answers of each of them that have come meanwhile. */
void stores__nodes_glance(struct stores__cache *cache);
void stores__nodes_deafen(struct stores__cache *cache, int deaf);
/* How often a link was lost, or not made, of all nodes together. */
uint64_t stores__nodes_failures(const struct stores__cache *cache);
/* Why one that is needed is down; "": none is. */
const char *stores__nodes_why(const struct stores__cache *cache);
/* Whether one may evict intents; is alone. */
bool stores__nodes_evict(const struct stores__cache *cache);
bool stores__nodes_alone(const struct stores__cache *cache);
struct stores__nodes_figures {
    bool up; /* all that are needed */
    size_t links; /* to nodes that have keys */
    size_t pending;
    struct stores__redis_stats sum; /* of all, also of those that were dropped */
};

struct stores__nodes_figures stores__nodes_figures(const struct stores__cache *cache);
/* Tries those that are down at once. */
void stores__nodes_nudge(struct stores__cache *cache);
/* A link that was counted in cache->links is gone: the last thing that is done for it. */
void stores__nodes_link_gone(struct stores__cache *cache);
/* Closes all links; cache->leaving comes from the loop when the last one is gone. */
void stores__nodes_close(struct stores__cache *cache);
void stores__nodes_free(struct stores__cache *cache);

/* ---- The slots of a cluster (map.c) ---------------------------------------------------------- */

/* Which node has which slot. It is asked for when a cluster is met, and whenever a node says that
 * it is wrong, or is down; meanwhile the last word counts, for a node that does not have a key says
 * so. */
struct stores__map {
    struct stores__cache *cache;
    struct stores__node *owners[STORES__SLOTS];
    bool learned; /* it is more than what single answers told */
    bool asking, due; /* due: it has to be asked for once more */
    struct stores__redis_req req;
    uint64_t asked_serial; /* of the node that is asked */
    struct stores__timer timer; /* parked while nothing is to be done: to move it needs no memory */
    uint64_t wakes_at; /* UINT64_MAX: it is */
};

/* A node that came up is one of a cluster. False: no memory. */
bool stores__map_met(struct stores__node *node);
/* A node went down, or could not be reached: another one is asked, or looked for. */
void stores__map_down(struct stores__node *node);
/* For stores__redis_hooks.elsewhere. */
bool stores__map_elsewhere(struct stores__node *node, struct stores__redis_req *req,
                           const char *error);
void stores__map_free(struct stores__cache *cache);

#endif

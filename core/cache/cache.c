#include "cache/cache.h"

#include <stdio.h>

#include "base/ids.h"
#include "base/sized.h"
#include "cache/held.h"

enum { PORT_DEFAULT = 6379 };
enum { TEXT_MAX = 4 * 1024 * 1024 }; /* of what Redis holds: a value, or the intents of one row */

static void pay(struct stores__cache *cache);
static void close_links(stores_engine *engine);

/* ---- The links --------------------------------------------------------------------- */

/* Where the one that was met before is not this one, or lost its own rows to another one's, a
 * writer may have told it what readers of this one should have heard: a primary that was demoted
 * does not know of that at once, nor do those who talk to it. */
static void meet(struct stores__node *node) {
    bool moved = node->met[0] != '\0' && strcmp(node->met, node->run_id) != 0;
    memcpy(node->met, node->run_id, sizeof node->met);
    if (!moved) return;
    stores__epoch_moved_node(node->cache->engine, node);
    if (node->told_others) stores__turn_all(node->cache->engine);
    node->told_others = false;
}

static void redis_up(void *arg, const char *run_id, bool evicts_any) {
    struct stores__node *node = arg;
    struct stores__cache *cache = node->cache;
    snprintf(node->run_id, sizeof node->run_id, "%.16s", run_id);
    node->wants_up = false;
    cache->was_up = true;
    stores__trouble_evicts(node, evicts_any, stores__redis_policy_refusal(node->redis));
    if (stores__redis_clustered(node->redis) && !stores__map_met(node)) {
        stores__log(cache->engine, "no memory for the slots of the Redis cluster");
    }
    stores__epoch_void_node(cache->engine, node);
    meet(node);
    if (cache->leaving == NULL) {
        stores__epoch_resume_all(cache->engine);
    } else if (stores__epoch_payable(cache->engine)) {
        pay(cache);
    }
}

static void redis_refused(void *arg, const char *text) {
    stores__trouble_refused(((struct stores__node *)arg)->cache, text);
}

static void redis_down(void *arg, const char *why) {
    struct stores__node *node = arg;
    struct stores__cache *cache = node->cache;
    if (node->run_id[0] != '\0' || node->wants_up) {
        stores__log(cache->engine, "Redis is not reachable: %s", why);
    }
    node->wants_up = false;
    if (node->run_id[0] != '\0' || node->down_at == 0) node->down_at = stores__held_now();
    node->run_id[0] = '\0';
    stores__epoch_void_node(cache->engine, node);
    stores__map_down(node);
    if (cache->leaving != NULL && cache->map == NULL) close_links(cache->engine);
}

static bool elsewhere(void *arg, struct stores__redis_req *req, const char *error) {
    return stores__map_elsewhere(arg, req, error);
}

/* ---- Open and close ---------------------------------------------------------------- */

/* What is configured: one place, or several nodes of a cluster. */
static bool take_places(struct stores__cache *cache, const stores_config *config,
                        stores_error *error) {
    const char *const one[] = {config->redis_host, NULL};
    const char *const *places = config->redis_cluster ? config->redis_cluster : one;
    int port = config->redis_cluster ? PORT_DEFAULT : config->redis_port;
    size_t count = 0;
    if (config->redis_cluster == NULL && config->redis_path != NULL) return true;
    while (places[count] != NULL) count++;
    if (config->redis_cluster != NULL &&
        (config->redis_sentinels != NULL || config->redis_db != 0)) {
        stores__error_set(error, STORES_INVALID_OPTION,
                          "a cluster has no sentinels, and the database 0 alone");
        return false;
    }
    if (count == 0) {
        stores__error_set(error, STORES_INVALID_OPTION, "redis_cluster names no node");
        return false;
    }
    cache->seeds = calloc(count, sizeof *cache->seeds);
    if (cache->seeds == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the cache");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct stores__place *place = &cache->seeds[i];
        if (config->redis_cluster == NULL) {
            snprintf(place->host, sizeof place->host, "%s", places[i]);
            place->port = port;
        } else if (!stores__place_read(places[i], port, place)) {
            stores__error_set(error, STORES_INVALID_OPTION,
                              "redis_cluster must list places such as 'host:6379', got '%.100s'",
                              places[i]);
            return false;
        }
    }
    cache->seed_count = count;
    cache->seed_next = 1;
    return true;
}

static bool open_links(struct stores__cache *cache, const stores_config *config,
                       stores_error *error) {
    stores_engine *engine = cache->engine;
    if (!take_places(cache, config, error)) return false;
    stores_tls own_tls, own_sentinel_tls;
    const stores_tls *tls = config->redis_tls, *sentinel_tls = config->sentinel_tls;
    if (sentinel_tls != NULL) {
        sentinel_tls = stores__tls_given(sentinel_tls, &own_sentinel_tls, error);
    }
    if (tls != NULL && (tls = stores__tls_given(tls, &own_tls, error)) == NULL) return false;
    struct stores__redis_config redis = {.host = config->redis_host,
                                         .port = config->redis_port,
                                         .path = config->redis_path,
                                         .sentinels = config->redis_sentinels,
                                         .master = config->redis_master,
                                         .sentinel_username = config->sentinel_username,
                                         .sentinel_password = config->sentinel_password,
                                         .sentinel_tls = sentinel_tls,
                                         .username = config->redis_username,
                                         .password = config->redis_password,
                                         .tls = tls,
                                         .db = config->redis_db,
                                         .timeout_ms = config->redis_timeout_ms,
                                         .connect_timeout_ms = config->redis_connect_timeout_ms,
                                         .keepalive_ms = config->redis_keepalive_ms,
                                         .text_max = TEXT_MAX,
                                         .cluster = config->redis_cluster != NULL};
    if (redis.cluster) {
        redis.host = cache->seeds[0].host;
        redis.port = cache->seeds[0].port;
        redis.path = NULL;
    }
    cache->link_hooks = (struct stores__redis_hooks){
        .up = redis_up, .down = redis_down, .refused = redis_refused, .elsewhere = elsewhere};
    if (config->prefix != NULL) cache->fixed_prefix = stores__strdup(config->prefix);
    bool ok = (config->prefix == NULL || cache->fixed_prefix != NULL) &&
              stores__turn_all_new(engine) && stores__nodes_open(cache, &redis);
    if (!ok) stores__error_set(error, STORES_NO_MEMORY, "no memory for the Redis link");
    return ok;
}

static const struct stores__held_hooks held_hooks = {.forget = stores__held_forget,
                                                     .epoch_gone = stores__held_free,
                                                     .node_gone = stores__ear_close,
                                                     .deafen = stores__ear_deafen,
                                                     .heard = stores__held_heard,
                                                     .word = stores__held_word};

bool stores__cache_open(stores_engine *engine, const stores_config *config, stores_error *error) {
    if (config->no_cache) return true;
    struct stores__cache *cache = calloc(1, sizeof *cache);
    engine->cache = cache;
    if (cache == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the cache");
        return false;
    }
    cache->engine = engine;
    stores__list_init(&cache->nodes);
    stores__list_init(&cache->ask_wait.link);
    stores__list_init(&cache->held);
    cache->held_hooks = &held_hooks;
    if (!stores__held_open(cache, config)) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the cache");
    } else if (open_links(cache, config, error)) {
        return true;
    }
    stores__cache_free(engine);
    return false;
}

static void close_links(stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    if (cache->closed) return;
    stores__timer_stop(&engine->timers, &cache->patience);
    cache->closed = true;
    stores__nodes_close(cache);
}

static void paid(stores_engine *engine) {
    if (--engine->cache->paying == 0) close_links(engine);
}

static void pay(struct stores__cache *cache) {
    if (cache->paying > 0) return;
    cache->paying = stores__epoch_pay(cache->engine, paid);
    if (cache->paying == 0) close_links(cache->engine);
}

/* What can be paid is, where some of the nodes of a cluster do not answer. */
static void waited(struct stores__timer *timer) {
    struct stores__cache *cache = STORES__CONTAINER(timer, struct stores__cache, patience);
    close_links(cache->engine);
}

void stores__cache_deafen(stores_engine *engine, int deaf) {
    if (engine->cache != NULL) stores__nodes_deafen(engine->cache, deaf);
}

bool stores__cache_close(stores_engine *engine, void (*done)(void *engine)) {
    struct stores__cache *cache = engine->cache;
    if (cache == NULL) return false;
    /* as it is now: the loop of a plain script may not have turned for long */
    uint64_t ends = uv_hrtime() / 1000000 + engine->config.redis_timeout_ms;
    cache->leaving = done;
    cache->patience.fire = waited;
    stores__nodes_flush(cache);
    if (engine->pool.common.deaf || !stores__epoch_owes(engine) || !stores__past_known(cache) ||
        !stores__timer_set(&engine->timers, &cache->patience, ends)) {
        close_links(engine);
    } else if (stores__epoch_payable(engine)) {
        pay(cache);
    } else {
        stores__nodes_nudge(cache);
    }
    return true;
}

void stores__cache_free(stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    if (cache == NULL) return;
    stores__turn_all_free(engine);
    stores__held_free_all(cache);
    stores__map_free(cache);
    stores__nodes_free(cache);
    free(cache->seeds);
    free(cache->fixed_prefix);
    stores__held_close(cache);
    free(cache);
    engine->cache = NULL;
}

bool stores__cache_covers(const struct stores__table *table) {
    const struct stores__cache *cache = table->engine->cache;
    return cache != NULL && table->cacheable && !cache->nameless;
}

bool stores__cache_readable(const struct stores__table *table) {
    const struct stores__cache *cache = table->engine->cache;
    return cache != NULL && table->cacheable && !cache->closed &&
           stores__node_up(stores__epoch_node(table->epoch)) && stores__past_trusted(cache) &&
           !stores__node_alone(stores__epoch_node(table->epoch)) &&
           !stores__epoch_is_bypassed(table);
}

#include "cache/cache.h"

#include <stdio.h>

#include "base/ids.h"
#include "base/sized.h"

enum { TEXT_MAX = 4 * 1024 * 1024 }; /* of what Redis holds: a value, or the intents of one row */

void stores__cache_ttl(uint64_t ms, char out[24]) {
    uint64_t spread = ms / 5 + 1;
    snprintf(out, 24, "%llu", (unsigned long long)(ms - ms / 10 + stores__random_u64() % spread));
}

static void pay(struct stores__cache *cache);
static void close_link(stores_engine *engine);

/* ---- The link --------------------------------------------------------------------- */

/* Where the one that was met before is not this one, or lost its own rows to another one's, a writer
 * may have told it what readers of this one should have heard: a primary that was demoted does not
 * know of that at once, nor do those who talk to it. */
static void meet(struct stores__cache *cache) {
    bool moved = cache->met[0] != '\0' && strcmp(cache->met, cache->run_id) != 0;
    memcpy(cache->met, cache->run_id, sizeof cache->met);
    if (!moved) return;
    stores__epoch_moved_all(cache->engine);
    if (cache->told_others) stores__turn_all(cache->engine);
    cache->told_others = false;
}

static void redis_up(void *arg, const char *run_id, bool evicts_any) {
    struct stores__cache *cache = arg;
    snprintf(cache->run_id, sizeof cache->run_id, "%.16s", run_id);
    cache->wants_up = false;
    stores__trouble_evicts(cache, evicts_any, stores__redis_policy_refusal(cache->redis));
    stores__epoch_void_all(cache->engine);
    meet(cache);
    if (cache->leaving != NULL) {
        pay(cache);
    } else {
        stores__epoch_resume_all(cache->engine);
    }
}

static void redis_refused(void *arg, const char *text) {
    stores__trouble_refused(arg, text);
}

static void redis_down(void *arg, const char *why) {
    struct stores__cache *cache = arg;
    if (cache->run_id[0] != '\0' || cache->wants_up) {
        stores__log(cache->engine, "Redis is not reachable: %s", why);
    }
    cache->wants_up = false;
    cache->run_id[0] = '\0';
    stores__epoch_void_all(cache->engine);
    if (cache->leaving != NULL) close_link(cache->engine);
}

bool stores__cache_open(stores_engine *engine, const stores_config *config, stores_error *error) {
    if (config->no_cache) return true;
    struct stores__cache *cache = calloc(1, sizeof *cache);
    engine->cache = cache;
    if (cache == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the cache");
        return false;
    }
    cache->engine = engine;
    cache->wants_up = true;
    stores__list_init(&cache->ask_wait.link);
    stores_tls own_tls, own_sentinel_tls;
    const stores_tls *tls = config->redis_tls, *sentinel_tls = config->sentinel_tls;
    if (tls != NULL) tls = stores__tls_given(tls, &own_tls, error);
    if (sentinel_tls != NULL) {
        sentinel_tls = stores__tls_given(sentinel_tls, &own_sentinel_tls, error);
    }
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
                                         .text_max = TEXT_MAX};
    struct stores__redis_hooks hooks = {
        .arg = cache, .up = redis_up, .down = redis_down, .refused = redis_refused};
    if (config->prefix != NULL) cache->fixed_prefix = stores__strdup(config->prefix);
    bool ok = (config->prefix == NULL || cache->fixed_prefix != NULL) &&
              stores__turn_all_new(engine);
    if (ok) {
        cache->redis = stores__redis_open(engine->loop, &engine->timers, &redis, &hooks);
    }
    if (cache->redis == NULL) {
        stores__turn_all_free(engine);
        free(cache->fixed_prefix);
        free(cache);
        engine->cache = NULL;
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the Redis link");
        return false;
    }
    return true;
}

static void close_link(stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    struct stores__redis *redis = cache->redis;
    if (redis == NULL) return;
    stores__timer_stop(&engine->timers, &cache->patience);
    cache->redis = NULL;
    stores__redis_close(redis, cache->leaving, engine);
}

static void paid(stores_engine *engine) {
    if (--engine->cache->paying == 0) close_link(engine);
}

static void pay(struct stores__cache *cache) {
    if (cache->paying > 0) return;
    cache->paying = stores__epoch_pay(cache->engine, paid);
    if (cache->paying == 0) close_link(cache->engine);
}

static void waited(struct stores__timer *timer) {
    close_link(STORES__CONTAINER(timer, struct stores__cache, patience)->engine);
}

void stores__cache_deafen(stores_engine *engine, int deaf) {
    if (engine->cache != NULL) stores__redis_deafen(engine->cache->redis, deaf);
}

bool stores__cache_close(stores_engine *engine, void (*done)(void *engine)) {
    struct stores__cache *cache = engine->cache;
    if (cache == NULL) return false;
    /* as it is now: the loop of a plain script may not have turned for long */
    uint64_t ends = uv_hrtime() / 1000000 + engine->config.redis_timeout_ms;
    cache->leaving = done;
    cache->patience.fire = waited;
    stores__redis_flush(cache->redis);
    if (engine->pool.common.deaf || !stores__epoch_owes(engine) || !stores__past_known(cache) ||
        !stores__timer_set(&engine->timers, &cache->patience, ends)) {
        close_link(engine);
    } else if (stores__redis_state(cache->redis) == STORES__REDIS_UP) {
        pay(cache);
    } else {
        stores__redis_nudge(cache->redis);
    }
    return true;
}

void stores__cache_free(stores_engine *engine) {
    if (engine->cache == NULL) return;
    stores__turn_all_free(engine);
    free(engine->cache->fixed_prefix);
    free(engine->cache);
    engine->cache = NULL;
}

bool stores__cache_covers(const struct stores__table *table) {
    const struct stores__cache *cache = table->engine->cache;
    return cache != NULL && table->cacheable && !cache->nameless;
}

bool stores__cache_readable(const struct stores__table *table) {
    const struct stores__cache *cache = table->engine->cache;
    return cache != NULL && table->cacheable && stores__cache_up(cache) &&
           stores__past_trusted(cache) && !stores__redis_alone(cache->redis) &&
           !stores__epoch_is_bypassed(table);
}

/*
 * All tables of the database that Redis knows, for what nobody can name: a text of a caller ended
 * the transaction in which it ran, and what was written before is committed, or will be. SCAN finds
 * the epochs, also of tables that this engine never met; each is remembered as bypassed, and
 * turned.
 */
#include "cache/epoch_internal.h"

enum { AGAIN_MS = 200 };

struct stores__turn_all {
    struct stores__redis_req req;
    stores_engine *engine;
    struct stores__timer timer; /* parked while it is not tried again: to move it needs no memory */
    bool due, running, again; /* again: it was asked for while it ran */
    uint64_t serial; /* of the node that is asked */
    char cursor[24];
};

static void next_node(struct stores__turn_all *all);
static void next_page(struct stores__turn_all *all);

static void later(struct stores__turn_all *all) {
    stores_engine *engine = all->engine;
    all->running = false;
    if (stores__closing(engine)) return;
    stores__timer_set(&engine->timers, &all->timer, stores__now(engine) + AGAIN_MS);
}

static void start(struct stores__turn_all *all) {
    if (!all->due || all->running) return;
    all->running = true;
    all->again = false;
    all->serial = 0;
    next_node(all);
}

static void try_again(struct stores__timer *timer) {
    struct stores__turn_all *all = STORES__CONTAINER(timer, struct stores__turn_all, timer);
    stores__timer_set(&all->engine->timers, timer, UINT64_MAX); /* keeps the place it just had */
    start(all);
}

/* The oid in `<prefix>{<oid>}`; 0: it is another key. */
static uint32_t oid_of(const char *key, size_t len) {
    uint64_t oid = 0, digits = 1;
    if (len < 3 || key[len - 1] != '}') return 0;
    for (size_t i = len - 1; i > 0 && key[i - 1] != '{'; i--) {
        if (key[i - 1] < '0' || key[i - 1] > '9') return 0;
        oid += digits * (uint64_t)(key[i - 1] - '0');
        digits *= 10;
    }
    return oid <= UINT32_MAX ? (uint32_t)oid : 0;
}

/* False: no memory; what was found so far is turned, and the rest when it is tried again. */
static bool take_key(stores_engine *engine, const char *key, size_t len) {
    uint32_t oid = key ? oid_of(key, len) : 0;
    if (oid == 0) return true;
    struct stores__epoch *epoch = stores__epoch_of(engine, oid);
    if (epoch == NULL) return false;
    stores__epoch_bypassed(epoch);
    stores__epoch_let_go(epoch);
    return true;
}

static void got_page(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__turn_all *all = STORES__CONTAINER(req, struct stores__turn_all, req);
    const char *cursor = stores__redis_text(stores__redis_at(*reply, 0), NULL);
    const struct redisReply *keys = stores__redis_at(*reply, 1);
    bool ok = cursor != NULL && strlen(cursor) < sizeof all->cursor;
    for (size_t i = 0; ok && i < stores__redis_count(keys); i++) {
        size_t len = 0;
        const char *key = stores__redis_text(stores__redis_at(keys, i), &len);
        ok = take_key(all->engine, key, len);
    }
    if (!ok) {
        later(all);
        return;
    }
    memcpy(all->cursor, cursor, strlen(cursor) + 1);
    if (strcmp(cursor, "0") != 0) {
        next_page(all);
        return;
    }
    next_node(all);
}

static void next_node(struct stores__turn_all *all) {
    struct stores__cache *cache = all->engine->cache;
    struct stores__node *node = stores__node_after(cache, all->serial);
    if (cache->map != NULL && !cache->map->learned) {
        later(all); /* there are nodes that nobody has told of */
    } else if (node != NULL) {
        all->serial = node->serial;
        memcpy(all->cursor, "0", 2);
        next_page(all);
    } else {
        all->running = false;
        all->due = all->again;
        start(all);
    }
}

static void next_page(struct stores__turn_all *all) {
    struct stores__cache *cache = all->engine->cache;
    struct stores__args args = {.node = stores__node_after(cache, all->serial - 1)};
    bool same = args.node != NULL && args.node->serial == all->serial;
    if (cache->closed || !same || !stores__node_up(args.node) ||
        !stores__args_scan(&args, cache->prefix, all->cursor, "{*}")) {
        stores__args_free(&args);
        later(all);
        return;
    }
    all->req.done = got_page;
    if (!stores__args_send(&args, cache, &all->req, NULL, 0)) {
        later(all);
        return;
    }
    stores__nodes_flush(cache);
}

void stores__turn_all(stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    if (cache == NULL) return;
    for (struct stores__list *at = engine->epochs.next; at != &engine->epochs; at = at->next) {
        stores__epoch_bypassed(STORES__CONTAINER(at, struct stores__epoch, link));
    }
    if (cache->all == NULL) return;
    cache->all->due = true;
    if (cache->all->running) cache->all->again = true;
    start(cache->all);
}

bool stores__turn_all_new(stores_engine *engine) {
    struct stores__turn_all *all = calloc(1, sizeof *all);
    if (all == NULL) return false;
    if (!stores__timer_set(&engine->timers, &all->timer, UINT64_MAX)) {
        free(all);
        return false;
    }
    all->engine = engine;
    all->timer.fire = try_again;
    engine->cache->all = all;
    return true;
}

void stores__turn_all_stop(stores_engine *engine) {
    if (engine->cache == NULL || engine->cache->all == NULL) return;
    stores__timer_stop(&engine->timers, &engine->cache->all->timer);
}

void stores__turn_all_free(stores_engine *engine) {
    stores__turn_all_stop(engine);
    free(engine->cache->all);
    engine->cache->all = NULL;
}

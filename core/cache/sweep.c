/*
 * The janitor: rows of dead epochs are never read, and values among them expire, but intents have
 * no lifetime. SCAN gives a page of keys, then the epochs of their tables are read; a row whose
 * epoch is not the present one is unlinked. In this order: an epoch that turns in between makes
 * more rows dead, never fewer. Of a cluster each node is asked in turn, and each table by itself,
 * for a command is about one slot.
 */
#include <stdio.h>

#include "cache/cache.h"

struct sweep {
    struct stores__redis_req req;
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
    struct redisReply *page; /* what SCAN gave */
    uint64_t serial; /* of the node whose page it is */
    size_t at; /* of a cluster: the key on the page whose table is looked at */
    size_t rows; /* keys of rows on the page, or of that table */
    char cursor[24];
    int64_t unlinked;
};

static void next_page(struct sweep *sweep);
static void ask_epochs(struct sweep *sweep);

static void finish(struct sweep *sweep, const char *why) {
    stores_op *op = sweep->op;
    if (sweep->page != NULL) stores__redis_reply_free(sweep->page);
    if (op != NULL && why != NULL) {
        stores__op_failf(op, STORES_CACHE_FAILURE, "%s", why);
    } else if (op != NULL) {
        op->affected = sweep->unlinked;
        stores__op_finish(op);
    }
    free(sweep);
}

/* An answer that is not what the command gives: Redis is gone, or refuses it. Nothing is dead
 * then. */
static void refused(struct sweep *sweep, const struct redisReply *reply) {
    const char *says = stores__redis_error(reply);
    char why[256];
    snprintf(why, sizeof why, "Redis refuses to sweep: %.200s", says ? says : "a strange answer");
    finish(sweep,
           reply == NULL || sweep->engine->cache->closed ? "Redis was lost while sweeping" : why);
}

/* What a row's key tells: its table, as `{<oid>}`, and the part of an epoch. */
struct key_parts {
    const char *tag, *part;
    size_t tag_len, part_len;
};

/* False: it does not begin so, or no epoch stands behind this mark. */
static bool read_as(const char *key, size_t len, const char *prefix, char mark,
                    struct key_parts *parts) {
    const char *end = key + len, *tag = key + strlen(prefix);
    if (len <= strlen(prefix) || memcmp(key, prefix, strlen(prefix)) != 0 || tag[0] != '{') {
        return false;
    }
    const char *close = memchr(tag, '}', (size_t)(end - tag));
    if (close == NULL || end - close < 2 || close[1] != mark) return false;
    const char *slash = memchr(close + 2, '/', (size_t)(end - close) - 2);
    if (slash == NULL) return false;
    *parts = (struct key_parts){tag, close + 2, (size_t)(close - tag) + 1,
                                (size_t)(slash - close) - 2};
    return true;
}

/* False: it is no row's key, or one of another database. */
static bool read_key(const struct stores__cache *cache, const char *key, size_t len,
                     struct key_parts *parts) {
    return read_as(key, len, cache->rows_prefix, '~', parts) ||
           read_as(key, len, cache->prefix, '/', parts);
}

static const struct redisReply *page_keys(const struct sweep *sweep) {
    return stores__redis_at(sweep->page, 1);
}

/* Of a row's key on the page what it tells. False: it is another key. */
static bool page_key(const struct sweep *sweep, size_t i, struct key_parts *parts) {
    size_t len = 0;
    const char *key = stores__redis_text(stores__redis_at(page_keys(sweep), i), &len);
    return key != NULL && read_key(sweep->engine->cache, key, len, parts);
}

static bool same_table(const struct sweep *sweep, size_t a, size_t b) {
    struct key_parts one, other;
    return page_key(sweep, a, &one) && page_key(sweep, b, &other) && one.tag_len == other.tag_len &&
           memcmp(one.tag, other.tag, one.tag_len) == 0;
}

/* Whether the key is of a row that this look is about. */
static bool is_meant(const struct sweep *sweep, size_t i) {
    struct key_parts parts;
    if (sweep->engine->cache->map != NULL) return same_table(sweep, sweep->at, i);
    return page_key(sweep, i, &parts);
}

/* Goes on to the next table on the page that was not looked at. False: there is none. */
static bool next_table(struct sweep *sweep) {
    size_t count = stores__redis_count(page_keys(sweep));
    struct key_parts parts;
    if (sweep->engine->cache->map == NULL) return false;
    while (++sweep->at < count) {
        bool met = !page_key(sweep, sweep->at, &parts);
        for (size_t i = 0; !met && i < sweep->at; i++) met = same_table(sweep, sweep->at, i);
        if (!met) return true;
    }
    return false;
}

static void page_done(struct sweep *sweep) {
    struct stores__cache *cache = sweep->engine->cache;
    if (sweep->op != NULL && next_table(sweep)) {
        ask_epochs(sweep);
        return;
    }
    stores__redis_reply_free(sweep->page);
    sweep->page = NULL;
    if (strcmp(sweep->cursor, "0") == 0) {
        struct stores__node *next = stores__node_after(cache, sweep->serial);
        sweep->serial = next != NULL ? next->serial : 0;
    }
    if (sweep->op == NULL || sweep->serial == 0) {
        finish(sweep, NULL);
    } else {
        next_page(sweep);
    }
}

/* The node whose page it is; NULL: it is gone, and what it had is elsewhere. */
static struct stores__node *page_node(const struct sweep *sweep) {
    struct stores__node *node = stores__node_after(sweep->engine->cache, sweep->serial - 1);
    return node != NULL && node->serial == sweep->serial ? node : NULL;
}

/* A slot that moves, or has moved: its rows are somebody else's to sweep. */
static bool is_elsewhere(const struct redisReply *reply) {
    enum stores__slot_says says = stores__slot_says(reply);
    return says != STORES__SLOT_FINE && says != STORES__SLOT_DOWN;
}

static void unlinked(struct stores__redis_req *req, struct redisReply **reply) {
    struct sweep *sweep = STORES__CONTAINER(req, struct sweep, req);
    int64_t count = stores__redis_integer(*reply, is_elsewhere(*reply) ? 0 : -1);
    if (count < 0) {
        refused(sweep, *reply);
        return;
    }
    sweep->unlinked += count;
    page_done(sweep);
}

static bool is_dead(const struct redisReply *present, const struct key_parts *parts) {
    size_t len = 0;
    const char *value = stores__redis_text(present, &len);
    if (value == NULL || len == 0) return true;
    return stores__epoch_part(value + 1, len - 1) != parts->part_len ||
           memcmp(value + 1, parts->part, parts->part_len) != 0;
}

static void got_epochs(struct stores__redis_req *req, struct redisReply **reply) {
    struct sweep *sweep = STORES__CONTAINER(req, struct sweep, req);
    struct stores__cache *cache = sweep->engine->cache;
    const struct redisReply *keys = page_keys(sweep);
    struct stores__args args = {.node = page_node(sweep)};
    size_t row = 0, dead = 0;
    if (is_elsewhere(*reply)) {
        page_done(sweep);
        return;
    }
    if (stores__redis_count(*reply) != sweep->rows || cache->closed) {
        refused(sweep, *reply);
        return;
    }
    stores__args_str(&args, "UNLINK");
    for (size_t i = 0; i < stores__redis_count(keys); i++) {
        size_t len = 0;
        struct key_parts parts;
        const char *key = stores__redis_text(stores__redis_at(keys, i), &len);
        if (!is_meant(sweep, i) || !page_key(sweep, i, &parts)) continue;
        if (is_dead(stores__redis_at(*reply, row++), &parts)) {
            stores__args_add(&args, key, len);
            dead++;
        }
    }
    if (dead == 0) {
        stores__args_free(&args);
        page_done(sweep);
        return;
    }
    sweep->req.done = unlinked;
    if (!stores__args_send(&args, cache, &sweep->req, NULL, 0)) finish(sweep, "no memory");
    stores__nodes_flush(cache);
}

static void got_page(struct stores__redis_req *req, struct redisReply **reply) {
    struct sweep *sweep = STORES__CONTAINER(req, struct sweep, req);
    struct stores__cache *cache = sweep->engine->cache;
    const char *cursor = stores__redis_text(stores__redis_at(*reply, 0), NULL);
    if (cursor == NULL || cache->closed || strlen(cursor) >= sizeof sweep->cursor) {
        refused(sweep, *reply);
        return;
    }
    strcpy(sweep->cursor, cursor);
    sweep->page = *reply;
    *reply = NULL;
    sweep->at = 0;
    ask_epochs(sweep);
}

static void ask_epochs(struct sweep *sweep) {
    struct stores__cache *cache = sweep->engine->cache;
    struct stores__args args = {.node = page_node(sweep)};
    stores__args_str(&args, "MGET");
    sweep->rows = 0;
    for (size_t i = 0; i < stores__redis_count(page_keys(sweep)); i++) {
        struct key_parts parts;
        if (!is_meant(sweep, i) || !page_key(sweep, i, &parts)) continue;
        stores__args_add(&args, cache->prefix, strlen(cache->prefix));
        stores__buf_add(&args.buf, parts.tag, parts.tag_len);
        sweep->rows++;
    }
    if (sweep->rows == 0) {
        stores__args_free(&args);
        page_done(sweep);
        return;
    }
    sweep->req.done = got_epochs;
    if (!stores__args_send(&args, cache, &sweep->req, NULL, 0)) finish(sweep, "no memory");
    stores__nodes_flush(cache);
}

static void next_page(struct sweep *sweep) {
    struct stores__cache *cache = sweep->engine->cache;
    struct stores__args args = {.node = page_node(sweep)};
    /* what the rows' prefix and that of older versions' rows have in common */
    const char *begins = cache->fixed_prefix != NULL ? cache->prefix : STORES__KEYS_BEGIN;
    bool ok = stores__args_scan(&args, begins, sweep->cursor, "*{*}?*/*") && !cache->closed;
    sweep->req.done = got_page;
    if (!ok) stores__args_free(&args);
    if (!ok || !stores__args_send(&args, cache, &sweep->req, NULL, 0)) {
        finish(sweep, "no memory");
        return;
    }
    stores__nodes_flush(cache);
}

static stores_outcome leave(stores_op *op) {
    struct sweep *sweep = op->stage;
    sweep->op = NULL;
    return STORES_OUTCOME_UNKNOWN;
}

stores_op *stores_sweep(stores_engine *engine, const stores_call *call) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    struct stores__cache *cache = engine->cache;
    if (cache == NULL) {
        stores__op_failf(op, STORES_UNSUPPORTED, "the engine has no cache to sweep");
        return op;
    }
    if (cache->prefix[0] == '\0' || !stores__cache_up(cache)) {
        stores__op_failf(op, STORES_CACHE_FAILURE, "both servers have not been reached yet");
        return op;
    }
    struct sweep *sweep = calloc(1, sizeof *sweep);
    if (sweep == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory to sweep");
        return op;
    }
    sweep->engine = engine;
    sweep->op = op;
    strcpy(sweep->cursor, "0");
    struct stores__node *first = stores__node_after(cache, 0);
    sweep->serial = first != NULL ? first->serial : 0;
    op->stage = sweep;
    op->leave = leave;
    next_page(sweep);
    return op;
}

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

/* The length of the table's part of a row's key, `<prefix>{<table>}`; 0: it is no row's key. */
static size_t table_part(const char *key, size_t len, const char **epoch, size_t *epoch_len) {
    const char *last = NULL, *before = NULL;
    for (size_t i = len; i > 0 && before == NULL; i--) {
        if (key[i - 1] != '/') continue;
        if (last == NULL) {
            last = key + i - 1;
        } else {
            before = key + i - 1;
        }
    }
    if (before == NULL || before == key || before[-1] != '}') return 0;
    *epoch = before + 1;
    *epoch_len = (size_t)(last - before) - 1;
    return (size_t)(before - key);
}

static const struct redisReply *page_keys(const struct sweep *sweep) {
    return stores__redis_at(sweep->page, 1);
}

/* The table of a key of a row on the page, as part of that; NULL: it is another key. */
static const char *page_table(const struct sweep *sweep, size_t i, size_t *len) {
    size_t key_len = 0, epoch_len = 0;
    const char *epoch, *key = stores__redis_text(stores__redis_at(page_keys(sweep), i), &key_len);
    *len = key != NULL ? table_part(key, key_len, &epoch, &epoch_len) : 0;
    return *len > 0 ? key : NULL;
}

static bool same_table(const struct sweep *sweep, size_t a, size_t b) {
    size_t len = 0, other_len = 0;
    const char *table = page_table(sweep, a, &len), *other = page_table(sweep, b, &other_len);
    return table != NULL && other != NULL && len == other_len && memcmp(table, other, len) == 0;
}

/* Whether the key is of a row that this look is about. */
static bool is_meant(const struct sweep *sweep, size_t i) {
    size_t len = 0;
    if (sweep->engine->cache->map != NULL) return same_table(sweep, sweep->at, i);
    return page_table(sweep, i, &len) != NULL;
}

/* Goes on to the next table on the page that was not looked at. False: there is none. */
static bool next_table(struct sweep *sweep) {
    size_t count = stores__redis_count(page_keys(sweep)), len = 0;
    if (sweep->engine->cache->map == NULL) return false;
    while (++sweep->at < count) {
        bool met = page_table(sweep, sweep->at, &len) == NULL;
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

static bool is_dead(const struct redisReply *present, const char *epoch, size_t len) {
    size_t present_len = 0;
    const char *value = stores__redis_text(present, &present_len);
    if (value == NULL) return true;
    return present_len != len + 1 || memcmp(value + 1, epoch, len) != 0;
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
        size_t len = 0, epoch_len = 0;
        const char *epoch, *key = stores__redis_text(stores__redis_at(keys, i), &len);
        if (!is_meant(sweep, i) || table_part(key, len, &epoch, &epoch_len) == 0) continue;
        if (is_dead(stores__redis_at(*reply, row++), epoch, epoch_len)) {
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
        size_t len = 0;
        const char *table = page_table(sweep, i, &len);
        if (!is_meant(sweep, i)) continue;
        stores__args_add(&args, table, len);
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
    bool ok = stores__args_scan(&args, cache, sweep->cursor, "{*}/*") && !cache->closed;
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

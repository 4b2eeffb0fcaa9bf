/*
 * The janitor: rows of dead epochs are never read, and values among them expire, but intents have
 * no lifetime. SCAN gives a page of keys, then the epochs of their tables are read; a row whose
 * epoch is not the present one is unlinked. In this order: an epoch that turns in between makes more
 * rows dead, never fewer.
 */
#include <stdio.h>

#include "cache/cache.h"

struct sweep {
    struct stores__redis_req req;
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
    struct redisReply *page; /* what SCAN gave */
    size_t rows; /* keys of rows on the page */
    char cursor[24];
    int64_t unlinked;
};

static void next_page(struct sweep *sweep);

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

/* An answer that is not what the command gives: Redis is gone, or refuses it. Nothing is dead then. */
static void refused(struct sweep *sweep, const struct redisReply *reply) {
    const char *says = stores__redis_error(reply);
    char why[256];
    snprintf(why, sizeof why, "Redis refuses to sweep: %.200s", says ? says : "a strange answer");
    finish(sweep, reply == NULL || sweep->engine->cache->redis == NULL
                      ? "Redis was lost while sweeping"
                      : why);
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

static void page_done(struct sweep *sweep) {
    stores__redis_reply_free(sweep->page);
    sweep->page = NULL;
    if (sweep->op == NULL || strcmp(sweep->cursor, "0") == 0) {
        finish(sweep, NULL);
    } else {
        next_page(sweep);
    }
}

static void unlinked(struct stores__redis_req *req, struct redisReply **reply) {
    struct sweep *sweep = STORES__CONTAINER(req, struct sweep, req);
    int64_t count = stores__redis_integer(*reply, -1);
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
    struct stores__args args = {0};
    size_t row = 0, dead = 0;
    if (stores__redis_count(*reply) != sweep->rows || cache->redis == NULL) {
        refused(sweep, *reply);
        return;
    }
    stores__args_str(&args, "UNLINK");
    for (size_t i = 0; i < stores__redis_count(keys); i++) {
        size_t len = 0, epoch_len = 0;
        const char *epoch, *key = stores__redis_text(stores__redis_at(keys, i), &len);
        if (key == NULL || table_part(key, len, &epoch, &epoch_len) == 0) continue;
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
    stores__redis_flush(cache->redis);
}

static void got_page(struct stores__redis_req *req, struct redisReply **reply) {
    struct sweep *sweep = STORES__CONTAINER(req, struct sweep, req);
    struct stores__cache *cache = sweep->engine->cache;
    struct stores__args args = {0};
    const char *cursor = stores__redis_text(stores__redis_at(*reply, 0), NULL);
    sweep->rows = 0;
    if (cursor == NULL || cache->redis == NULL || strlen(cursor) >= sizeof sweep->cursor) {
        refused(sweep, *reply);
        return;
    }
    strcpy(sweep->cursor, cursor);
    sweep->page = *reply;
    *reply = NULL;
    stores__args_str(&args, "MGET");
    const struct redisReply *keys = page_keys(sweep);
    for (size_t i = 0; i < stores__redis_count(keys); i++) {
        size_t len = 0, epoch_len, part;
        const char *epoch, *key = stores__redis_text(stores__redis_at(keys, i), &len);
        part = key ? table_part(key, len, &epoch, &epoch_len) : 0;
        if (part == 0) continue;
        stores__args_add(&args, key, part);
        sweep->rows++;
    }
    if (sweep->rows == 0) {
        stores__args_free(&args);
        page_done(sweep);
        return;
    }
    sweep->req.done = got_epochs;
    if (!stores__args_send(&args, cache, &sweep->req, NULL, 0)) finish(sweep, "no memory");
    stores__redis_flush(cache->redis);
}

static void next_page(struct sweep *sweep) {
    struct stores__cache *cache = sweep->engine->cache;
    struct stores__args args = {0};
    bool ok = stores__args_scan(&args, cache, sweep->cursor, "{*}/*") && cache->redis != NULL;
    sweep->req.done = got_page;
    if (!ok) stores__args_free(&args);
    if (!ok || !stores__args_send(&args, cache, &sweep->req, NULL, 0)) {
        finish(sweep, "no memory");
        return;
    }
    stores__redis_flush(cache->redis);
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
    if (cache == NULL || cache->prefix[0] == '\0' || !stores__cache_up(cache)) {
        stores__op_failf(op, STORES_CACHE_FAILURE,
                         "the engine has no cache, or has not reached both servers yet");
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
    op->stage = sweep;
    op->leave = leave;
    next_page(sweep);
    return op;
}

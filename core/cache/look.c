/*
 * What tools may see of the cache, to tell people what is there: the names of keys, whose an epoch
 * is, and the words of Redis. The protocol uses nothing of it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cache/epoch_internal.h"

struct look {
    struct stores__redis_req req;
    stores_engine *engine;
    stores_op *op; /* NULL: it left */
};

/* ---- Names ---------------------------------------------------------------------------------- */

size_t stores_cache_key(stores_engine *engine, uint32_t table, const char *epoch, int64_t id,
                        char out[STORES_KEY_SIZE]) {
    const struct stores__cache *cache = engine->cache;
    if (cache == NULL || cache->prefix[0] == '\0') return 0;
    struct stores__epoch *of = stores__epoch_of(engine, table);
    if (of == NULL) return 0;
    struct stores__args args = {0};
    if (epoch != NULL) {
        stores__args_key(&args, of, epoch, id);
    } else {
        stores__args_epoch_key(&args, of);
    }
    size_t len = args.failed || args.buf.failed ? 0 : args.buf.len;
    if (len > STORES_KEY_SIZE) len = 0;
    if (len > 0) memcpy(out, args.buf.data, len);
    stores__args_free(&args);
    stores__epoch_let_go(of);
    return len;
}

bool stores_cache_is_ours(stores_engine *engine, uint32_t table, const char *epoch) {
    if (engine->cache == NULL || !stores__past_known(engine->cache)) return false;
    struct stores__epoch *of = stores__epoch_of(engine, table);
    if (of == NULL) return false;
    bool ours = stores__epoch_is_ours(of, epoch);
    stores__epoch_let_go(of);
    return ours;
}

size_t stores_cache_nodes(const stores_engine *engine) {
    struct stores__cache *cache = engine->cache;
    size_t count = 0;
    if (cache == NULL || cache->closed) return 0;
    if (cache->map != NULL && !cache->map->learned) return 0;
    for (struct stores__node *node = stores__node_after(cache, 0); node != NULL; count++) {
        node = stores__node_after(cache, node->serial);
    }
    return count;
}

static struct stores__node *node_at(struct stores__cache *cache, size_t index) {
    struct stores__node *node = stores__node_after(cache, 0);
    for (; node != NULL && index > 0; index--) node = stores__node_after(cache, node->serial);
    return node;
}

/* ---- The words of Redis --------------------------------------------------------------------- */

static size_t count_texts(const struct redisReply *reply) {
    size_t elements = stores__redis_count(reply), count = 0;
    if (elements == 0) return 1;
    for (size_t i = 0; i < elements; i++) {
        const struct redisReply *element = stores__redis_at(reply, i);
        count += stores__redis_count(element) > 0 ? count_texts(element) : 1;
    }
    return count;
}

/* Where the documents of an op are written, one after the other. Their texts go into one buffer,
 * which may move: until it is complete they have their offsets alone. */
struct writing {
    stores_op *op;
    struct stores__buf buf;
    size_t at;
};

static void write_text(struct writing *writing, const struct redisReply *reply) {
    char digits[24];
    size_t len = 0;
    const char *text = stores__redis_text(reply, &len);
    int64_t number = stores__redis_integer(reply, INT64_MIN);
    struct stores__doc *doc = &writing->op->docs[writing->at++];
    if (text == NULL && number != INT64_MIN) {
        len = (size_t)snprintf(digits, sizeof digits, "%" PRId64, number);
        text = digits;
    }
    doc->id = text != NULL ? (int64_t)writing->buf.len : -1;
    doc->len = len;
    if (text != NULL) stores__buf_add(&writing->buf, text, len);
}

static void write_texts(struct writing *writing, const struct redisReply *reply) {
    size_t elements = stores__redis_count(reply);
    for (size_t i = 0; i < elements; i++) {
        const struct redisReply *element = stores__redis_at(reply, i);
        if (stores__redis_count(element) > 0) {
            write_texts(writing, element);
        } else {
            write_text(writing, element);
        }
    }
    if (elements == 0) write_text(writing, reply);
}

/* Gives the op what Redis said. False: no memory. */
static bool keep(stores_op *op, const struct redisReply *reply) {
    struct writing writing = {.op = op};
    if (!stores__op_docs(op, count_texts(reply))) return false;
    write_texts(&writing, reply);
    stores__buf_add(&writing.buf, "", 1); /* there is one, whatever was said */
    struct stores__blob *blob = writing.buf.failed ? NULL
                                                   : stores__blob_new(writing.buf.data, free);
    if (blob == NULL) {
        stores__buf_free(&writing.buf);
        return false;
    }
    for (size_t i = 0; i < op->doc_count; i++) {
        struct stores__doc *doc = &op->docs[i];
        const char *text = doc->id >= 0 ? writing.buf.data + doc->id : NULL;
        stores__op_set_doc(op, i, 0, text, doc->len, blob);
    }
    stores__blob_drop(blob);
    return true;
}

static void answered(struct stores__redis_req *req, struct redisReply **reply) {
    struct look *look = STORES__CONTAINER(req, struct look, req);
    const char *error = stores__redis_error(*reply);
    char words[256];
    if (look->op == NULL) {
        free(look);
        return;
    }
    if (*reply == NULL) {
        stores__op_failf(look->op, STORES_CACHE_FAILURE, "Redis is not reachable: %s",
                         stores__trouble_why(look->engine->cache));
    } else if (error != NULL) {
        stores__redis_words(error, words, sizeof words);
        stores__op_failf(look->op, STORES_CACHE_FAILURE, "Redis refuses: %s", words);
    } else if (keep(look->op, *reply)) {
        stores__op_finish(look->op);
    } else {
        stores__op_failf(look->op, STORES_NO_MEMORY, "no memory for what Redis said");
    }
    free(look);
}

static stores_outcome leave(stores_op *op) {
    struct look *look = op->stage;
    look->op = NULL;
    return STORES_OUTCOME_UNKNOWN;
}

static struct stores__node *node_of(stores_engine *engine, uint32_t table, size_t index) {
    if (table == 0) return node_at(engine->cache, index);
    struct stores__epoch *epoch = stores__epoch_of(engine, table);
    struct stores__node *node = epoch != NULL ? stores__epoch_node(epoch) : NULL;
    if (epoch != NULL) stores__epoch_let_go(epoch);
    return node;
}

stores_op *stores_redis(stores_engine *engine, const stores_call *call, uint32_t table, size_t node,
                        int argc, const char *const *argv, const size_t *lens) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    struct stores__cache *cache = engine->cache;
    struct stores__args args = {0};
    if (cache == NULL || cache->closed || argc < 1) {
        stores__op_failf(op, STORES_CACHE_FAILURE, "the engine has no cache");
        return op;
    }
    args.node = node_of(engine, table, node);
    struct look *look = args.node != NULL ? calloc(1, sizeof *look) : NULL;
    if (look == NULL) {
        stores__op_failf(op, STORES_CACHE_FAILURE, "there is no such node of Redis, or no memory");
        return op;
    }
    look->engine = engine;
    look->op = op;
    look->req.done = answered;
    for (int i = 0; i < argc; i++) stores__args_add(&args, argv[i], lens[i]);
    op->stage = look;
    if (!stores__args_send(&args, cache, &look->req, NULL, 0)) {
        op->stage = NULL;
        free(look);
        stores__op_failf(op, STORES_NO_MEMORY, "no memory to ask Redis");
        return op;
    }
    look->req.quiet = true; /* it is no trouble of the cache's */
    op->leave = leave;
    return op;
}

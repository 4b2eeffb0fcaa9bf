/* A command to Redis in the making: the keys of the protocol, and what goes with them. */
#include <inttypes.h>
#include <stdio.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"

static bool more_offsets(struct stores__args *args) {
    int room = args->room ? args->room * 2 : 64;
    size_t *offsets = realloc(args->many, (size_t)room * sizeof *offsets);
    if (offsets == NULL) {
        args->failed = true;
        return false;
    }
    if (args->many == NULL) memcpy(offsets, args->few, sizeof args->few);
    args->many = offsets;
    args->room = room;
    return true;
}

static bool begin_arg(struct stores__args *args) {
    if (args->count == (args->many ? args->room : STORES__ARGS_FEW) && !more_offsets(args)) {
        return false;
    }
    (args->many ? args->many : args->few)[args->count++] = args->buf.len;
    return true;
}

size_t stores__args_offset(const struct stores__args *args, int index) {
    return (args->many ? args->many : args->few)[index];
}

void stores__args_add(struct stores__args *args, const void *data, size_t len) {
    if (begin_arg(args)) stores__buf_add(&args->buf, data, len);
}

void stores__args_str(struct stores__args *args, const char *text) {
    stores__args_add(args, text, strlen(text));
}

static void add_tag(struct stores__args *args, const struct stores__epoch *epoch,
                    const char *prefix) {
    args->node = stores__epoch_node(epoch);
    stores__buf_str(&args->buf, prefix);
    stores__buf_str(&args->buf, epoch->tag);
}

static void add_table(struct stores__args *args, const struct stores__epoch *epoch) {
    add_tag(args, epoch, epoch->engine->cache->prefix);
}

/* What the keys of rows under an epoch begin with; gives where in it the epoch stands. */
static size_t add_rows(struct stores__args *args, const struct stores__epoch *epoch,
                       const char *text) {
    const struct stores__cache *cache = epoch->engine->cache;
    size_t at = args->buf.len, len = strlen(text), part = stores__epoch_part(text, len);
    add_tag(args, epoch, part < len ? cache->rows_prefix : cache->prefix);
    stores__buf_add(&args->buf, part < len ? "~" : "/", 1); /* older ones sweep what has a slash */
    size_t place = args->buf.len - at;
    stores__buf_add(&args->buf, text, part);
    stores__buf_add(&args->buf, "/", 1);
    return place;
}

void stores__args_epoch_key(struct stores__args *args, const struct stores__epoch *epoch) {
    if (begin_arg(args)) add_table(args, epoch);
}

void stores__args_held_key(struct stores__args *args, const struct stores__epoch *epoch) {
    if (!begin_arg(args)) return;
    add_table(args, epoch);
    stores__buf_str(&args->buf, STORES__HELD_KEY);
}

void stores__args_longest(struct stores__args *args, const struct stores__epoch *epoch) {
    char text[24];
    uint64_t longest = epoch->longest > 0 ? epoch->longest : STORES__LEASE_MS;
    snprintf(text, sizeof text, "%" PRIu64, longest);
    stores__args_str(args, text);
}

void stores__args_key(struct stores__args *args, const struct stores__epoch *epoch,
                      const char *text, int64_t id) {
    char digits[STORES__ID_SIZE];
    if (!begin_arg(args)) return;
    add_rows(args, epoch, text);
    stores__buf_add(&args->buf, digits, stores__id_write(id, digits));
}

/* Whether the last row key is of this epoch: what it begins with serves the next one, too. */
static bool same_epoch(const struct stores__args *args, const char *epoch) {
    size_t len = args->rows_len - args->rows_epoch - 1;
    return !args->buf.failed && stores__epoch_part(epoch, strlen(epoch)) == len &&
           memcmp(args->buf.data + args->rows_at + args->rows_epoch, epoch, len) == 0;
}

void stores__args_row_key(struct stores__args *args, const struct stores__table *table,
                          const char *epoch, int64_t id) {
    char text[STORES__ID_SIZE];
    struct stores__buf *buf = &args->buf;
    size_t at = buf->len;
    if (!begin_arg(args)) return;
    if (args->rows_of == table && same_epoch(args, epoch)) {
        if (!stores__buf_reserve(buf, args->rows_len)) return;
        memcpy(buf->data + at, buf->data + args->rows_at, args->rows_len);
        buf->len += args->rows_len;
    } else {
        args->rows_epoch = add_rows(args, table->epoch, epoch);
        args->rows_of = table;
        args->rows_at = at;
        args->rows_len = buf->len - at;
    }
    stores__buf_add(buf, text, stores__id_write(id, text));
}

/* No row of any epoch: who looks for those (cache/sweep.c) goes by the slashes. */
void stores__args_hint_key(struct stores__args *args, const struct stores__table *table,
                           const char *digest) {
    if (!begin_arg(args)) return;
    add_table(args, table->epoch);
    stores__buf_add(&args->buf, "=", 1);
    stores__buf_str(&args->buf, digest);
}

bool stores__args_scan(struct stores__args *args, const char *begins, const char *cursor,
                       const char *pattern) {
    struct stores__buf match = {0};
    for (const char *c = begins; *c; c++) {
        if (strchr("*?[]\\", *c) != NULL) stores__buf_add(&match, "\\", 1);
        stores__buf_add(&match, c, 1);
    }
    stores__buf_str(&match, pattern);
    stores__args_str(args, "SCAN");
    stores__args_str(args, cursor);
    stores__args_str(args, "MATCH");
    stores__args_add(args, match.data, match.len);
    stores__args_str(args, "COUNT");
    stores__args_str(args, "500");
    bool ok = !match.failed;
    stores__buf_free(&match);
    return ok;
}

void stores__args_free(struct stores__args *args) {
    stores__buf_free(&args->buf);
    free(args->many);
    memset(args, 0, sizeof *args);
}

/* Where each of them is, in few, or in what is to be freed. NULL: there is no memory. */
static const char **arrange(const struct stores__args *args, const char **few, size_t **lens) {
    int count = args->count;
    bool many = count > STORES__ARGS_FEW;
    if (many) *lens = malloc((size_t)count * sizeof **lens);
    const char **argv = many ? malloc((size_t)count * sizeof *argv) : few;
    bool ok = argv != NULL && *lens != NULL && !args->failed && !args->buf.failed;
    for (int i = 0; ok && i < count; i++) {
        size_t at = stores__args_offset(args, i);
        size_t end = i + 1 < count ? stores__args_offset(args, i + 1) : args->buf.len;
        argv[i] = args->buf.data + at;
        (*lens)[i] = end - at;
    }
    if (!ok && many) free(argv);
    return ok ? argv : NULL;
}

static bool deliver(struct stores__args *args, struct stores__redis *redis,
                    struct stores__redis_req *req, struct stores__redis_script *script, int nkeys) {
    const char *few[STORES__ARGS_FEW];
    size_t few_lens[STORES__ARGS_FEW], *lens = few_lens;
    const char **argv = redis != NULL ? arrange(args, few, &lens) : NULL;
    int count = args->count;
    bool ok = argv != NULL;
    if (ok && req == NULL) {
        ok = stores__redis_say(redis, script, nkeys, count, argv, lens);
    } else if (ok) {
        ok = script ? stores__redis_script(redis, req, script, nkeys, count, argv, lens)
                    : stores__redis_send(redis, req, count, argv, lens);
    }
    if (argv != NULL && argv != few) free(argv);
    if (lens != few_lens) free(lens);
    stores__args_free(args);
    return ok;
}

bool stores__args_send(struct stores__args *args, struct stores__cache *cache,
                       struct stores__redis_req *req, struct stores__redis_script *script,
                       int nkeys) {
    return deliver(args, stores__node_link(args->node ? args->node : cache->node), req, script,
                   nkeys);
}

bool stores__args_say(struct stores__args *args, struct stores__redis *redis,
                      struct stores__redis_script *script, int nkeys) {
    return deliver(args, redis, NULL, script, nkeys);
}

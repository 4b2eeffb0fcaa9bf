/*
 * maker.c - the memory of replies. A reply and all its elements are a few pieces, which are freed
 * at once: the thousand texts of an MGET would each be a malloc and a free.
 */
#include "redis/maker.h"

#include <hiredis/hiredis.h>
#include <stddef.h>

#include "redis/reply.h"

enum { NESTED_MAX = 64 * 1024 };
/* The first piece of a few texts is one that malloc has at hand. */
enum { PIECE_MIN = 960, PIECE_MAX = 64 * 1024, PIECE_GROWS = 4, ELEMENT_GUESS = 192 };

struct piece {
    struct piece *next;
    size_t used, size;
    max_align_t data[];
};

struct root {
    redisReply reply; /* first: whoever has the reply has the root */
    struct piece *pieces;
};

static size_t aligned(size_t size) {
    return (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
}

/* guess: how much the reply may be in all; 0: that is not known any better. */
static void *take(struct root *root, size_t size, size_t guess) {
    struct piece *piece = root->pieces;

    size = aligned(size);
    if (piece == NULL || piece->size - piece->used < size) {
        if (guess == 0 && piece != NULL) guess = piece->size * PIECE_GROWS;
        size_t room = guess < PIECE_MIN ? PIECE_MIN : guess > PIECE_MAX ? PIECE_MAX : guess;
        if (room < size) room = size;
        piece = malloc(sizeof *piece + room);
        if (piece == NULL) return NULL;
        piece->next = root->pieces;
        piece->used = 0;
        piece->size = room;
        root->pieces = piece;
    }
    piece->used += size;
    return (char *)piece->data + piece->used - size;
}

/* A reply with so many bytes behind it; elements: of an array, or 0. */
static redisReply *new_reply(const redisReadTask *task, size_t extra, size_t elements) {
    struct stores__redis_maker *maker = task->privdata;
    size_t guess = elements * ELEMENT_GUESS;
    redisReply *reply;

    if (task->parent == NULL) {
        struct root *root = malloc(sizeof *root);
        if (root == NULL) return NULL;
        root->pieces = NULL;
        maker->root = root;
        reply = &root->reply;
        memset(reply, 0, sizeof *reply);
        if (extra > 0 && (reply->str = take(root, extra, extra + guess)) == NULL) {
            free(root);
            return NULL;
        }
    } else {
        reply = take(maker->root, aligned(sizeof *reply) + extra, 0);
        if (reply == NULL) return NULL;
        memset(reply, 0, sizeof *reply);
        reply->str = (char *)reply + aligned(sizeof *reply);
        ((redisReply *)task->parent->obj)->element[task->idx] = reply;
    }
    reply->type = task->type;
    return reply;
}

static void *new_text(const redisReadTask *task, char *text, size_t len) {
    redisReply *reply = new_reply(task, len + 1, 0);

    if (reply == NULL) return NULL;
    memcpy(reply->str, text, len);
    reply->str[len] = '\0';
    reply->len = len;
    return reply;
}

#if HIREDIS_MAJOR >= 1
static void *new_array(const redisReadTask *task, size_t count) {
#else
static void *new_array(const redisReadTask *task, int count) {
#endif
    struct stores__redis_maker *maker = task->privdata;
    size_t elements = (size_t)count;
    redisReply *reply;

    /* before any memory is touched: a count is cheap to send. Only SCAN nests. */
    if (elements > (task->parent == NULL ? maker->most : NESTED_MAX)) {
        maker->exceeded = true;
        return NULL;
    }
    reply = new_reply(task, elements * sizeof *reply->element, elements);
    if (reply == NULL) return NULL;
    if (elements > 0) {
        reply->element = memset(reply->str, 0, elements * sizeof *reply->element);
        reply->elements = elements;
    }
    reply->str = NULL;
    return reply;
}

static void *new_integer(const redisReadTask *task, long long value) {
    redisReply *reply = new_reply(task, 0, 0);

    if (reply == NULL) return NULL;
    reply->str = NULL;
    reply->integer = value;
    return reply;
}

static void *new_nil(const redisReadTask *task) {
    redisReply *reply = new_reply(task, 0, 0);

    if (reply != NULL) reply->str = NULL;
    return reply;
}

#if HIREDIS_MAJOR >= 1
/* What RESP3 alone sends, which nobody asked for. */
static void *new_double(const redisReadTask *task, double value, char *text, size_t len) {
    (void)value;
    return new_text(task, text, len);
}

static void *new_bool(const redisReadTask *task, int value) {
    return new_integer(task, value);
}
#endif

void stores__redis_reply_free(void *memory) {
    struct root *root = memory;

    if (root == NULL) return;
    while (root->pieces != NULL) {
        struct piece *piece = root->pieces;
        root->pieces = piece->next;
        free(piece);
    }
    free(root);
}

void stores__redis_reply_made_by(struct redisReader *reader, struct stores__redis_maker *maker) {
    static redisReplyObjectFunctions functions = {
        .createString = new_text,
        .createArray = new_array,
        .createInteger = new_integer,
        .createNil = new_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = new_double,
        .createBool = new_bool,
#endif
        .freeObject = stores__redis_reply_free
    };

    memset(maker, 0, sizeof *maker);
    reader->fn = &functions;
    reader->privdata = maker;
}

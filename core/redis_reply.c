#include "redis_reply.h"

#include <hiredis/hiredis.h>

#include "redis_link.h"

const char *stores__redis_text(const struct redisReply *reply, size_t *len) {
    if (reply == NULL) return NULL;
    if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS) return NULL;
    if (len != NULL) *len = (size_t)reply->len;
    return reply->str;
}

const char *stores__redis_error(const struct redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

int64_t stores__redis_integer(const struct redisReply *reply, int64_t fallback) {
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : fallback;
}

size_t stores__redis_count(const struct redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY ? (size_t)reply->elements : 0;
}

const struct redisReply *stores__redis_at(const struct redisReply *reply, size_t index) {
    return index < stores__redis_count(reply) ? reply->element[index] : NULL;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void *new_text(const redisReadTask *task, char *text, size_t len) {
    redisReply *reply = malloc(sizeof *reply + len + 1);

    if (reply == NULL) return NULL;
    memset(reply, 0, sizeof *reply);
    reply->type = task->type;
    reply->str = (char *)(reply + 1);
    memcpy(reply->str, text, len);
    reply->str[len] = '\0';
    reply->len = len;
    if (task->parent != NULL) ((redisReply *)task->parent->obj)->element[task->idx] = reply;
    return reply;
}

void stores__redis_reply_free(void *memory) {
    redisReply *reply = memory;

    if (reply == NULL) return;
    if (reply->str == (char *)(reply + 1)) {
        free(reply);
        return;
    }
    /* the others are of hiredis: it frees what is left of an array without its elements */
    for (size_t i = 0; reply->element != NULL && i < reply->elements; i++) {
        stores__redis_reply_free(reply->element[i]);
        reply->element[i] = NULL;
    }
    freeReplyObject(reply);
}

void stores__redis_reply_made_by(redisReader *reader, redisReplyObjectFunctions *functions) {
    *functions = *reader->fn; /* those of hiredis */
    functions->createString = new_text;
    functions->freeObject = stores__redis_reply_free;
    reader->fn = functions;
}

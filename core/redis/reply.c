#include "redis/reply.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

const char *stores__redis_text(const struct redisReply *reply, size_t *len) {
    if (reply == NULL) return NULL;
    if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS) return NULL;
    if (len != NULL) *len = (size_t)reply->len;
    return reply->str;
}

const char *stores__redis_error(const struct redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

void stores__redis_words(const char *error, char *out, size_t size) {
    char *quotes;

    snprintf(out, size, "%s", error);
    if ((quotes = strstr(out, ", with args")) != NULL) *quotes = '\0';
    out[strcspn(out, "\r\n")] = '\0';
}

bool stores__redis_passwordless(const char *error) {
    return strstr(error, "without any password configured") != NULL;
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

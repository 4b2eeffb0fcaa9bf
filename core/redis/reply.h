/* reply.h - reading replies of Redis, for those who do not include hiredis. */
#ifndef STORES_REDIS_REPLY_H
#define STORES_REDIS_REPLY_H

#include "base/base.h"

struct redisReply;

/* The text of a string or status reply, or NULL for every other kind; len may be NULL. */
const char *stores__redis_text(const struct redisReply *reply, size_t *len);
/* The text of an error reply, or NULL where it is none. */
const char *stores__redis_error(const struct redisReply *reply);
/* The words of an error, on one line, and without the arguments that a server quotes of a command
 * that it does not know: a document or a password may be among them. */
void stores__redis_words(const char *error, char *out, size_t size);
/* Whether it is what Redis says to AUTH where the default user has no password. */
bool stores__redis_passwordless(const char *error);
/* The integer of an integer reply, or the fallback. */
int64_t stores__redis_integer(const struct redisReply *reply, int64_t fallback);
/* The number of elements; 0 for what is no array. */
size_t stores__redis_count(const struct redisReply *reply);
const struct redisReply *stores__redis_at(const struct redisReply *reply, size_t index);

/* Frees a reply with all its elements; NULL is allowed. */
void stores__redis_reply_free(void *reply);

#endif

/*
 * sentinel.h - one conversation with one sentinel: it is reached by name or address, told who asks,
 * and then asked what its owner wants to know. Nothing of it keeps the loop alive, but for a name
 * that is being resolved. How long it may take is its owner's business.
 */
#ifndef STORES_REDIS_SENTINEL_H
#define STORES_REDIS_SENTINEL_H

#include "base/place.h"
#include "redis/socket.h"

struct stores__sentinel;
struct stores__tls_context;

/* All are called with the arg of open, from the loop, but for lost, which a flush may call too. */
struct stores__sentinel_hooks {
    void (*answer)(void *arg, const struct redisReply *reply); /* of a command; may close it */
    void (*lost)(void *arg, const char *why); /* of no more use: called once; close it */
};

/* What all conversations of one owner have in common; it outlives them, until what they held is
 * released. */
struct stores__sentinel_terms {
    uv_loop_t *loop;
    const char *master; /* the name that they know it by */
    const char *username, *password; /* NULL where there is none */
    struct stores__tls_context *tls; /* NULL: none */
    /* A socket was opened, and one is gone. The memory of a conversation, which may have had
     * several, goes with the last of them. */
    void (*held)(void *holder);
    void (*released)(void *holder);
    void *holder;
};

/* The hooks are not copied. NULL: it cannot be begun, why says why, and no hook is called. */
struct stores__sentinel *stores__sentinel_open(const struct stores__sentinel_terms *terms,
                                               const struct stores__place *place,
                                               const struct stores__sentinel_hooks *hooks,
                                               void *arg, char *why, size_t why_size);
/* Queues a command of a few words. False: no memory. */
bool stores__sentinel_say(struct stores__sentinel *sentinel, int argc, const char *const *argv);
/* Sends what is queued, once it is connected. */
void stores__sentinel_flush(struct stores__sentinel *sentinel);
/* Queues the question where the master is. False: no memory. */
bool stores__sentinel_where(struct stores__sentinel *sentinel);
/* Whether reply is an address; fills in place. */
bool stores__sentinel_place(const struct redisReply *reply, struct stores__place *place);
/* In a child of a fork: closes the parent's socket, with the deaf one in its place
 * (base/deaf.h). */
void stores__sentinel_deafen(struct stores__sentinel *sentinel, int deaf);
/* From now on no hook is called. NULL is allowed. */
void stores__sentinel_close(struct stores__sentinel *sentinel);

#endif

/*
 * socket.h - one connection attempt to Redis and what comes of it: a socket that is polled,
 * with hiredis' reader behind it, and TLS between the two where it is asked for. Knows nothing of
 * commands, greetings or retries.
 *
 * libuv closes handles on a later turn, so that each attempt has memory of its own.
 */
#ifndef STORES_REDIS_SOCKET_H
#define STORES_REDIS_SOCKET_H

#include <uv.h>

#include "redis/out.h"

struct redisReply;
struct stores__redis_socket;
struct stores__tls_context;

/* All are called with the arg of open, from the loop, but for lost and moved, which a flush may
 * call too, and a read outside of the loop all of them. Each may close the socket. */
struct stores__redis_socket_hooks {
    void (*connected)(void *arg);
    void (*readable)(void *arg); /* to be read, now or later in the turn */
    void (*moved)(void *arg, size_t in, size_t out); /* bytes came or went; before their replies */
    size_t (*expects)(void *arg); /* how many elements the next reply may have */
    void (*reply)(void *arg, struct redisReply *reply); /* reply is the hook's to free */
    /* Of no more use: called once; close it. By its end, or by what cannot be an answer. */
    void (*lost)(void *arg, const char *why);
    void (*garbled)(void *arg, const char *why);
    void (*closed)(void *arg); /* the socket is gone */
};

/* Starts to connect: to a numeric address, or where port is 0 to the path of a unix socket. The
 * hooks are not copied. NULL: it cannot be done, why says why, and no hook is called. */
struct stores__redis_socket *
stores__redis_socket_open(uv_loop_t *loop, const char *address, int port,
                          const struct stores__redis_socket_hooks *hooks, void *arg, char *why,
                          size_t why_size);
/* The longest text that a reply may have, in bytes. */
void stores__redis_socket_limit(struct stores__redis_socket *socket, size_t text_max);
/* To be called before the loop turns: connected is called when the handshake is over. host: what
 * the server's certificate has to be for. False: it cannot be done, and why says why. */
bool stores__redis_socket_secure(struct stores__redis_socket *socket,
                                 struct stores__tls_context *context, const char *host, char *why,
                                 size_t why_size);
/* NULL: there is no handshake under way; else what may be said of one that takes too long, or
 * "". */
const char *stores__redis_socket_shakes(const struct stores__redis_socket *socket);
/* In a child of a fork: closes the parent's socket, with the deaf one in its place
 * (base/deaf.h). */
void stores__redis_socket_deafen(struct stores__redis_socket *socket, int deaf);
/* From now on only closed is called. */
void stores__redis_socket_close(struct stores__redis_socket *socket);
/* Sends from out as much as goes without waiting, the rest by itself when it can: out must live as
 * long as the socket is open. */
void stores__redis_socket_flush(struct stores__redis_socket *socket, struct stores__redis_out *out);
/* Reads what is there, without waiting. */
void stores__redis_socket_read(struct stores__redis_socket *socket);

#endif

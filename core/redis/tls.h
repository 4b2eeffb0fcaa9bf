/*
 * tls.h - TLS of a connection to Redis: what came is given and read, what goes is written. Knows
 * nothing of the loop, of commands or of attempts. Only tls*.c see OpenSSL, of which they set
 * nothing for the whole process, and in whose queue of errors they leave nothing.
 */
#ifndef STORES_REDIS_TLS_H
#define STORES_REDIS_TLS_H

#include "base/err.h"
#include "redis/out.h"

#define STORES__TLS_WHY 432 /* bytes that a reason may have: names of certificates are long */

/* ---- What a link is asked to use ------------------------------------------------------------ */

struct stores__tls_context;

/* Copies config; nothing is read yet. NULL: no memory. */
struct stores__tls_context *stores__tls_context_new(const stores_tls *config);
/* NULL is allowed. Connections that were made with it live on. */
void stores__tls_context_free(struct stores__tls_context *context);
/* Its own copy of what it was made with. */
const stores_tls *stores__tls_context_config(const struct stores__tls_context *context);

/* ---- One connection ------------------------------------------------------------------------- */

struct stores__tls;

enum stores__tls_shaken { STORES__TLS_FAILED, STORES__TLS_MORE, STORES__TLS_DONE };

/* Reads the files of the context where they are not what they were. host: what was asked for, which
 * the certificate has to be for where the context names nobody else. NULL: why says why. */
struct stores__tls *stores__tls_open(struct stores__tls_context *context, const char *host,
                                     char *why, size_t why_size);
/* Tells the server nothing. NULL is allowed. */
void stores__tls_free(struct stores__tls *tls);

/* Takes what came. It stays the giver's, and must be there until it is all read. */
void stores__tls_give(struct stores__tls *tls, const char *data, size_t len);
/* Goes on with the handshake; what it has to say is sent with the next write. MORE: something has
 * to come. */
enum stores__tls_shaken stores__tls_shake(struct stores__tls *tls);
/* Whether anything came at all. */
bool stores__tls_heard(const struct stores__tls *tls);
/* The next bytes of what was given, valid until the next call; their number. 0: all is read but for
 * the beginning of a record. -1: it is over, stores__tls_why says how. */
ssize_t stores__tls_read(struct stores__tls *tls, const char **data);
/* Encrypts from out, which may be NULL, as much as the descriptor takes without waiting, and a
 * little more, which it keeps: all of it in one write where it is not much. Bytes sent, or -1 with
 * errno. */
ssize_t stores__tls_write(struct stores__tls *tls, struct stores__redis_out *out, int fd);
/* Bytes that are encrypted, and wait for a write. */
size_t stores__tls_unsent(const struct stores__tls *tls);
/* Says goodbye where that needs no waiting, and nothing went wrong. */
void stores__tls_leave(struct stores__tls *tls, int fd);
/* Why it is over, for a human; no secret in it. */
const char *stores__tls_why(const struct stores__tls *tls);

#endif

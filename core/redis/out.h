/*
 * out.h - commands on their way to Redis, in chunks that are sent as they are.
 *
 * A command lies in one piece in one chunk. A chunk leaves the queue when it is sent, but lives on
 * while somebody holds it: a script call keeps its arguments that way until its answer is there,
 * rather than copying them for a resend that hardly ever comes.
 */
#ifndef STORES_REDIS_OUT_H
#define STORES_REDIS_OUT_H

#include "base/base.h"

struct stores__redis_chunk {
    struct stores__list link;
    unsigned refs;
    size_t len, cap, sent;
    char data[];
};

struct stores__redis_out {
    struct stores__list chunks; /* oldest first; all but the last have unsent bytes */
    size_t unsent;
};

void stores__redis_out_init(struct stores__redis_out *out);
/* Forgets what was not sent and lets go of the chunks. */
void stores__redis_out_clear(struct stores__redis_out *out);
/* A chunk of the caller's own, for a command of one word that is sent again and again: to send it
 * needs no memory. NULL: there is none to make it. */
struct stores__redis_chunk *stores__redis_chunk_new(const char *word);
/* NULL is allowed. */
void stores__redis_chunk_free(struct stores__redis_chunk *chunk);
/* Adds such a chunk to an output in which nothing is unsent. */
void stores__redis_out_repeat(struct stores__redis_out *out, struct stores__redis_chunk *chunk);
/* Writes what the socket takes, without waiting. Bytes written, or -1 with errno. */
ssize_t stores__redis_out_write(struct stores__redis_out *out, int fd);

/* The same in two steps, for who sends something made of them: the next bytes in one piece, NULL
 * where all are sent; and that so many of them need not be kept. */
const char *stores__redis_out_next(const struct stores__redis_out *out, size_t *len);
void stores__redis_out_took(struct stores__redis_out *out, size_t bytes);

/* Where the arguments of a command lie, to send them again with another head. */
struct stores__redis_tail {
    struct stores__redis_chunk *chunk; /* NULL: none */
    const char *text;
    size_t len;
    int argc;
};

/* Adds the command head.. argv.. . False: no memory, or longer than Redis takes; nothing is then
 * added. tail may be NULL; otherwise it holds the arguments until stores__redis_tail_drop. */
bool stores__redis_out_command(struct stores__redis_out *out, int head_argc,
                               const char *const *head, const size_t *head_lens, int argc,
                               const char *const *argv, const size_t *lens,
                               struct stores__redis_tail *tail);
/* Adds the command head.. tail.. ; the same promises. */
bool stores__redis_out_again(struct stores__redis_out *out, int head_argc, const char *const *head,
                             const size_t *head_lens, const struct stores__redis_tail *tail);
/* Harmless on an empty one; empties it. */
void stores__redis_tail_drop(struct stores__redis_tail *tail);

#endif

/* out.c - see out.h. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "redis/out.h"

#define CHUNK_MIN (64 * 1024 - sizeof(struct stores__redis_chunk))
#define CHUNK_KEEP (1024 * 1024)
#define ARGUMENT_MAX ((size_t)512 << 20) /* the proto-max-bulk-len that Redis has by default */
#define UNSENT_MAX ((size_t)1 << 30)
#define GATHER 64

static void drop(struct stores__redis_chunk *chunk) {
    if (--chunk->refs == 0) free(chunk);
}

void stores__redis_out_init(struct stores__redis_out *out) {
    stores__list_init(&out->chunks);
    out->unsent = 0;
}

void stores__redis_out_clear(struct stores__redis_out *out) {
    struct stores__list *node;

    while ((node = stores__list_shift(&out->chunks)) != NULL) {
        drop(STORES__CONTAINER(node, struct stores__redis_chunk, link));
    }
    out->unsent = 0;
}

static struct stores__redis_chunk *last_chunk(struct stores__redis_out *out) {
    if (stores__list_empty(&out->chunks)) return NULL;
    return STORES__CONTAINER(out->chunks.prev, struct stores__redis_chunk, link);
}

/* A chunk at the end with room for len more bytes in one piece, or NULL. */
static struct stores__redis_chunk *room(struct stores__redis_out *out, size_t len) {
    struct stores__redis_chunk *chunk = last_chunk(out);
    size_t cap;

    if (chunk && chunk->sent == chunk->len) {
        if (chunk->refs == 1) chunk->len = chunk->sent = 0;
        if (chunk->cap - chunk->len < len) {
            stores__list_remove(&chunk->link);
            drop(chunk);
            chunk = NULL;
        }
    }
    if (chunk && chunk->cap - chunk->len >= len) return chunk;
    cap = len > CHUNK_MIN ? len : CHUNK_MIN;
    chunk = malloc(sizeof *chunk + cap);
    if (!chunk) return NULL;
    chunk->refs = 1;
    chunk->len = chunk->sent = 0;
    chunk->cap = cap;
    stores__list_append(&out->chunks, &chunk->link);
    return chunk;
}

static void sent(struct stores__redis_out *out, size_t bytes) {
    out->unsent -= bytes;
    while (!stores__list_empty(&out->chunks)) {
        struct stores__redis_chunk *chunk = STORES__CONTAINER(out->chunks.next,
                                                              struct stores__redis_chunk, link);
        size_t part = chunk->len - chunk->sent;
        if (part > bytes) part = bytes;
        chunk->sent += part;
        bytes -= part;
        if (chunk->sent < chunk->len) return;
        if (chunk == last_chunk(out) && chunk->cap <= CHUNK_KEEP) return;
        stores__list_remove(&chunk->link);
        drop(chunk);
    }
}

const char *stores__redis_out_next(const struct stores__redis_out *out, size_t *len) {
    const struct stores__redis_chunk *chunk;

    *len = 0;
    if (out->unsent == 0) return NULL;
    chunk = STORES__CONTAINER(out->chunks.next, struct stores__redis_chunk, link);
    *len = chunk->len - chunk->sent;
    return chunk->data + chunk->sent;
}

void stores__redis_out_took(struct stores__redis_out *out, size_t bytes) {
    sent(out, bytes);
}

ssize_t stores__redis_out_write(struct stores__redis_out *out, int fd) {
    ssize_t total = 0;

    while (out->unsent > 0) {
        struct iovec parts[GATHER];
        struct msghdr message = {.msg_iov = parts};
        struct stores__list *node;
        ssize_t n;
        for (node = out->chunks.next; node != &out->chunks && message.msg_iovlen < GATHER;
             node = node->next) {
            struct stores__redis_chunk *chunk = STORES__CONTAINER(node, struct stores__redis_chunk,
                                                                  link);
            parts[message.msg_iovlen].iov_base = chunk->data + chunk->sent;
            parts[message.msg_iovlen++].iov_len = chunk->len - chunk->sent;
        }
        /* A library must not have its host killed by SIGPIPE, as write(2) would. */
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN || errno == EWOULDBLOCK ? total : -1;
        }
        sent(out, (size_t)n);
        total += n;
    }
    return total;
}

/* ---- RESP ----------------------------------------------------------------------------------- */

static size_t digits(size_t n) {
    size_t count = 1;

    while (n >= 10) {
        n /= 10;
        count++;
    }
    return count;
}

static char *put_head(char *at, char kind, size_t n) {
    size_t len = digits(n), i;

    *at++ = kind;
    for (i = len; i > 0; n /= 10) at[--i] = (char)('0' + n % 10);
    at += len;
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static void put_all(char *at, int argc, const char *const *argv, const size_t *lens) {
    int i;

    for (i = 0; i < argc; i++) {
        at = put_head(at, '$', lens[i]);
        if (lens[i] > 0) memcpy(at, argv[i], lens[i]);
        at += lens[i];
        *at++ = '\r';
        *at++ = '\n';
    }
}

/* The bytes that put_all writes; more than UNSENT_MAX where one is too long. */
static size_t size_all(int argc, const size_t *lens) {
    size_t size = 0;
    int i;

    for (i = 0; i < argc && size <= UNSENT_MAX; i++) {
        if (lens[i] > ARGUMENT_MAX) return UNSENT_MAX + 1;
        size += digits(lens[i]) + lens[i] + 5;
    }
    return size;
}

static struct stores__redis_chunk *begin(struct stores__redis_out *out, int argc, int head_argc,
                                         const char *const *head, const size_t *head_lens,
                                         size_t tail_len) {
    size_t head_len = digits((size_t)argc) + 3 + size_all(head_argc, head_lens);
    struct stores__redis_chunk *chunk;
    char *at;

    if (head_len > UNSENT_MAX || tail_len > UNSENT_MAX) return NULL;
    if (head_len + tail_len > UNSENT_MAX - out->unsent) return NULL;
    chunk = room(out, head_len + tail_len);
    if (!chunk) return NULL;
    at = put_head(chunk->data + chunk->len, '*', (size_t)argc);
    put_all(at, head_argc, head, head_lens);
    chunk->len += head_len;
    out->unsent += head_len;
    return chunk;
}

bool stores__redis_out_command(struct stores__redis_out *out, int head_argc,
                               const char *const *head, const size_t *head_lens, int argc,
                               const char *const *argv, const size_t *lens,
                               struct stores__redis_tail *tail) {
    size_t len = size_all(argc, lens);
    struct stores__redis_chunk *chunk = begin(out, head_argc + argc, head_argc, head, head_lens,
                                              len);

    if (!chunk) return false;
    put_all(chunk->data + chunk->len, argc, argv, lens);
    if (tail) {
        chunk->refs++;
        tail->chunk = chunk;
        tail->text = chunk->data + chunk->len;
        tail->len = len;
        tail->argc = argc;
    }
    chunk->len += len;
    out->unsent += len;
    return true;
}

bool stores__redis_out_again(struct stores__redis_out *out, int head_argc, const char *const *head,
                             const size_t *head_lens, const struct stores__redis_tail *tail) {
    struct stores__redis_chunk *chunk = begin(out, head_argc + tail->argc, head_argc, head,
                                              head_lens, tail->len);

    if (!chunk) return false;
    memcpy(chunk->data + chunk->len, tail->text, tail->len);
    chunk->len += tail->len;
    out->unsent += tail->len;
    return true;
}

void stores__redis_tail_drop(struct stores__redis_tail *tail) {
    if (tail->chunk) drop(tail->chunk);
    memset(tail, 0, sizeof *tail);
}

/* ---- A chunk of the caller's own ------------------------------------------------------------- */

struct stores__redis_chunk *stores__redis_chunk_new(const char *word) {
    size_t len = strlen(word), size = digits(1) + 3 + size_all(1, &len);
    struct stores__redis_chunk *chunk = malloc(sizeof *chunk + size);

    if (!chunk) return NULL;
    stores__list_init(&chunk->link);
    chunk->refs = 1;
    chunk->len = chunk->sent = chunk->cap = size;
    put_all(put_head(chunk->data, '*', 1), 1, &word, &len);
    return chunk;
}

void stores__redis_chunk_free(struct stores__redis_chunk *chunk) {
    if (chunk) drop(chunk);
}

void stores__redis_out_repeat(struct stores__redis_out *out, struct stores__redis_chunk *chunk) {
    stores__redis_out_clear(out); /* of what was sent: it may be this chunk */
    chunk->sent = 0;
    chunk->refs++;
    stores__list_append(&out->chunks, &chunk->link);
    out->unsent = chunk->len;
}

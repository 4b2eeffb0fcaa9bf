/* base.c - buffers, blobs, random text: see base.h for what is promised. */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* ---- Buffer --------------------------------------------------------------------------------- */

bool stores__buf_reserve(struct stores__buf *buf, size_t more) {
    size_t need, cap;
    char *data;

    if (buf->failed) return false;
    if (more > SIZE_MAX / 2 - buf->len) {
        buf->failed = true;
        return false;
    }
    need = buf->len + more;
    if (need <= buf->cap) return true;
    for (cap = buf->cap ? buf->cap : 256; cap < need;) cap *= 2;
    data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void stores__buf_add(struct stores__buf *buf, const void *data, size_t len) {
    if (len == 0 || !stores__buf_reserve(buf, len)) return;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

void stores__buf_str(struct stores__buf *buf, const char *text) {
    stores__buf_add(buf, text, strlen(text));
}

void stores__buf_fmt(struct stores__buf *buf, const char *format, ...) {
    va_list args;
    size_t room;
    int len;

    if (!stores__buf_reserve(buf, 64)) return;
    room = buf->cap - buf->len;
    va_start(args, format);
    len = vsnprintf(buf->data + buf->len, room, format, args);
    va_end(args);
    if (len < 0) {
        buf->failed = true;
        return;
    }
    if ((size_t)len >= room) {
        if (!stores__buf_reserve(buf, (size_t)len + 1)) return;
        va_start(args, format);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
        va_end(args);
    }
    buf->len += (size_t)len;
}

const char *stores__buf_text(struct stores__buf *buf) {
    if (!stores__buf_reserve(buf, 1)) return NULL;
    buf->data[buf->len] = '\0';
    return buf->data;
}

void stores__buf_free(struct stores__buf *buf) {
    free(buf->data);
    memset(buf, 0, sizeof *buf);
}

/* ---- Spares --------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__)
#define SPARES_MAX 0 /* what is used after it was given back is to be seen */
#else
#define SPARES_MAX 1024
#endif

void *stores__spares_take(struct stores__spares *spares) {
    void *piece = spares->first;

    if (piece == NULL) return calloc(1, spares->size);
    memcpy(&spares->first, piece, sizeof spares->first);
    spares->count--;
    return memset(piece, 0, spares->size);
}

void stores__spares_give(struct stores__spares *spares, void *piece) {
    if (spares->count + 1 > SPARES_MAX) {
        free(piece);
        return;
    }
    memcpy(piece, &spares->first, sizeof spares->first);
    spares->first = piece;
    spares->count++;
}

void stores__spares_free(struct stores__spares *spares) {
    while (spares->first != NULL) {
        void *piece = spares->first;
        memcpy(&spares->first, piece, sizeof spares->first);
        free(piece);
    }
    spares->count = 0;
}

/* ---- Blob ----------------------------------------------------------------------------------- */

struct stores__blob *stores__blob_new(void *owner, void (*release)(void *owner)) {
    struct stores__blob *blob = malloc(sizeof *blob);

    if (!blob) return NULL;
    blob->refs = 1;
    blob->owner = owner;
    blob->release = release;
    return blob;
}

struct stores__blob *stores__blob_ref(struct stores__blob *blob) {
    blob->refs++;
    return blob;
}

void stores__blob_drop(struct stores__blob *blob) {
    if (!blob || --blob->refs > 0) return;
    if (blob->release) blob->release(blob->owner);
    free(blob);
}

/* ---- This process --------------------------------------------------------------------------- */

_Atomic(_Atomic uint64_t *) stores__process_mark; /* its word is zero until somebody asks */
static _Atomic uint64_t process_count;

static _Atomic uint64_t *map_mark(void) {
    _Atomic uint64_t *none = NULL;
    void *page = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);

    if (page == MAP_FAILED) return NULL;
    if (madvise(page, sizeof(uint64_t), MADV_WIPEONFORK) != 0) {
        munmap(page, sizeof(uint64_t));
        return NULL;
    }
    if (atomic_compare_exchange_strong(&stores__process_mark, &none, page)) return page;
    munmap(page, sizeof(uint64_t)); /* another thread was first */
    return none;
}

uint64_t stores__process_begin(_Atomic uint64_t *mark) {
    uint64_t zero = 0, own;

    if (!mark) mark = map_mark();
    if (!mark) return (uint64_t)getpid(); /* Linux before 4.14 */
    /* a child counts on from its parent, so that its number is not one of its parent's */
    own = atomic_fetch_add(&process_count, 1) + 1;
    return atomic_compare_exchange_strong(mark, &zero, own) ? own : zero;
}

/* ---- Small text ----------------------------------------------------------------------------- */

char *stores__strdup(const char *text) {
    return stores__memdup(text, strlen(text));
}

char *stores__memdup(const void *data, size_t len) {
    char *copy = len < SIZE_MAX ? malloc(len + 1) : NULL;

    if (!copy) return NULL;
    if (len > 0) memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

static bool system_random(void *out, size_t n) {
    unsigned char *at = out;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        at += got;
        n -= (size_t)got;
    }
    return true;
}

/* Drawn from the system in portions. What is left of one that was drawn before a fork is the
 * parent's to use. */
static bool random_bytes(void *out, size_t n) {
    static _Thread_local struct {
        uint64_t process;
        size_t left;
        unsigned char bytes[512];
    } pool;
    uint64_t process = stores__process();

    if (n > sizeof pool.bytes) return system_random(out, n);
    if (pool.left < n || pool.process != process) {
        pool.left = 0;
        if (!system_random(pool.bytes, sizeof pool.bytes)) return false;
        pool.left = sizeof pool.bytes;
        pool.process = process;
    }
    pool.left -= n;
    memcpy(out, pool.bytes + pool.left, n);
    return true;
}

bool stores__random_text(char *out, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t i;

    out[n] = '\0';
    if (!random_bytes(out, n)) return false;
    for (i = 0; i < n; i++) out[i] = digits[(unsigned char)out[i] & 63];
    return true;
}

/* Serves jitter and the low bits of ids: where the system has no entropy for us, what tells this
 * moment of this process from another one is good enough. */
uint64_t stores__random_u64(void) {
    uint64_t value;

    if (!random_bytes(&value, sizeof value)) {
        static _Thread_local uint64_t count;
        struct {
            struct timespec now;
            uint64_t count;
            uintptr_t where;
            pid_t pid;
        } seed;
        memset(&seed, 0, sizeof seed);
        clock_gettime(CLOCK_MONOTONIC, &seed.now);
        seed.count = ++count;
        seed.where = (uintptr_t)&count;
        seed.pid = getpid();
        value = stores__hash(&seed, sizeof seed);
    }
    return value;
}

uint64_t stores__hash(const void *data, size_t len) {
    const unsigned char *at = data, *end = at + len;
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; at < end; at++) hash = (hash ^ *at) * UINT64_C(1099511628211);
    return hash;
}

/*
 * base.h - what every file of the core stands on: lists, buffers, shared memory of replies.
 * Nothing in here knows of PostgreSQL, Redis or libuv.
 */
#ifndef STORES_BASE_H
#define STORES_BASE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "stores.h"

#define STORES__CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* ---- Intrusive list. A node that is in no list points to itself. ----------------------------- */

struct stores__list {
    struct stores__list *prev, *next;
};

static inline void stores__list_init(struct stores__list *list) {
    list->prev = list->next = list;
}

static inline bool stores__list_empty(const struct stores__list *list) {
    return list->next == list;
}

static inline void stores__list_append(struct stores__list *list, struct stores__list *node) {
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void stores__list_prepend(struct stores__list *list, struct stores__list *node) {
    stores__list_append(list->next, node);
}

/* Takes a node out of whatever list it is in; harmless for a node in none. */
static inline void stores__list_remove(struct stores__list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    stores__list_init(node);
}

/* Moves all nodes of one list to the end of another. */
static inline void stores__list_move(struct stores__list *from, struct stores__list *to) {
    if (stores__list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    stores__list_init(from);
}

/* Takes the first node out, or returns NULL. */
static inline struct stores__list *stores__list_shift(struct stores__list *list) {
    struct stores__list *node = list->next;
    if (node == list) return NULL;
    stores__list_remove(node);
    return node;
}

/* ---- A byte buffer that grows. Zero it to make it; buf_free to let it go. -------------------- */

struct stores__buf {
    char *data;
    size_t len, cap;
    bool failed; /* an allocation failed; what was added since is lost. Checked once, at the end */
};

bool stores__buf_reserve(struct stores__buf *buf, size_t more);
void stores__buf_add(struct stores__buf *buf, const void *data, size_t len);
void stores__buf_str(struct stores__buf *buf, const char *text);
void stores__buf_fmt(struct stores__buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends the buffer with a NUL that is not counted; returns the text, or NULL where it failed. */
const char *stores__buf_text(struct stores__buf *buf);
void stores__buf_free(struct stores__buf *buf);

/* Memory that each call needs, zeroed; NULL: there is none. glibc's calloc does not look for it
 * where malloc has small pieces at hand. */
static inline void *stores__zeroed(size_t size) {
    void *memory = malloc(size);
    return memory != NULL ? memset(memory, 0, size) : NULL;
}

/* ---- Pieces of one size that come and go by hundreds ------------------------------------------
 *
 * A tick of a thousand calls takes and frees so many pieces at once that malloc goes its slow way
 * for most of them. Zero it, and set the size, to make it.
 */

struct stores__spares {
    void *first; /* each begins with the address of the next one */
    size_t size;
    unsigned count;
};

/* A zeroed piece, to be given back or freed. NULL: no memory. */
void *stores__spares_take(struct stores__spares *spares);
void stores__spares_give(struct stores__spares *spares, void *piece);
void stores__spares_free(struct stores__spares *spares);

/* ---- Memory of a reply that several documents point into ------------------------------------- */

struct stores__blob {
    unsigned refs;
    void *owner;
    void (*release)(void *owner);
};

/* Takes ownership of owner and calls release(owner) at the last drop. NULL: no memory (and then
 * owner stays the caller's). One reference is the caller's. */
struct stores__blob *stores__blob_new(void *owner, void (*release)(void *owner));
struct stores__blob *stores__blob_ref(struct stores__blob *blob);
/* NULL is allowed. */
void stores__blob_drop(struct stores__blob *blob);

/* A document's text inside a blob. blob == NULL: there is no such row. */
struct stores__doc {
    int64_t id;
    const char *text;
    size_t len;
    struct stores__blob *blob;
};

/* ---- Small text ----------------------------------------------------------------------------- */

/* strndup that is C11; NULL: no memory. */
char *stores__strdup(const char *text);
char *stores__memdup(const void *data, size_t len); /* NUL-terminated copy */
/* Fills out with n random characters of base64url and a NUL. False: the system gave no entropy. */
bool stores__random_text(char *out, size_t n);
uint64_t stores__random_u64(void);
/* A number that is another one after a fork. It costs a look at memory, where getpid is a system
 * call, and every call of a store asks a dozen times. */
extern _Atomic(_Atomic uint64_t *)
    stores__process_mark; /* a word that the kernel wipes in a child */
uint64_t stores__process_begin(_Atomic uint64_t *mark);
static inline uint64_t stores__process(void) {
    _Atomic uint64_t *mark = atomic_load_explicit(&stores__process_mark, memory_order_acquire);
    uint64_t own = mark ? atomic_load_explicit(mark, memory_order_relaxed) : 0;
    return own ? own : stores__process_begin(mark);
}
uint64_t stores__hash(const void *data, size_t len); /* FNV-1a */

#endif

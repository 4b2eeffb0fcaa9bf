/* lookup.c - see lookup.h. */
#include "base/lookup.h"

#include <pthread.h>
#include <signal.h>

#include "base/base.h"

enum { STACK_SIZE = 512 * 1024 };

struct stores__lookup {
    pthread_mutex_t lock;
    uv_async_t *async; /* NULL: nobody wants to know, and the thread frees this */
    bool over; /* the thread has done all of its work */
    uint64_t process; /* that the thread runs in: in a child of a fork there is none */
    int status; /* of getaddrinfo */
    struct addrinfo *list;
    void (*done)(void *arg, struct addrinfo *list, const char *why);
    void *arg;
    char name[];
};

static void lookup_free(struct stores__lookup *lookup) {
    uv_freeaddrinfo(lookup->list);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

static void *run(void *arg) {
    struct stores__lookup *lookup = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int status = getaddrinfo(lookup->name, NULL, &hints, &list);
    pthread_mutex_lock(&lookup->lock);
    bool orphan = lookup->async == NULL;
    lookup->status = status;
    lookup->list = status == 0 ? list : NULL;
    lookup->over = true;
    if (!orphan) uv_async_send(lookup->async);
    pthread_mutex_unlock(&lookup->lock);
    if (orphan) lookup_free(lookup);
    return NULL;
}

static void async_closed(uv_handle_t *handle) {
    free(handle);
}

/* Nobody is told any more; the thread, if it still runs, ends it alone. */
static void let_go(struct stores__lookup *lookup) {
    uv_async_t *async = lookup->async;
    bool here = lookup->process == stores__process();
    if (here) pthread_mutex_lock(&lookup->lock);
    bool over = lookup->over || !here;
    lookup->async = NULL;
    if (here) pthread_mutex_unlock(&lookup->lock);
    if (over) lookup_free(lookup);
    uv_close((uv_handle_t *)async, async_closed);
}

static void answered(uv_async_t *async) {
    struct stores__lookup *lookup = async->data;
    void (*done)(void *arg, struct addrinfo *list, const char *why) = lookup->done;
    void *arg = lookup->arg;
    int status = lookup->status;
    struct addrinfo *list = lookup->list;
    lookup->list = NULL;
    let_go(lookup);
    if (list != NULL) {
        done(arg, list, NULL);
    } else {
        done(arg, NULL, status == 0 ? "it has no address" : gai_strerror(status));
    }
}

/* A thread of its own, that takes no signal of the host's. */
static bool start(struct stores__lookup *lookup) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attributes, run, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed == 0;
}

struct stores__lookup *
stores__lookup(uv_loop_t *loop, const char *name,
               void (*done)(void *arg, struct addrinfo *list, const char *why), void *arg) {
    size_t size = strlen(name) + 1;
    struct stores__lookup *lookup = calloc(1, sizeof *lookup + size);
    uv_async_t *async = malloc(sizeof *async);
    if (lookup == NULL || async == NULL || uv_async_init(loop, async, answered) != 0) {
        free(lookup);
        free(async);
        return NULL;
    }
    pthread_mutex_init(&lookup->lock, NULL);
    memcpy(lookup->name, name, size);
    lookup->async = async;
    lookup->process = stores__process();
    lookup->done = done;
    lookup->arg = arg;
    async->data = lookup;
    if (start(lookup)) return lookup;
    lookup->over = true;
    let_go(lookup);
    return NULL;
}

void stores__lookup_forget(struct stores__lookup *lookup) {
    let_go(lookup);
}

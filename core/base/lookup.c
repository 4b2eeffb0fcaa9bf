/* lookup.c - see lookup.h. */
#include "base/lookup.h"

#include "base/base.h"
#include "base/errand.h"

enum { STACK_SIZE = 512 * 1024 };

struct stores__lookup {
    struct stores__errand errand;
    int status; /* of getaddrinfo */
    struct addrinfo *list;
    void (*done)(void *arg, struct addrinfo *list, const char *why);
    void *arg;
    char name[];
};

static struct stores__lookup *lookup_of(struct stores__errand *errand) {
    return STORES__CONTAINER(errand, struct stores__lookup, errand);
}

static void ask(struct stores__errand *errand) {
    struct stores__lookup *lookup = lookup_of(errand);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    lookup->status = getaddrinfo(lookup->name, NULL, &hints, &list);
    if (lookup->status == 0) lookup->list = list;
}

static void tell(struct stores__errand *errand) {
    struct stores__lookup *lookup = lookup_of(errand);
    struct addrinfo *list = lookup->list;
    lookup->list = NULL;
    if (list != NULL) {
        lookup->done(lookup->arg, list, NULL);
    } else {
        const char *why = lookup->status == 0 ? "it has no address" : gai_strerror(lookup->status);
        lookup->done(lookup->arg, NULL, why);
    }
}

static void lookup_free(struct stores__errand *errand) {
    struct stores__lookup *lookup = lookup_of(errand);
    uv_freeaddrinfo(lookup->list);
    free(lookup);
}

struct stores__lookup *
stores__lookup(uv_loop_t *loop, const char *name,
               void (*done)(void *arg, struct addrinfo *list, const char *why), void *arg) {
    size_t size = strlen(name) + 1;
    struct stores__lookup *lookup = calloc(1, sizeof *lookup + size);
    if (lookup == NULL) return NULL;
    lookup->errand.stack_size = STACK_SIZE;
    lookup->errand.holds_loop = true;
    lookup->errand.run = ask;
    lookup->errand.told = tell;
    lookup->errand.free = lookup_free;
    lookup->done = done;
    lookup->arg = arg;
    memcpy(lookup->name, name, size);
    return stores__errand_start(&lookup->errand, loop) ? lookup : NULL;
}

void stores__lookup_forget(struct stores__lookup *lookup) {
    stores__errand_forget(&lookup->errand);
}

/* errand.c - see errand.h. */
#include "base/errand.h"

#include <signal.h>
#include <stdlib.h>

#include "base/base.h"

/* On its own heap memory: libuv lets go of it later than we do. */
struct stores__errand_wake {
    uv_async_t async;
    struct stores__errand *errand;
    void (*closed)(void *arg);
    void *arg;
};

static void errand_free(struct stores__errand *errand) {
    pthread_mutex_destroy(&errand->lock);
    errand->free(errand);
}

static void *work(void *arg) {
    struct stores__errand *errand = arg;
    errand->run(errand);
    pthread_mutex_lock(&errand->lock);
    bool orphan = errand->wake == NULL;
    errand->over = true;
    if (!orphan) uv_async_send(&errand->wake->async);
    pthread_mutex_unlock(&errand->lock);
    if (orphan) errand_free(errand);
    return NULL;
}

static void wake_closed(uv_handle_t *handle) {
    struct stores__errand_wake *wake = handle->data;
    if (wake->closed != NULL) wake->closed(wake->arg);
    free(wake);
}

void stores__errand_forget(struct stores__errand *errand) {
    struct stores__errand_wake *wake = errand->wake;
    bool here = errand->process == stores__process();
    if (here) pthread_mutex_lock(&errand->lock);
    bool over = errand->over || !here;
    errand->wake = NULL;
    if (here) pthread_mutex_unlock(&errand->lock);
    if (over) errand_free(errand);
    uv_close((uv_handle_t *)&wake->async, wake_closed);
}

static void woken(uv_async_t *async) {
    struct stores__errand_wake *wake = async->data;
    struct stores__errand *errand = wake->errand;
    pthread_mutex_lock(&errand->lock); /* what run() wrote is to be seen here */
    bool over = errand->over;
    pthread_mutex_unlock(&errand->lock);
    if (!over) return;
    errand->told(errand);
    stores__errand_forget(errand);
}

static bool start_thread(struct stores__errand *errand) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setstacksize(&attributes, errand->stack_size);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attributes, work, errand);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed == 0;
}

bool stores__errand_start(struct stores__errand *errand, uv_loop_t *loop) {
    struct stores__errand_wake *wake = malloc(sizeof *wake);
    if (wake == NULL || uv_async_init(loop, &wake->async, woken) != 0) {
        free(wake);
        if (errand->closed != NULL) errand->closed(errand->arg);
        errand->free(errand);
        return false;
    }
    wake->async.data = wake;
    wake->errand = errand;
    wake->closed = errand->closed;
    wake->arg = errand->arg;
    if (!errand->holds_loop) uv_unref((uv_handle_t *)&wake->async);
    errand->wake = wake;
    errand->over = false;
    errand->process = stores__process();
    pthread_mutex_init(&errand->lock, NULL);
    if (start_thread(errand)) return true;
    errand->over = true;
    stores__errand_forget(errand);
    return false;
}

/*
 * test_errand.c - what becomes of an errand that ends, that is forgotten before, and after, its
 * thread is done, and of the loop meanwhile. The thread stands at a gate that the test opens.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/errand.h"

#include "check.h"

struct trip {
    struct stores__errand errand;
    int answer;
};

static uv_loop_t loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate_open, took_signals;
static int ran, freed; /* under the lock: the thread's */
static int told, closed, answer;
static pthread_t freed_by;

static void run(struct stores__errand *errand) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    pthread_mutex_lock(&lock);
    while (!gate_open) pthread_cond_wait(&changed, &lock);
    took_signals = took_signals || !sigismember(&mask, SIGTERM);
    ran++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    ((struct trip *)errand)->answer = 42;
}

static void on_told(struct stores__errand *errand) {
    told++;
    answer = ((struct trip *)errand)->answer;
    pthread_mutex_lock(&lock);
    CHECK_INT(freed, 0); /* what it has is there yet */
    pthread_mutex_unlock(&lock);
}

static void on_free(struct stores__errand *errand) {
    free(errand);
    pthread_mutex_lock(&lock);
    freed++;
    freed_by = pthread_self();
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_closed(void *arg) {
    ++*(int *)arg;
}

static void set_gate(bool open) {
    pthread_mutex_lock(&lock);
    gate_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const int *count) {
    pthread_mutex_lock(&lock);
    while (*count == 0) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static struct stores__errand *start(bool holds_loop, size_t stack_size) {
    struct trip *trip = calloc(1, sizeof *trip);
    ran = freed = told = closed = answer = 0;
    set_gate(false);
    trip->errand = (struct stores__errand){.stack_size = stack_size,
                                           .holds_loop = holds_loop,
                                           .run = run,
                                           .told = on_told,
                                           .free = on_free,
                                           .closed = on_closed,
                                           .arg = &closed};
    return stores__errand_start(&trip->errand, &loop) ? &trip->errand : NULL;
}

static void test_told(void) {
    CHECK(start(true, 256 * 1024) != NULL);
    set_gate(true);
    uv_run(&loop, UV_RUN_DEFAULT); /* ends, for nothing is left of it */
    CHECK_INT(told, 1);
    CHECK_INT(answer, 42);
    CHECK_INT(freed, 1);
    CHECK(pthread_equal(freed_by, pthread_self()));
    CHECK_INT(closed, 1);
    CHECK(!took_signals);
}

static void test_forgotten_while_it_runs(void) {
    struct stores__errand *errand = start(true, 256 * 1024);
    CHECK(errand != NULL);
    stores__errand_forget(errand);
    uv_run(&loop, UV_RUN_DEFAULT); /* the thread stands at the gate, and nothing waits for it */
    CHECK_INT(closed, 1);
    CHECK_INT(freed, 0);
    set_gate(true);
    wait_for(&freed);
    CHECK_INT(told, 0);
    CHECK(!pthread_equal(freed_by, pthread_self()));
}

static void test_forgotten_when_it_is_done(void) {
    struct stores__errand *errand = start(true, 256 * 1024);
    CHECK(errand != NULL);
    set_gate(true);
    for (bool over = false; !over;) {
        pthread_mutex_lock(&errand->lock);
        over = errand->over;
        pthread_mutex_unlock(&errand->lock);
    }
    stores__errand_forget(errand);
    CHECK_INT(freed, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(told, 0);
    CHECK_INT(closed, 1);
}

static void test_loop_is_not_held(void) {
    struct stores__errand *errand = start(false, 256 * 1024);
    CHECK(errand != NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(told, 0);
    stores__errand_forget(errand);
    set_gate(true);
    wait_for(&freed);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(closed, 1);
}

static void test_no_thread(void) {
    CHECK(start(true, SIZE_MAX / 2 / 4096 * 4096) == NULL);
    CHECK_INT(freed, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(closed, 1);
    CHECK_INT(told, 0);
}

/* The thread is the parent's, and so is the lock that it may have held. */
static void test_forgotten_in_a_child(void) {
    struct stores__errand *errand = start(true, 256 * 1024);
    int status = 0;
    CHECK(errand != NULL);
    pthread_mutex_lock(&lock); /* so that the thread has not got it as the child begins */
    pthread_mutex_lock(&errand->lock);
    pid_t child = fork();
    pthread_mutex_unlock(&lock);
    if (child == 0) {
        alarm(60);
        stores__errand_forget(errand);
        _exit(freed == 1 ? 0 : 1);
    }
    pthread_mutex_unlock(&errand->lock);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    set_gate(true);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(told, 1);
}

int main(void) {
    CHECK_INT(uv_loop_init(&loop), 0);
    test_told();
    test_forgotten_while_it_runs();
    test_forgotten_when_it_is_done();
    test_loop_is_not_held();
    test_no_thread();
    test_forgotten_in_a_child();
    CHECK_INT(uv_loop_close(&loop), 0);
    return check_report();
}

/* threads.c - see threads.h. */
#include "threads.h"

#include <stddef.h>
#include <unistd.h>
#include <uv.h>

static pid_t used_by; /* 0: nobody yet */

void stores__threads_used(void) {
    used_by = getpid();
}

static void nothing(uv_work_t *work) {
    (void)work;
}

/* Runs before libuv's own destructor, for we depend on it. In a child libuv has forgotten that its
 * pool was started, but not how many threads it had: the first work starts as many, to be joined. */
__attribute__((destructor)) static void start_again_in_a_child(void) {
    uv_loop_t loop;
    uv_work_t work;
    if (used_by == 0 || used_by == getpid() || uv_loop_init(&loop) != 0) return;
    if (uv_queue_work(&loop, &work, nothing, NULL) == 0) uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

/*
 * counter.c - counts what a program asks of the system and of malloc, from inside of it: loaded by
 * LD_PRELOAD. Counting is on between cost_begin() and cost_end(); live bytes are counted always.
 *
 *   cc -shared -fPIC -O2 -o counter.so counter.c -ldl
 *
 * Counted are the system calls that reading, writing, waiting and the clocks of CPU time are made
 * of, in all threads.
 *
 * How many replies one wake-up finds is a matter of who is quicker. So that it is not, the servers
 * are slower than a look that does not wait, and quicker than a wait: a look directly after
 * something was sent finds nothing, and a wait that has something ends only when each socket that
 * was asked something has its answer (or PATIENCE is over, for who waits for a lock), and nothing
 * more has come for the microseconds of cost_quiet.
 *
 * Compiled with COST_COPIES it also counts the bytes that memcpy and memmove move, which do not
 * depend on the processor as the instructions of a copy do.
 *
 * Under valgrind, cost_begin and cost_end also mark what callgrind counts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION ((void)0)
#define CALLGRIND_STOP_INSTRUMENTATION ((void)0)
#define CALLGRIND_DUMP_STATS_AT(name) ((void)(name))
#endif

enum { FDS = 1024, PATIENCE = 100 /* milliseconds */ };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

static int counting;
static long quiet;
static uint64_t syscalls, allocations, frees, copied;
static int64_t live;
static int sent; /* since the last wait */
static char watched[FDS], asked[FDS];
static int highest;

/* ---- what the program calls --------------------------------------------------------------- */

void cost_begin(int with_instructions) {
    syscalls = allocations = frees = copied = 0;
    if (with_instructions) {
        CALLGRIND_START_INSTRUMENTATION;
        CALLGRIND_ZERO_STATS;
    }
    counting = 1;
}

void cost_end(const char *name) {
    counting = 0;
    if (name != NULL) CALLGRIND_DUMP_STATS_AT(name);
}

/* 0: as it comes. */
void cost_quiet(int microseconds) {
    quiet = microseconds;
}

double cost_syscalls(void) {
    return (double)syscalls;
}

double cost_allocations(void) {
    return (double)allocations;
}

/* Bytes; 0 without COST_COPIES. */
double cost_copied(void) {
    return (double)copied;
}

double cost_frees(void) {
    return (double)frees;
}

/* Bytes that malloc has given out. */
double cost_live(void) {
    return (double)__atomic_load_n(&live, __ATOMIC_RELAXED);
}

/* ---- malloc ------------------------------------------------------------------------------- */

static void add(uint64_t *counter) {
    if (counting) __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void *given(void *memory) {
    if (memory != NULL) {
        __atomic_fetch_add(&live, (int64_t)malloc_usable_size(memory), __ATOMIC_RELAXED);
    }
    return memory;
}

static void taken(void *memory) {
    if (memory != NULL) {
        __atomic_fetch_sub(&live, (int64_t)malloc_usable_size(memory), __ATOMIC_RELAXED);
    }
}

void *malloc(size_t size) {
    add(&allocations);
    return given(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    add(&allocations);
    return given(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size) {
    add(&allocations);
    taken(memory);
    return given(__libc_realloc(memory, size));
}

void free(void *memory) {
    if (memory != NULL) add(&frees);
    taken(memory);
    __libc_free(memory);
}

/* ---- copies ------------------------------------------------------------------------------- */

#ifdef COST_COPIES
/* Byte by byte, for what the compiler or dlsym would call in their place is one of these two. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *
memmove(void *to, const void *from, size_t size) {
    unsigned char *target = to;
    const unsigned char *source = from;
    if (counting) __atomic_fetch_add(&copied, size, __ATOMIC_RELAXED);
    if (target <= source) {
        for (size_t i = 0; i < size; i++) target[i] = source[i];
    } else {
        while (size-- > 0) target[size] = source[size];
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t size) {
    return memmove(to, from, size);
}
#endif

/* ---- system calls ------------------------------------------------------------------------- */

/* The function of the C library that stands behind ours. */
#define NEXT(result, name, types)                                                                  \
    static result(*next) types;                                                                    \
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, #name);                                   \
    add(&syscalls)

#define COUNTED(result, name, types, names, arguments)                                             \
    result name types {                                                                            \
        NEXT(result, name, names);                                                                 \
        return next arguments;                                                                     \
    }

/* What sends asks, what receives something is answered. */
#define ASKS(result, name, types, names, arguments)                                                \
    result name types {                                                                            \
        NEXT(result, name, names);                                                                 \
        if (fd >= 0 && fd < FDS) asked[fd] = sent = 1;                                             \
        return next arguments;                                                                     \
    }

#define ANSWERS(result, name, types, names, arguments)                                             \
    result name types {                                                                            \
        NEXT(result, name, names);                                                                 \
        result done = next arguments;                                                              \
        if (done > 0 && fd >= 0 && fd < FDS) asked[fd] = 0;                                        \
        return done;                                                                               \
    }

ANSWERS(ssize_t, read, (int fd, void *to, size_t size), (int, void *, size_t), (fd, to, size))
ANSWERS(ssize_t, readv, (int fd, const struct iovec *list, int count),
        (int, const struct iovec *, int), (fd, list, count))
ANSWERS(ssize_t, recv, (int fd, void *to, size_t size, int flags), (int, void *, size_t, int),
        (fd, to, size, flags))
ANSWERS(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (int, struct msghdr *, int),
        (fd, message, flags))
ASKS(ssize_t, write, (int fd, const void *from, size_t size), (int, const void *, size_t),
     (fd, from, size))
ASKS(ssize_t, writev, (int fd, const struct iovec *list, int count),
     (int, const struct iovec *, int), (fd, list, count))
ASKS(ssize_t, send, (int fd, const void *from, size_t size, int flags),
     (int, const void *, size_t, int), (fd, from, size, flags))
ASKS(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
     (int, const struct msghdr *, int), (fd, message, flags))
COUNTED(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
        (int, int, int, void *, socklen_t *), (fd, level, name, value, size))
COUNTED(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
        (int, int, int, const void *, socklen_t), (fd, level, name, value, size))

/* Bytes that wait to be read; and how many sockets owe an answer of which nothing is there. */
static long unread(int *owing) {
    long sum = 0;
    *owing = 0;
    for (int fd = 0; fd <= highest; fd++) {
        int bytes = 0;
        if (!watched[fd] || ioctl(fd, FIONREAD, &bytes) != 0) continue;
        sum += bytes;
        *owing += asked[fd] && bytes == 0;
    }
    return sum;
}

static void wait_for_quiet(void) {
    long before, now, waited = 0;
    int owing;
    CALLGRIND_TOGGLE_COLLECT; /* this is none of the program's work */
    now = unread(&owing);
    do {
        struct timespec pause = {0, quiet * 1000};
        nanosleep(&pause, NULL);
        waited += quiet;
        before = now;
        now = unread(&owing);
        if (now != before) waited = 0;
    } while (now != before || (owing > 0 && waited < PATIENCE * 1000));
    CALLGRIND_TOGGLE_COLLECT;
}

/* The look or wait of a loop; counted as one. */
#define WAIT(timeout, first, again)                                                                \
    add(&syscalls);                                                                                \
    if (quiet && (timeout) == 0 && sent) {                                                         \
        sent = 0;                                                                                  \
        return 0;                                                                                  \
    }                                                                                              \
    int ready = first;                                                                             \
    if (quiet && ready > 0) {                                                                      \
        wait_for_quiet();                                                                          \
        ready = again;                                                                             \
    }                                                                                              \
    sent = 0;                                                                                      \
    return ready

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    NEXT(int, epoll_ctl, (int, int, int, struct epoll_event *));
    if (fd >= 0 && fd < FDS) {
        watched[fd] = what != EPOLL_CTL_DEL;
        if (what != EPOLL_CTL_MOD) asked[fd] = 0;
        if (fd > highest) highest = fd;
    }
    return next(epoll, what, fd, event);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout,
                const sigset_t *mask) {
    static int (*next)(int, struct epoll_event *, int, int, const sigset_t *);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "epoll_pwait");
    WAIT(timeout, next(epoll, events, count, timeout, mask), next(epoll, events, count, 0, mask));
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
    static int (*next)(int, struct epoll_event *, int, int);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "epoll_wait");
    WAIT(timeout, next(epoll, events, count, timeout), next(epoll, events, count, 0));
}

int poll(struct pollfd *list, nfds_t count, int timeout) {
    static int (*next)(struct pollfd *, nfds_t, int);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "poll");
    WAIT(timeout, next(list, count, timeout), next(list, count, 0));
}

/* The other clocks are read without the kernel. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    if (clock == CLOCK_THREAD_CPUTIME_ID || clock == CLOCK_PROCESS_CPUTIME_ID) add(&syscalls);
    return next(clock, time);
}

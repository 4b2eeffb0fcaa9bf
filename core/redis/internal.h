/*
 * internal.h - the link as its own files see it, each of which calls those below it alone:
 *
 *     beside.c    several links, to the nodes of a cluster
 *     life.c      how it begins, and ends
 *     connect.c   attempts, one after the other, and up
 *     keep.c      a link that nobody uses
 *     greet.c     what is asked before a connection counts as up
 *     link.c      requests, their answers, and silence
 *     loss.c      how an attempt or a connection ends
 *     master.c    where the server is, where sentinels tell it; watch.c, sentinel.c
 *     socket.c, tls.c, out.c, reply.c
 */
#ifndef STORES_REDIS_INTERNAL_H
#define STORES_REDIS_INTERNAL_H

#include <time.h>

#include "base/lookup.h"
#include "redis/link.h"
#include "redis/master.h"
#include "redis/socket.h"
#include "redis/tls.h"

#define STORES__REDIS_BACKOFF_MAX 500 /* ms between two attempts, at most */

/* What the one timer of a link waits for: one thing at a time. */
enum stores__redis_awaited {
    STORES__REDIS_NOTHING, /* UP, no answer is due, and no PING either */
    STORES__REDIS_IDLE, /* UP, and no answer is due: the time of the next PING */
    STORES__REDIS_NEXT_ATTEMPT, /* DOWN */
    STORES__REDIS_HOLD_END, /* of an attempt: the end of the patience of those that wait for it */
    STORES__REDIS_ATTEMPT_END, /* ASKING to GREETING: connect_timeout */
    STORES__REDIS_ANSWER /* UP: the end of a silence that may be too long */
};

struct stores__redis {
    uv_loop_t *loop;
    struct stores__timers *timers;
    struct stores__redis_hooks hooks;
    struct stores__redis_config config; /* its strings are the link's own; tls is in the next */
    struct stores__tls_context *tls, *sentinel_tls; /* NULL: none */

    enum stores__redis_state state; /* moved by connect.c, and to DOWN by loss.c */
    bool first; /* no attempt has ended yet: requests wait for it */
    bool holds; /* a link that was well is being made anew: requests wait for it, for timeout_ms */
    bool tell_down; /* hooks.down is still to be called */
    /* Always armed, parked where there is nothing to wait for, so that setting it cannot fail. Set
     * by stores__redis_await alone. */
    struct stores__timer timer;
    enum stores__redis_awaited awaited;
    uint64_t awaited_at;
    uint64_t attempt_ends;
    bool attempt_extended;
    unsigned failed_in_row;

    uv_idle_t idle; /* the next turn: fails what is dead, flushes resends. And the last to close */
    uv_idle_cb next_turn; /* what runs then: stores__redis_on_turn */
    uv_check_t check; /* active where the socket has something: it is read after the poll */
    struct stores__master *master; /* where the server is; NULL: config says it */
    struct stores__lookup *lookup; /* under way, whatever the state is by now; NULL: none */
    struct addrinfo *addresses;
    unsigned tried, first_tried; /* of the addresses, in this attempt; the one it began with */
    unsigned handles; /* sockets, also to sentinels, idle and check that are not gone yet */
    struct stores__redis_socket *socket; /* of the attempt, or of the connection that is up */

    struct stores__redis_out hello; /* the greeting's commands */
    unsigned step; /* the greeting's next answer */
    bool evicts_any, alone, clustered;
    char policy_refusal[160];
    char run_id[41], new_run_id[41]; /* which run of which server, and which history of it */

    struct stores__redis_out out;
    struct stores__list pending; /* in the order of their replies; in out, or sent */
    size_t due, unflushed; /* of pending: sent, and not */
    struct stores__list dead; /* wait for their done(NULL) */
    size_t count; /* requests whose done is to come, wherever they are */
    /* How long the server has been silent is told by what comes in alone: since when the oldest
     * request is due, or the last whole answer came, or enough of one that is long. */
    uint64_t since, heard_at;
    size_t came; /* bytes, since then */
    bool was_quiet; /* for long, before the oldest request that is due */
    uint64_t asleep; /* how long the machine had slept when the link came up, or was judged */
    uint64_t up_at;
    /* What asks an idle link whether it lives, made when the link is, so that it needs no
     * memory. */
    struct stores__redis_req ping;
    struct stores__redis_chunk *ping_chunk;
    bool pings; /* its answer is to come */

    char why[STORES__TLS_WHY + 112];
    struct stores__redis_stats stats;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* The loop's clock as it is now, not as it was when the turn began: the host may have been busy. */
static inline uint64_t stores__redis_now(void) {
    return uv_hrtime() / 1000000;
}

/* How long this machine has slept in all, in ms. The clock of a loop stands still meanwhile, and no
 * link outlives that for sure. */
static inline uint64_t stores__redis_asleep(void) {
    struct timespec all, awake;

    if (clock_gettime(CLOCK_BOOTTIME, &all) != 0) return 0;
    clock_gettime(CLOCK_MONOTONIC, &awake);
    return (uint64_t)((all.tv_sec - awake.tv_sec) * 1000 + (all.tv_nsec - awake.tv_nsec) / 1000000);
}

/* ---- loss.c --------------------------------------------------------------------------------- */

/* Sets the timer. at: of stores__redis_now; UINT64_MAX for nothing. */
void stores__redis_await(struct stores__redis *redis, enum stores__redis_awaited what, uint64_t at);
/* Asks for a next turn, that fails what is dead and flushes. */
void stores__redis_soon(struct stores__redis *redis);
void stores__redis_close_socket(struct stores__redis *redis);
void stores__redis_forget_attempt(struct stores__redis *redis);
/* Whatever is queued or was sent is dead. */
void stores__redis_forget_requests(struct stores__redis *redis);
/* Ends the attempt or the connection; what was sent is dead, and a link that was well is made anew
 * at once. Calls nobody: all that follows comes on the next turn. */
void stores__redis_fail(struct stores__redis *redis, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where the server answers, and says that it is not to be used. */
void stores__redis_refused(struct stores__redis *redis, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void stores__redis_free(struct stores__redis *redis);
/* One of the handles is gone: the end of a closed link, once all that libuv knew of it is. */
void stores__redis_gone(struct stores__redis *redis);

/* ---- link.c --------------------------------------------------------------------------------- */

/* Where a new request goes: into the output while the link is up, or an attempt that is waited for
 * runs. */
bool stores__redis_takes(const struct stores__redis *redis);
/* It gets no answer, on the next turn. */
void stores__redis_die(struct stores__redis *redis, struct stores__redis_req *req);
/* Sends the script of a request itself, on the next turn. False: no memory; the requester then gets
 * the error. */
bool stores__redis_resend(struct stores__redis *redis, struct stores__redis_req *req);

/* What is queued is on its way: its answers are due from now on. */
void stores__redis_sent(struct stores__redis *redis);
/* So many answers more are due from now on. */
void stores__redis_expect(struct stores__redis *redis, size_t count);
/* Nothing is due: the timer waits for the next PING. */
void stores__redis_rest(struct stores__redis *redis);
/* Frees the reply. */
void stores__redis_on_reply(struct stores__redis *redis, struct redisReply *reply);
void stores__redis_fail_dead(struct stores__redis *redis);
/* The next turn: tells those whose requests are dead, and who wants to know that the link is
 * down. */
void stores__redis_on_turn(uv_idle_t *idle);
void stores__redis_on_silence(struct stores__redis *redis);
/* Reads, and judges the silence, after the poll of this turn. */
void stores__redis_look(struct stores__redis *redis);

/* ---- keep.c --------------------------------------------------------------------------------- */

/* Where nothing was heard for long enough, and nothing is due, asks whether the link lives. */
void stores__redis_keep_alive(struct stores__redis *redis);

/* ---- greet.c -------------------------------------------------------------------------------- */

void stores__redis_greet(struct stores__redis *redis);
/* Takes one answer. True: it was the last one, and the connection may be used. */
bool stores__redis_greeted(struct stores__redis *redis, const struct redisReply *reply);

/* ---- connect.c ------------------------------------------------------------------------------ */

void stores__redis_attempt(struct stores__redis *redis);
extern const struct stores__master_hooks stores__redis_master_hooks;
void stores__redis_on_timer(struct stores__timer *timer);

#endif

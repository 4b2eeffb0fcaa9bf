/*
 * internal.h - the link as its own files see it: link.c (requests), connect.c
 * (attempts, back-off, end) and greet.c (what is asked before a connection counts as up).
 */
#ifndef STORES_REDIS_INTERNAL_H
#define STORES_REDIS_INTERNAL_H

#include "base/lookup.h"
#include "redis/link.h"
#include "redis/socket.h"

struct stores__redis {
    uv_loop_t *loop;
    struct stores__timers *timers;
    struct stores__redis_hooks hooks;
    struct stores__redis_config config; /* its strings are the link's own */

    enum stores__redis_state state; /* moved by connect.c alone */
    bool first; /* no attempt has ended yet: requests wait for it */
    bool holds; /* a link that was well is being made anew: requests wait for it, up to hold_ends */
    bool tell_down; /* hooks.down is still to be called */
    /* Always armed, parked where there is nothing to wait for, so that setting it cannot fail.
     * DOWN: the next attempt; UP: the silence; else: the end of the attempt. */
    struct stores__timer timer;
    uint64_t attempt_ends, hold_ends;
    bool attempt_extended;
    unsigned failed_in_row;

    uv_idle_t idle; /* the next turn: fails what is dead, flushes resends. And the last to close */
    uv_check_t check; /* active where the socket has something: it is read after the poll */
    struct stores__lookup *lookup; /* under way, whatever the state is by now; NULL: none */
    struct addrinfo *addresses;
    unsigned tried, first_tried; /* of the addresses, in this attempt; the one it began with */
    unsigned handles; /* sockets, idle and check that are not gone yet */
    struct stores__redis_socket *socket; /* of the attempt, or of the connection that is up */

    struct stores__redis_out hello; /* the greeting's commands */
    unsigned step; /* the greeting's next answer */
    bool evicts_any;
    char run_id[41], new_run_id[41];

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
    uint64_t up_at;

    char why[256];
    struct stores__redis_stats stats;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* The loop's clock as it is now, not as it was when the turn began: the host may have been busy. */
static inline uint64_t stores__redis_now(void) {
    return uv_hrtime() / 1000000;
}

/* connect.c: ends the attempt or the connection; what was sent is dead, and a link that was well
 * is made anew at once. Calls nobody: all that follows comes on the next turn. */
void stores__redis_fail(struct stores__redis *redis, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* connect.c: the same where the server answers, and says that it is not to be used. */
void stores__redis_refused(struct stores__redis *redis, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* connect.c: asks for a next turn, that fails what is dead and flushes. */
void stores__redis_soon(struct stores__redis *redis);
/* connect.c: the greeting is over. */
void stores__redis_up(struct stores__redis *redis);

/* greet.c: sends the greeting, and takes one answer to it. */
void stores__redis_greet(struct stores__redis *redis);
void stores__redis_greeted(struct stores__redis *redis, const struct redisReply *reply);

/* link.c */
/* What is queued is on its way: its answers are due from now on. */
void stores__redis_sent(struct stores__redis *redis);
void stores__redis_on_reply(struct stores__redis *redis, struct redisReply *reply);
void stores__redis_fail_dead(struct stores__redis *redis);
void stores__redis_on_silence(struct stores__redis *redis);
/* What came was read: whether the silence was too long. */
void stores__redis_judge(struct stores__redis *redis);
/* connect.c: reads, and judges, after the poll of this turn. */
void stores__redis_look(struct stores__redis *redis);

#endif

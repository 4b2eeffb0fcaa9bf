/*
 * link.h - one pipelined connection to Redis, that reconnects, and a breaker before it.
 * Only this room includes hiredis: what a reply holds is read by reply.h. The link is owned by its
 * engine. Nothing of it keeps the loop alive, but for a name resolution that is under way (libuv
 * has no unreferenced requests) and closing.
 *
 * A request is embedded in what waits for it (or allocated by it), is queued by redis_send, and
 * its done() runs exactly once, from the loop, never inside redis_send: with the reply, or with
 * NULL when the link is down, was lost, or did not answer in time. A late reply never reaches
 * anybody: a link that is too slow is closed.
 *
 * A peer that closes a link is not one that is down: the link is made anew at once, and what was
 * not sent yet, or comes meanwhile, waits for that, for as long as it would wait for an answer.
 */
#ifndef STORES_REDIS_LINK_H
#define STORES_REDIS_LINK_H

#include <uv.h>

#include "base/err.h"
#include "base/timers.h"
#include "redis/out.h"
#include "redis/reply.h"

struct redisReply;

struct stores__redis_config {
    const char *host; /* name or address; ignored where path is set */
    int port;
    const char *path; /* unix socket, or NULL */
    /* Who is asked where the server is, at each connect, in place of host and port: places
     * (base/place.h), ended by NULL, the name that they know it by, and what they want to hear.
     * NULL: nobody. */
    const char *const *sentinels;
    const char *master;
    const char *sentinel_username, *sentinel_password;
    const stores_tls *sentinel_tls; /* NULL: none */
    const char *username, *password; /* NULL where there is none */
    const stores_tls *tls; /* NULL: none */
    int db;
    uint64_t timeout_ms; /* how long the server may be silent while a reply is due; default 50 */
    uint64_t connect_timeout_ms; /* default 1000 */
    /* An idle link is asked so often whether it lives, while the loop turns; default 30000.
     * UINT64_MAX: never. */
    uint64_t keepalive_ms;
    size_t text_max; /* bytes of a text in a reply; default 512 MiB, the most that Redis has */
    bool cluster; /* it has to be a node of one */
};

enum stores__redis_state {
    STORES__REDIS_DOWN, /* waiting for the next attempt; the breaker is open */
    STORES__REDIS_ASKING, /* the sentinels, where there are some */
    STORES__REDIS_RESOLVING,
    STORES__REDIS_CONNECTING,
    STORES__REDIS_GREETING, /* AUTH, SELECT, ROLE, INFO, PING: see greet.c */
    STORES__REDIS_UP,
    STORES__REDIS_CLOSED
};

struct stores__redis_req {
    struct stores__list link;
    /* *reply is NULL where there is none; reply itself never is. It is freed after done returns,
     * unless done takes it by setting *reply to NULL and frees it later with
     * stores__redis_reply_free. A reply of type error is given as it is. The link does not touch
     * req any more: done may free it, send again, or close the link. */
    void (*done)(struct stores__redis_req *req, struct redisReply **reply);
    /* The rest is the link's own, and set by the send; tail is for the resend after NOSCRIPT. */
    struct stores__redis_script *script;
    int nkeys;
    bool quiet; /* set by its sender after the send: who sent it says that it was refused */
    bool evaled; /* the script was sent itself */
    unsigned char handed_over; /* how often it was */
    size_t most; /* elements that the reply may have: as many as the command has words */
    struct stores__redis_tail tail;
};

/* A script that is sent as EVALSHA, and as EVAL once the server says NOSCRIPT. Static storage of
 * the caller; sha is computed at the first use (SHA-1 is the link's own business). */
struct stores__redis_script {
    const char *source;
    char sha[41];
    bool follows; /* its keys, to the server that has them: see stores__redis_hand_over */
};

struct stores__redis_stats {
    uint64_t round_trips; /* flushes that were followed by a wait: batches, not commands */
    uint64_t commands; /* requests sent; without the greeting, PINGs and the resends */
    uint64_t bytes_out, bytes_in;
    uint64_t connects; /* times that the link went up */
    uint64_t failures; /* attempts that failed and connections that were lost */
    uint64_t timeouts; /* of those, the ones where an answer did not come in time */
};

struct stores__redis;

struct stores__redis_hooks {
    void *arg;
    /* The link is up and run_id (40 hex digits) is known. evicts_any: as stores__redis_evicts.
     * Before this no request is sent. */
    void (*up)(void *arg, const char *run_id, bool evicts_any);
    /* The link went down, or its first attempt failed; what was pending has had its done(NULL).
     * Not called for further attempts that fail (redis_why tells), nor after redis_close. */
    void (*down)(void *arg, const char *why);
    /* The server refused a request, in these words (the arguments that it may quote are cut off).
     * Before the request's done(). NULL: nobody wants to know. */
    void (*refused)(void *arg, const char *text);
    /* A node of a cluster did not do a request, for it does not serve the keys (redis/slots.h reads
     * the error). True: it was handed over, so that its done() is still to come; else that gets the
     * error. NULL: nobody wants to know. */
    bool (*elsewhere)(void *arg, struct stores__redis_req *req, const char *error);
    /* Of a link that subscribes: something was published; text NULL: what came is no text. NULL:
     * nothing is expected that was not asked for. */
    void (*published)(void *arg, const char *channel, const char *text);
    /* What comes and was not asked for is thrown away: see stores__redis_say. */
    bool mute;
};

/* Copies config. Starts connecting at once. NULL: no memory, or a sentinel is no place. */
struct stores__redis *stores__redis_open(uv_loop_t *loop, struct stores__timers *timers,
                                         const struct stores__redis_config *config,
                                         const struct stores__redis_hooks *hooks);
/* The same with the config of another link, which is copied, for another place. */
struct stores__redis *stores__redis_open_beside(const struct stores__redis *other, const char *host,
                                                int port, const struct stores__redis_hooks *hooks);
/* One more link to the very server that another link is to, or was: for subscriptions, or for what
 * is only said. NULL: no memory. */
struct stores__redis *stores__redis_open_same(const struct stores__redis *other,
                                              const struct stores__redis_hooks *hooks);
/* Whether both go to one place: what sentinels tell the one the other does not hear. */
bool stores__redis_same_place(const struct stores__redis *one, const struct stores__redis *other);
/* Outside of the loop: reads what is there, without waiting, and calls back for it. */
void stores__redis_read(struct stores__redis *redis);
/* In a child of a fork, before it is closed: nothing that closing does reaches the server. */
void stores__redis_deafen(struct stores__redis *redis, int deaf);
/* Fails what is pending, closes all handles, frees itself and calls closed(arg), all of it from the
 * loop. A name resolution that is under way is waited for. To be called once; from then on only
 * redis_send (false), redis_script (false), flush and nudge (nothing) may be called, up to closed.
 */
void stores__redis_close(struct stores__redis *redis, void (*closed)(void *arg), void *arg);

enum stores__redis_state stores__redis_state(const struct stores__redis *redis);
/* The server's run_id, in which eight digits are of its master_replid; "" before the first up. */
const char *stores__redis_run_id(const struct stores__redis *redis);
const struct stores__redis_stats *stores__redis_stats(const struct stores__redis *redis);
/* Whether the server that was met last said that it is a node of a cluster. */
bool stores__redis_clustered(const struct stores__redis *redis);
/* Why the link is down, for a human, no password in it; "" where it is not. */
const char *stores__redis_why(const struct stores__redis *redis);
/* When down: try again now rather than at the end of the back-off (500 ms at most). */
void stores__redis_nudge(struct stores__redis *redis);

/* Queues a command in the output; it leaves with the next flush. Where the state is ASKING,
 * RESOLVING, CONNECTING or GREETING for the first time in the link's life, it waits for up()
 * (bounded by connect_timeout), as it does right after a loss (bounded by timeout); where DOWN, or
 * on a later attempt, done(NULL) comes on the next turn. All
 * arguments are copied. False: no memory, too long, or CLOSED; done is then never called. */
bool stores__redis_send(struct stores__redis *redis, struct stores__redis_req *req, int argc,
                        const char *const *argv, const size_t *lens);
/* The same for a script: keys are argv[0..nkeys-1], the rest are its ARGV. One that the server did
 * not know runs after the commands that were sent behind it. */
bool stores__redis_script(struct stores__redis *redis, struct stores__redis_req *req,
                          struct stores__redis_script *script, int nkeys, int argc,
                          const char *const *argv, const size_t *lens);
/* Writes a script, on a link that is mute, to which the server answers nothing; one that does not
 * let that be asked for (CLIENT REPLY) answers all the same. Nobody hears of what becomes of it,
 * nor that the server does not know it: who says it has seen that it does. False: it is not up. */
bool stores__redis_say(struct stores__redis *redis, struct stores__redis_script *script, int nkeys,
                       int argc, const char *const *argv, const size_t *lens);
/* What was said may not arrive: a link that does not answer a PING in time is made anew. */
void stores__redis_doubt(struct stores__redis *redis);
/* From within hooks.elsewhere of the link that req was sent by: sends its script by another link,
 * behind an ASKING or not. False: it is no script that follows its keys, was handed over several
 * times already, or there is no memory; nothing was sent then. */
bool stores__redis_hand_over(struct stores__redis *from, struct stores__redis *to,
                             struct stores__redis_req *req, bool asking);
/* Writes what is queued: one write where the socket takes it all. Never waits, calls no done. */
void stores__redis_flush(struct stores__redis *redis);
/* Takes the answers that have come meanwhile, as the loop would in its next turn. Not from within a
 * done. */
void stores__redis_glance(struct stores__redis *redis);
/* Requests whose done is still to come. */
size_t stores__redis_pending(const struct stores__redis *redis);
/* Whether INFO memory says that intents could be evicted. A server that does not say what its
 * policy is (it may refuse INFO) is taken to have one that does. */
bool stores__redis_evicts(const struct redisReply *memory);
/* In which words the server of this connection refused to say what its policy is; "": it did
 * not. */
const char *stores__redis_policy_refusal(const struct stores__redis *redis);
/* Whether INFO replication tells of the server that was met when the link came up, as it was then;
 * false where it tells nothing. */
bool stores__redis_goes_on(struct stores__redis *redis, const struct redisReply *reply);
/* The server wants replicas (min-replicas-to-write) and has none that follows, by the last look at
 * it: it takes no writes, and another one may be the primary by now. */
bool stores__redis_alone(const struct stores__redis *redis);
/* A command that writes was done. */
void stores__redis_wrote(struct stores__redis *redis);
/* The link is made anew, as after a loss; what is under way gets no answer. */
void stores__redis_renew(struct stores__redis *redis, const char *why);

#endif

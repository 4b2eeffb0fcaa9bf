/*
 * connect.c - the attempts of a link: resolve, connect, up, try again. How it goes down is in
 * loss.c, how it begins and ends in life.c.
 *
 *     open -> ASKING -> RESOLVING -> CONNECTING -> GREETING -> UP
 *                |          |            |            |         |
 *                +----------+------------+---- DOWN <-+---------+   (10 to 500 ms later: again)
 */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "redis/internal.h"

#define ENOUGH (16 * 1024) /* bytes of a long answer that count as a sign of life; a few do not */
#define GREETING_MOST 16 /* elements of an answer to what is asked at first, which is a text */
#define PUBLISHED_MOST 4 /* elements of what is published, and of the answers beside it */
#define HELD_UP 20 /* a deadline that fires this late fires on a loop that did not turn */

static void time_attempt(struct stores__redis *redis);
static void connect_next(struct stores__redis *redis, const char *last_why);

/* ---- An attempt ----------------------------------------------------------------------------- */

static const char *place(const struct stores__redis *redis, char *out, size_t size) {
    if (redis->config.path) {
        snprintf(out, size, "%s", redis->config.path);
    } else {
        snprintf(out, size, "%s:%d", redis->config.host, redis->config.port);
    }
    return out;
}

static void fail_to_connect(struct stores__redis *redis, const char *why) {
    char where[112];

    stores__redis_fail(redis, "cannot connect to Redis at %s: %s",
                       place(redis, where, sizeof where), why);
}

static void on_connected(void *arg) {
    struct stores__redis *redis = arg;

    redis->state = STORES__REDIS_GREETING;
    redis->came = 0;
    stores__redis_greet(redis);
}

static void on_moved(void *arg, size_t in, size_t out) {
    struct stores__redis *redis = arg;

    redis->stats.bytes_in += in;
    redis->stats.bytes_out += out;
    if (in > 0) {
        redis->heard_at = stores__redis_now();
        redis->came += in;
        if (redis->came >= ENOUGH) {
            redis->since = redis->heard_at;
            redis->came = 0;
        }
    }
    /* a socket that takes the rest of a flush takes what was queued meanwhile, too */
    if (out > 0 && redis->state == STORES__REDIS_UP) stores__redis_sent(redis);
}

/* Read after the poll, when all other sockets were looked at: that a server of PostgreSQL is gone
 * must be known before what was cached of it is believed. */
static void on_readable(void *arg) {
    struct stores__redis *redis = arg;

    if (redis->state == STORES__REDIS_UP) {
        stores__redis_look(redis);
    } else {
        stores__redis_socket_read(redis->socket);
    }
}

static size_t expects(void *arg) {
    const struct stores__redis *redis = arg;

    if (redis->state != STORES__REDIS_UP) return GREETING_MOST;
    if (redis->hooks.published) return PUBLISHED_MOST;
    if (redis->due == 0) return 0;
    return STORES__CONTAINER(redis->pending.next, struct stores__redis_req, link)->most;
}

static void go_up(struct stores__redis *redis) {
    memcpy(redis->run_id, redis->new_run_id, sizeof redis->run_id);
    redis->state = STORES__REDIS_UP;
    redis->first = redis->holds = false;
    redis->up_at = redis->heard_at = stores__redis_now();
    redis->asleep = stores__redis_asleep();
    redis->why[0] = '\0';
    redis->stats.connects++;
    if (redis->addresses) uv_freeaddrinfo(redis->addresses);
    redis->addresses = NULL;
    stores__redis_rest(redis);
    if (redis->master) stores__master_watch(redis->master);
    if (redis->state != STORES__REDIS_UP) return; /* it is elsewhere by now */
    if (redis->hooks.up) redis->hooks.up(redis->hooks.arg, redis->run_id, redis->evicts_any);
    stores__redis_flush(redis); /* what waited for the first connection */
}

static void on_reply(void *arg, struct redisReply *reply) {
    struct stores__redis *redis = arg;

    if (redis->state == STORES__REDIS_GREETING) {
        bool over = stores__redis_greeted(redis, reply);
        stores__redis_reply_free(reply);
        if (over) go_up(redis);
    } else {
        stores__redis_on_reply(redis, reply);
    }
}

static void on_lost(void *arg, const char *why) {
    struct stores__redis *redis = arg;

    if (redis->state == STORES__REDIS_CONNECTING) {
        stores__redis_close_socket(redis);
        connect_next(redis, why);
    } else {
        bool mute = redis->state == STORES__REDIS_GREETING && redis->came == 0;
        bool plain = !redis->tls && !redis->config.path;
        stores__redis_fail(redis, "the connection to Redis was lost: %s%s", why,
                           mute && plain ? ", and said nothing: does it want TLS?" : "");
    }
}

static void on_garbled(void *arg, const char *why) {
    stores__redis_refused(arg, "the connection to Redis was lost: %s", why);
}

static void on_socket_closed(void *arg) {
    stores__redis_gone(arg);
}

static const struct stores__redis_socket_hooks socket_hooks = {
    .connected = on_connected,
    .readable = on_readable,
    .moved = on_moved,
    .expects = expects,
    .reply = on_reply,
    .lost = on_lost,
    .garbled = on_garbled,
    .closed = on_socket_closed,
};

static bool connect_to(struct stores__redis *redis, const char *address, int port, char *why,
                       size_t size) {
    redis->state = STORES__REDIS_CONNECTING;
    redis->socket = stores__redis_socket_open(redis->loop, address, port, &socket_hooks, redis, why,
                                              size);
    if (!redis->socket) return false;
    redis->handles++;
    stores__redis_socket_limit(redis->socket, redis->config.text_max);
    if (redis->tls &&
        !stores__redis_socket_secure(redis->socket, redis->tls, redis->config.host, why, size)) {
        stores__redis_close_socket(redis);
    }
    return redis->socket != NULL;
}

/* Tries the addresses in turn. Where an attempt ran out of time, the next one begins with the
 * address after: one that swallows packets must not stand before a good one for ever. */
static void connect_next(struct stores__redis *redis, const char *last_why) {
    char why[STORES__TLS_WHY], numeric[NI_MAXHOST];
    unsigned count = 0, nth;
    struct addrinfo *at;

    snprintf(why, sizeof why, "%s", last_why);
    for (at = redis->addresses; at; at = at->ai_next) count++;
    while (redis->tried < count) {
        nth = (redis->first_tried + redis->tried++) % count;
        for (at = redis->addresses; nth > 0; nth--) at = at->ai_next;
        if (getnameinfo(at->ai_addr, at->ai_addrlen, numeric, sizeof numeric, NULL, 0,
                        NI_NUMERICHOST) != 0) {
            continue;
        }
        if (connect_to(redis, numeric, redis->config.port, why, sizeof why)) return;
    }
    fail_to_connect(redis, why);
}

static void on_resolved(void *arg, struct addrinfo *addresses, const char *why) {
    struct stores__redis *redis = arg;

    redis->lookup = NULL;
    if (redis->state != STORES__REDIS_RESOLVING) {
        uv_freeaddrinfo(addresses);
    } else if (addresses == NULL) {
        stores__redis_fail(redis, "cannot resolve the host name '%.100s' of Redis: %s",
                           redis->config.host, why);
    } else {
        redis->addresses = addresses;
        redis->tried = 0;
        connect_next(redis, "it has no usable address");
    }
}

static void resolve(struct stores__redis *redis) {
    redis->state = STORES__REDIS_RESOLVING;
    if (redis->lookup) return; /* for an attempt that gave up; its answer will do as well */
    redis->lookup = stores__lookup(redis->loop, redis->config.host, on_resolved, redis);
    if (!redis->lookup) {
        stores__redis_fail(redis,
                           "cannot resolve the host name '%.100s' of Redis: no memory, or "
                           "no thread",
                           redis->config.host);
    }
}

static bool is_numeric(const char *host) {
    unsigned char address[16];

    return uv_inet_pton(AF_INET, host, address) == 0 || uv_inet_pton(AF_INET6, host, address) == 0;
}

static void reach(struct stores__redis *redis) {
    const char *path = redis->config.path, *host = redis->config.host;
    char why[STORES__TLS_WHY];

    if (!path && !is_numeric(host)) {
        resolve(redis);
    } else if (!connect_to(redis, path ? path : host, path ? 0 : redis->config.port, why,
                           sizeof why)) {
        fail_to_connect(redis, why);
    }
}

static void locate(struct stores__redis *redis) {
    if (redis->master) {
        redis->state = STORES__REDIS_ASKING;
        stores__master_ask(redis->master, redis->attempt_ends);
    } else {
        reach(redis);
    }
}

void stores__redis_attempt(struct stores__redis *redis) {
    redis->attempt_extended = false;
    time_attempt(redis);
    locate(redis);
}

/* ---- What the sentinels tell ---------------------------------------------------------------- */

static void on_found(void *arg, const struct stores__place *found) {
    struct stores__redis *redis = arg;

    if (strcmp(redis->config.host, found->host) != 0) {
        char *host = stores__strdup(found->host);
        if (!host) {
            stores__redis_fail(redis, "memory ran out");
            return;
        }
        free((char *)redis->config.host);
        redis->config.host = host;
        if (redis->lookup) stores__lookup_forget(redis->lookup); /* of another name */
        redis->lookup = NULL;
    }
    redis->config.port = found->port;
    reach(redis);
}

static void on_unknown(void *arg, const char *why) {
    stores__redis_fail(arg, "no sentinel tells where Redis is: %s", why);
}

static void on_elsewhere(void *arg) {
    struct stores__redis *redis = arg;

    switch (redis->state) {
    case STORES__REDIS_DOWN: stores__redis_attempt(redis); break;
    case STORES__REDIS_RESOLVING:
    case STORES__REDIS_CONNECTING:
    case STORES__REDIS_GREETING: /* with what is left of its time */
        stores__redis_forget_attempt(redis);
        locate(redis);
        break;
    case STORES__REDIS_UP: stores__redis_renew(redis, "the sentinels name another one"); break;
    case STORES__REDIS_ASKING:
    case STORES__REDIS_CLOSED: break;
    }
}

const struct stores__master_hooks stores__redis_master_hooks = {
    .found = on_found,
    .unknown = on_unknown,
    .moved = on_elsewhere,
};

/* ---- Its time ------------------------------------------------------------------------------- */

/* Who waited has waited long enough; the attempt goes on. */
static void end_hold(struct stores__redis *redis) {
    redis->holds = false;
    redis->tell_down = true;
    stores__redis_forget_requests(redis);
    stores__redis_await(redis, STORES__REDIS_ATTEMPT_END, redis->attempt_ends);
    stores__redis_soon(redis);
}

static void time_attempt(struct stores__redis *redis) {
    uint64_t now = stores__redis_now();

    redis->attempt_ends = now + redis->config.connect_timeout_ms;
    if (redis->holds && redis->config.timeout_ms < redis->config.connect_timeout_ms) {
        stores__redis_await(redis, STORES__REDIS_HOLD_END, now + redis->config.timeout_ms);
    } else {
        stores__redis_await(redis, STORES__REDIS_ATTEMPT_END, redis->attempt_ends);
    }
}

/* The answer may be there already and nobody has looked: gives the loop the time it lost, once. */
static bool extend_attempt(struct stores__redis *redis, uint64_t ended) {
    if (stores__redis_now() < ended + HELD_UP || redis->attempt_extended) return false;
    redis->attempt_extended = true;
    time_attempt(redis);
    return true;
}

static void end_attempt(struct stores__redis *redis) {
    const char *shakes = redis->socket ? stores__redis_socket_shakes(redis->socket) : NULL;

    redis->stats.timeouts++;
    redis->first_tried++;
    stores__redis_fail(redis, "Redis did not %s within %llu ms%s",
                       shakes                                     ? "end the TLS handshake"
                       : redis->state == STORES__REDIS_GREETING   ? "answer"
                       : redis->state == STORES__REDIS_CONNECTING ? "accept a connection"
                       : redis->state == STORES__REDIS_RESOLVING  ? "have its name resolved"
                                                                  : "get found by its sentinels",
                       (unsigned long long)redis->config.connect_timeout_ms, shakes ? shakes : "");
}

void stores__redis_on_timer(struct stores__timer *timer) {
    struct stores__redis *redis = STORES__CONTAINER(timer, struct stores__redis, timer);
    enum stores__redis_awaited awaited = redis->awaited;
    uint64_t ended = redis->awaited_at;

    /* takes the place in the heap that firing has just emptied */
    stores__redis_await(redis, STORES__REDIS_NOTHING, UINT64_MAX);
    switch (awaited) {
    case STORES__REDIS_NOTHING: break;
    case STORES__REDIS_NEXT_ATTEMPT: stores__redis_attempt(redis); break;
    case STORES__REDIS_HOLD_END:
        if (!extend_attempt(redis, ended)) end_hold(redis);
        break;
    case STORES__REDIS_ATTEMPT_END:
        if (!extend_attempt(redis, ended)) end_attempt(redis);
        break;
    case STORES__REDIS_ANSWER: stores__redis_on_silence(redis); break;
    case STORES__REDIS_IDLE: stores__redis_keep_alive(redis); break;
    }
}

void stores__redis_nudge(struct stores__redis *redis) {
    if (redis->state == STORES__REDIS_DOWN) stores__redis_attempt(redis);
}

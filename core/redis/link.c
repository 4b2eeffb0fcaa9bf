/* link.c - requests of a link: queued, flushed, answered, timed out. See link.h. */
#include "redis/link.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

#include "redis/internal.h"
#include "redis/slots.h"
#include "base/ids.h"
#include "base/sha1.h"

/* ---- Sending -------------------------------------------------------------------------------- */

#define QUIET_MS 100
#define LONG_QUIET_MS 1000 /* something between us may have forgotten the connection */
#define WORDS_MAX 200

bool stores__redis_takes(const struct stores__redis *redis) {
    return redis->state == STORES__REDIS_UP || redis->first || redis->holds;
}

static void queue(struct stores__redis *redis, struct stores__redis_req *req, int argc) {
    req->most = (size_t)argc;
    req->quiet = false;
    req->evaled = false;
    req->handed_over = 0;
    redis->count++;
    redis->stats.commands++;
    redis->unflushed++;
    stores__list_append(&redis->pending, &req->link);
}

bool stores__redis_send(struct stores__redis *redis, struct stores__redis_req *req, int argc,
                        const char *const *argv, const size_t *lens) {
    if (redis->state == STORES__REDIS_CLOSED) return false;
    req->script = NULL;
    memset(&req->tail, 0, sizeof req->tail);
    if (!stores__redis_takes(redis)) {
        stores__redis_die(redis, req);
        return true;
    }
    if (!stores__redis_out_command(&redis->out, argc, argv, lens, 0, NULL, NULL, NULL)) {
        return false;
    }
    queue(redis, req, argc);
    return true;
}

/* The three words before the keys; words[2] is made in count. */
static void script_head(const char *verb, const char *what, int nkeys, const char *words[3],
                        size_t lens[3], char count[STORES__ID_SIZE]) {
    words[0] = verb;
    words[1] = what;
    words[2] = count;
    lens[0] = strlen(verb);
    lens[1] = strlen(what);
    lens[2] = stores__id_write(nkeys, count);
}

/* Engines of several threads may share a script: the first digit says that the rest is there. */
static void name_script(struct stores__redis_script *script) {
    char sha[41];

    if (__atomic_load_n(&script->sha[0], __ATOMIC_ACQUIRE)) return;
    stores__sha1_hex(script->source, strlen(script->source), sha);
    memcpy(script->sha + 1, sha + 1, sizeof sha - 1);
    __atomic_store_n(&script->sha[0], sha[0], __ATOMIC_RELEASE);
}

bool stores__redis_script(struct stores__redis *redis, struct stores__redis_req *req,
                          struct stores__redis_script *script, int nkeys, int argc,
                          const char *const *argv, const size_t *lens) {
    const char *words[3];
    size_t word_lens[3];
    char count[STORES__ID_SIZE];

    if (redis->state == STORES__REDIS_CLOSED) return false;
    req->script = script;
    req->nkeys = nkeys;
    memset(&req->tail, 0, sizeof req->tail);
    if (!stores__redis_takes(redis)) {
        stores__redis_die(redis, req);
        return true;
    }
    name_script(script);
    script_head("EVALSHA", script->sha, nkeys, words, word_lens, count);
    if (!stores__redis_out_command(&redis->out, 3, words, word_lens, argc, argv, lens,
                                   &req->tail)) {
        return false;
    }
    queue(redis, req, argc);
    return true;
}

bool stores__redis_say(struct stores__redis *redis, struct stores__redis_script *script, int nkeys,
                       int argc, const char *const *argv, const size_t *lens) {
    static const char *const skip[] = {"CLIENT", "REPLY", "SKIP"};
    static const size_t skip_lens[] = {6, 5, 4};
    const char *words[3];
    size_t word_lens[3];
    char count[STORES__ID_SIZE];

    if (redis->state != STORES__REDIS_UP) return false;
    name_script(script);
    script_head("EVALSHA", script->sha, nkeys, words, word_lens, count);
    bool skips = stores__redis_out_command(&redis->out, 3, skip, skip_lens, 0, NULL, NULL, NULL);
    if (!skips) return false;
    if (!stores__redis_out_command(&redis->out, 3, words, word_lens, argc, argv, lens, NULL)) {
        stores__redis_fail(redis, "no memory"); /* the next one would not be answered */
        return false;
    }
    stores__redis_socket_flush(redis->socket, &redis->out); /* closed or not: nobody waits */
    return true;
}

void stores__redis_expect(struct stores__redis *redis, size_t count) {
    uint64_t timeout = redis->config.timeout_ms, keepalive = redis->config.keepalive_ms;

    if (redis->due == 0) {
        redis->since = stores__redis_now();
        redis->was_quiet = redis->since >= redis->heard_at + LONG_QUIET_MS;
        redis->came = 0;
        if (redis->awaited != STORES__REDIS_ANSWER) {
            /* it looks once more where the answer is due still */
            stores__redis_await(redis, STORES__REDIS_ANSWER,
                                redis->since + (timeout < keepalive ? timeout : keepalive));
        }
    }
    redis->due += count;
}

void stores__redis_sent(struct stores__redis *redis) {
    if (redis->unflushed == 0) return;
    redis->stats.round_trips++;
    stores__redis_expect(redis, redis->unflushed);
    redis->unflushed = 0;
}

void stores__redis_rest(struct stores__redis *redis) {
    uint64_t keepalive = redis->config.keepalive_ms;

    if (keepalive == UINT64_MAX) {
        stores__redis_await(redis, STORES__REDIS_NOTHING, UINT64_MAX);
    } else {
        stores__redis_await(redis, STORES__REDIS_IDLE, redis->heard_at + keepalive);
    }
}

/* A link that nobody used for a while may have been closed by the other side, and the loop of a
 * plain script does not turn between its calls: found out before something is sent, that costs no
 * request. */
static bool is_closed(struct stores__redis *redis) {
    if (redis->due > 0 || stores__redis_now() < redis->heard_at + QUIET_MS) return false;
    stores__redis_socket_read(redis->socket);
    return redis->state != STORES__REDIS_UP;
}

void stores__redis_flush(struct stores__redis *redis) {
    if (redis->state != STORES__REDIS_UP || redis->out.unsent == 0 || is_closed(redis)) return;
    stores__redis_sent(redis);
    stores__redis_socket_flush(redis->socket, &redis->out);
}

void stores__redis_glance(struct stores__redis *redis) {
    if (redis->state == STORES__REDIS_UP && redis->due > 0) {
        stores__redis_socket_read(redis->socket);
    }
}

/* ---- Answers -------------------------------------------------------------------------------- */

static void give(struct stores__redis *redis, struct stores__redis_req *req,
                 struct redisReply *reply) {
    stores__redis_tail_drop(&req->tail);
    redis->count--;
    req->done(req, &reply);
    stores__redis_reply_free(reply);
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether an error reply says that this server is not to be used, for now or any more. Before
 * Redis 7 a script's error is wrapped in words of its own. */
static bool ends_link(const char *text) {
    static const char *const words[] = {"READONLY ", "LOADING ", "MASTERDOWN ", "NOAUTH "};
    size_t i;

    if (begins(text, "ERR Error running script")) {
        const char *inner = strstr(text, ": -");
        if (inner) text = inner + 3;
    }
    for (i = 0; i < sizeof words / sizeof *words; i++) {
        if (begins(text, words[i])) return true;
    }
    return false;
}

bool stores__redis_resend(struct stores__redis *redis, struct stores__redis_req *req) {
    const char *words[3];
    size_t lens[3];
    char count[STORES__ID_SIZE];

    script_head("EVAL", req->script->source, req->nkeys, words, lens, count);
    if (!stores__redis_out_again(&redis->out, 3, words, lens, &req->tail)) return false;
    req->evaled = true;
    stores__list_append(&redis->pending, &req->link);
    redis->unflushed++;
    stores__redis_soon(redis);
    return true;
}

static void tell_refusal(struct stores__redis *redis, const char *error) {
    char text[WORDS_MAX];

    stores__redis_words(error, text, sizeof text);
    if (strstr(text, "NOREPLICAS ")) redis->alone = true;
    if (redis->hooks.refused) redis->hooks.refused(redis->hooks.arg, text);
}

void stores__redis_wrote(struct stores__redis *redis) {
    redis->alone = false;
}

/* The slot of the keys moves, or has moved: nothing is wrong with the server. */
static bool is_about_place(const char *error) {
    enum stores__slot_says says = stores__redirect_read(error).says;

    return says != STORES__SLOT_FINE && says != STORES__SLOT_DOWN;
}

/* The request is sent once more, here or elsewhere. */
static bool is_answered_by_another(struct stores__redis *redis, struct stores__redis_req *req,
                                   const char *error) {
    if (req->script && !req->evaled && begins(error, "NOSCRIPT"))
        return stores__redis_resend(redis, req);
    if (!redis->hooks.elsewhere || stores__redirect_read(error).says == STORES__SLOT_FINE) {
        return false;
    }
    return redis->hooks.elsewhere(redis->hooks.arg, req, error);
}

/* What is published comes between the answers. True: it was that. */
static bool is_published(struct stores__redis *redis, const struct redisReply *reply) {
    const char *kind, *channel;

    if (!redis->hooks.published) return false;
    kind = stores__redis_text(stores__redis_at(reply, 0), NULL);
    channel = stores__redis_text(stores__redis_at(reply, 1), NULL);
    if (!kind || strcmp(kind, "message") != 0 || !channel) return false;
    redis->hooks.published(redis->hooks.arg, channel,
                           stores__redis_text(stores__redis_at(reply, 2), NULL));
    return true;
}

void stores__redis_on_reply(struct stores__redis *redis, struct redisReply *reply) {
    const char *error = reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
    struct stores__redis_req *req;
    char why[160] = "";

    if (is_published(redis, reply)) {
        stores__redis_reply_free(reply);
        return;
    }
    if (redis->due == 0) {
        stores__redis_reply_free(reply);
        if (redis->hooks.mute) return;
        stores__redis_refused(redis, "Redis gave an answer that nobody asked for");
        return;
    }
    redis->due--;
    redis->failed_in_row = 0;
    redis->since = redis->heard_at;
    redis->came = 0;
    req = STORES__CONTAINER(stores__list_shift(&redis->pending), struct stores__redis_req, link);
    if (error && is_answered_by_another(redis, req, error)) {
        stores__redis_reply_free(reply);
        return;
    }
    if (error && !ends_link(error) && !req->quiet && !is_about_place(error)) {
        tell_refusal(redis, error);
    }
    if (error && ends_link(error)) snprintf(why, sizeof why, "%s", error);
    give(redis, req, reply);
    if (why[0]) stores__redis_refused(redis, "Redis cannot be used: %s", why);
}

void stores__redis_die(struct stores__redis *redis, struct stores__redis_req *req) {
    redis->count++;
    stores__list_append(&redis->dead, &req->link);
    stores__redis_soon(redis);
}

void stores__redis_fail_dead(struct stores__redis *redis) {
    struct stores__list dead, *node;

    /* What a done() sends meanwhile is for the turn after this one. */
    stores__list_init(&dead);
    stores__list_move(&redis->dead, &dead);
    while ((node = stores__list_shift(&dead)) != NULL) {
        give(redis, STORES__CONTAINER(node, struct stores__redis_req, link), NULL);
    }
}

void stores__redis_on_turn(uv_idle_t *idle) {
    struct stores__redis *redis = STORES__CONTAINER(idle, struct stores__redis, idle);

    uv_idle_stop(idle);
    stores__redis_fail_dead(redis);
    if (redis->tell_down && redis->state != STORES__REDIS_CLOSED) {
        redis->tell_down = false;
        if (redis->hooks.down) redis->hooks.down(redis->hooks.arg, redis->why);
    }
    stores__redis_flush(redis);
}

/* ---- Silence -------------------------------------------------------------------------------- */

/* A machine that slept did not see the time go by. */
static bool has_slept(struct stores__redis *redis) {
    uint64_t asleep = stores__redis_asleep();
    bool slept = asleep >= redis->asleep + LONG_QUIET_MS;

    redis->asleep = asleep;
    return slept;
}

/* What came was read: whether the silence was too long. */
static void judge(struct stores__redis *redis) {
    uint64_t timeout = redis->config.timeout_ms;

    if (redis->state != STORES__REDIS_UP || redis->due == 0) return;
    if (stores__redis_now() < redis->since + timeout) return;
    redis->stats.timeouts++;
    /* after a long pause it may be the connection alone that is dead; else it is the server */
    bool dead_link = has_slept(redis) || redis->was_quiet;
    void (*end)(struct stores__redis *, const char *, ...) = dead_link ? stores__redis_fail
                                                                       : stores__redis_refused;
    end(redis, "Redis was silent for %llu ms", (unsigned long long)timeout);
}

static void on_check(uv_check_t *check) {
    struct stores__redis *redis = STORES__CONTAINER(check, struct stores__redis, check);

    uv_check_stop(check);
    if (redis->state != STORES__REDIS_UP) return;
    stores__redis_socket_read(redis->socket);
    judge(redis);
}

void stores__redis_look(struct stores__redis *redis) {
    uv_check_start(&redis->check, on_check);
}

/* The timer is not moved on every answer: it looks here whether the silence was long enough. It may
 * be the loop that was held up, with the answers waiting in the socket: that is judged after they
 * were read, once more. */
void stores__redis_on_silence(struct stores__redis *redis) {
    uint64_t ends = redis->since + redis->config.timeout_ms, now = stores__redis_now();

    if (redis->due == 0) {
        stores__redis_rest(redis);
        return;
    }
    if (now >= ends) stores__redis_look(redis);
    stores__redis_await(redis, STORES__REDIS_ANSWER, now >= ends ? now + 1 : ends);
}

void stores__redis_renew(struct stores__redis *redis, const char *why) {
    if (redis->state == STORES__REDIS_UP) stores__redis_fail(redis, "%s", why);
}

void stores__redis_read(struct stores__redis *redis) {
    if (redis->state == STORES__REDIS_UP) stores__redis_socket_read(redis->socket);
}

/*
 * redis_harness.h - one link, one loop and one server for the specs of the link.
 */
#ifndef STORES_REDIS_HARNESS_H
#define STORES_REDIS_HARNESS_H

#include <hiredis/hiredis.h>
#include <unistd.h>

#include "check.h"
#include "redis/link.h"
#include "redis_server.h"

static uv_loop_t loop;
static struct stores__timers timers;
static uv_timer_t tick; /* keeps the loop alive and turning, as an engine with pending ops does */

static struct {
    struct stores__redis *redis;
    int ups, downs, closes;
    char run_id[41], why[256];
    bool evicts_any, close_on_up;
} link_;

static inline void on_closed(void *arg) {
    CHECK(arg == &link_);
    link_.closes++;
    link_.redis = NULL;
}

static inline void on_up(void *arg, const char *run_id, bool evicts_any) {
    CHECK(arg == &link_);
    link_.ups++;
    link_.evicts_any = evicts_any;
    snprintf(link_.run_id, sizeof link_.run_id, "%s", run_id);
    if (link_.close_on_up) stores__redis_close(link_.redis, on_closed, &link_);
}

static inline void on_down(void *arg, const char *why) {
    CHECK(arg == &link_);
    link_.downs++;
    snprintf(link_.why, sizeof link_.why, "%s", why);
}

static const struct stores__redis_hooks hooks = {.arg = &link_, .up = on_up, .down = on_down};

/* ---- The loop ------------------------------------------------------------------------------- */

static inline void on_tick(uv_timer_t *timer) {
    (void)timer;
}

static inline uint64_t now(void) {
    return uv_hrtime() / 1000000;
}

/* Turns the loop until condition, for at most ms. */
#define TURN_UNTIL(condition, ms)                                                                  \
    do {                                                                                           \
        uint64_t end_ = now() + (ms);                                                              \
        while (!(condition) && now() < end_) uv_run(&loop, UV_RUN_ONCE);                           \
    } while (0)

static struct stores__redis_config config;

static inline void open_link(void) {
    memset(&link_, 0, sizeof link_);
    link_.redis = stores__redis_open(&loop, &timers, &config, &hooks);
    CHECK(link_.redis != NULL);
}

static inline void open_up(void) {
    open_link();
    TURN_UNTIL(link_.ups, 20000);
    CHECK_INT(link_.ups, 1);
    CHECK_INT(stores__redis_state(link_.redis), STORES__REDIS_UP);
    CHECK_STR(stores__redis_why(link_.redis), "");
}

static inline void close_link(void) {
    stores__redis_close(link_.redis, on_closed, &link_);
    CHECK_INT(link_.closes, 0);
    TURN_UNTIL(link_.closes, 20000);
    CHECK_INT(link_.closes, 1);
    CHECK_INT(timers.count, 0);
}

/* ---- Requests ------------------------------------------------------------------------------- */

struct call {
    struct stores__redis_req req;
    int done, nulls, errors;
    long long integer;
    char text[64];
    int order;
    void (*then)(struct call *call);
};

static int order, inside_send;

static inline void on_done(struct stores__redis_req *req, struct redisReply **reply) {
    struct call *call = STORES__CONTAINER(req, struct call, req);

    CHECK_INT(inside_send, 0);
    call->done++;
    call->order = ++order;
    if (!*reply) {
        call->nulls++;
    } else {
        call->errors += (*reply)->type == REDIS_REPLY_ERROR;
        call->integer = (*reply)->integer;
        if ((*reply)->str) snprintf(call->text, sizeof call->text, "%s", (*reply)->str);
    }
    if (call->then) call->then(call);
}

static inline int split(char *words, const char *argv[16], size_t lens[16]) {
    int argc = 0;
    char *at;

    for (at = strtok(words, " "); at && argc < 16; at = strtok(NULL, " ")) {
        argv[argc] = at;
        lens[argc++] = strlen(at);
    }
    return argc;
}

static inline bool send_call(struct call *call, const char *command) {
    char words[256];
    const char *argv[16];
    size_t lens[16];
    int argc;
    bool sent;

    snprintf(words, sizeof words, "%s", command);
    argc = split(words, argv, lens);
    call->req.done = on_done;
    inside_send = 1;
    sent = stores__redis_send(link_.redis, &call->req, argc, argv, lens);
    inside_send = 0;
    return sent;
}

static inline struct call ask(const char *command) {
    struct call call = {0};

    CHECK(send_call(&call, command));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(call.done, 20000);
    CHECK_INT(call.done, 1);
    return call;
}

static struct stores__redis_script script = {
    .source = "return redis.call('INCRBY', KEYS[1], ARGV[1])",
};

static inline void send_script(struct call *call, const char *key, const char *by) {
    const char *argv[2] = {key, by};
    size_t lens[2] = {strlen(key), strlen(by)};

    call->req.done = on_done;
    CHECK(stores__redis_script(link_.redis, &call->req, &script, 1, 2, argv, lens));
}

static inline void begin(void) {
    CHECK_INT(uv_loop_init(&loop), 0);
    CHECK_INT(stores__timers_open(&timers, &loop), 0);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    if (!server_open()) exit(1);
    config.path = server.socket;
    config.timeout_ms = 50;
}

static inline void end(void) {
    server_close();
    stores__timers_close(&timers, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
}

#endif

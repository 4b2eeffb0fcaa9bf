/*
 * loss.c - how an attempt, or a connection, ends: what is forgotten with it, who has to hear of it,
 * and when the next one begins. Calls nobody back: all that follows comes on the next turn.
 */
#include <stdarg.h>
#include <stdio.h>

#include "redis/internal.h"

#define AGAIN_MS 2 /* after the loss of a link that was well */
#define BACKOFF_FIRST 10

void stores__redis_await(struct stores__redis *redis, enum stores__redis_awaited what,
                         uint64_t at) {
    redis->awaited = what;
    redis->awaited_at = at;
    stores__timer_set(redis->timers, &redis->timer, at);
}

void stores__redis_soon(struct stores__redis *redis) {
    uv_idle_start(&redis->idle, redis->next_turn);
}

void stores__redis_close_socket(struct stores__redis *redis) {
    if (redis->socket) stores__redis_socket_close(redis->socket);
    redis->socket = NULL;
}

void stores__redis_forget_attempt(struct stores__redis *redis) {
    stores__redis_close_socket(redis);
    if (redis->addresses) uv_freeaddrinfo(redis->addresses);
    redis->addresses = NULL;
    stores__redis_out_clear(&redis->hello);
    if (redis->master) stores__master_leave(redis->master);
}

void stores__redis_forget_requests(struct stores__redis *redis) {
    stores__redis_out_clear(&redis->out);
    stores__list_move(&redis->pending, &redis->dead);
    redis->due = redis->unflushed = 0;
}

static uint64_t backoff(unsigned failed_in_row) {
    uint64_t delay = BACKOFF_FIRST;

    while (failed_in_row-- > 1 && delay < STORES__REDIS_BACKOFF_MAX) delay *= 2;
    if (delay > STORES__REDIS_BACKOFF_MAX) delay = STORES__REDIS_BACKOFF_MAX;
    return delay / 2 + stores__random_u64() % (delay / 2 + 1);
}

static void go_down(struct stores__redis *redis) {
    if (redis->failed_in_row < 16) redis->failed_in_row++;
    redis->first = redis->holds = false;
    stores__redis_forget_requests(redis);
    stores__redis_await(redis, STORES__REDIS_NEXT_ATTEMPT,
                        stores__redis_now() + backoff(redis->failed_in_row));
}

/* What was sent may have been done or not. What was not waits for the next connection. */
static void connect_again(struct stores__redis *redis) {
    redis->failed_in_row++;
    redis->holds = true;
    if (redis->due > 0) stores__redis_forget_requests(redis);
    stores__redis_await(redis, STORES__REDIS_NEXT_ATTEMPT, stores__redis_now() + AGAIN_MS);
}

static void fail(struct stores__redis *redis, bool well) {
    bool was_used = redis->state == STORES__REDIS_UP || redis->first || redis->holds;

    if (redis->master && redis->state > STORES__REDIS_ASKING && redis->state < STORES__REDIS_UP) {
        stores__master_doubt(redis->master);
    }
    redis->stats.failures++;
    redis->state = STORES__REDIS_DOWN;
    stores__redis_forget_attempt(redis);
    if (well) {
        connect_again(redis);
    } else {
        go_down(redis);
        if (was_used) redis->tell_down = true;
    }
    stores__redis_soon(redis);
}

/* It was up, and of use: one that is lost as soon as it is made waits for its next attempt. */
static bool was_well(const struct stores__redis *redis) {
    return redis->state == STORES__REDIS_UP &&
           (redis->failed_in_row == 0 ||
            stores__redis_now() >= redis->up_at + STORES__REDIS_BACKOFF_MAX);
}

static bool is_over(const struct stores__redis *redis) {
    return redis->state == STORES__REDIS_CLOSED || redis->state == STORES__REDIS_DOWN;
}

void stores__redis_fail(struct stores__redis *redis, const char *format, ...) {
    va_list args;

    if (is_over(redis)) return;
    va_start(args, format);
    vsnprintf(redis->why, sizeof redis->why, format, args);
    va_end(args);
    fail(redis, was_well(redis));
}

void stores__redis_refused(struct stores__redis *redis, const char *format, ...) {
    va_list args;

    if (is_over(redis)) return;
    va_start(args, format);
    vsnprintf(redis->why, sizeof redis->why, format, args);
    va_end(args);
    fail(redis, false);
}

/* ---- The end of it all ---------------------------------------------------------------------- */

void stores__redis_free(struct stores__redis *redis) {
    free((char *)redis->config.host);
    free((char *)redis->config.path);
    free((char *)redis->config.username);
    free((char *)redis->config.password);
    stores__tls_context_free(redis->tls);
    stores__tls_context_free(redis->sentinel_tls);
    stores__redis_chunk_free(redis->ping_chunk);
    if (redis->master) stores__master_free(redis->master);
    free(redis);
}

void stores__redis_gone(struct stores__redis *redis) {
    void (*closed)(void *arg) = redis->closed;
    void *arg = redis->closed_arg;

    if (--redis->handles > 0 || redis->state != STORES__REDIS_CLOSED) return;
    stores__redis_free(redis);
    if (closed) closed(arg);
}

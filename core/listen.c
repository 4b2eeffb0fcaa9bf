/*
 * LISTEN, on a connection of its own that is opened again when it was lost. What was notified
 * meanwhile is gone: after a loss the listener hears of the gap before the next notification.
 */
#include <stdio.h>

#include "engine.h"

enum { AGAIN_FIRST_MS = 100, AGAIN_MAX_MS = 2000 };

struct stores_listener {
    stores_engine *engine;
    struct stores__list link; /* engine->listeners */
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__timer again;
    bool listening, gap, failed, stopped;
    unsigned tries;
    void (*notified)(void *arg, const char *channel, const char *payload);
    void *arg;
    char sql[2 * 63 + 16];
};

static void start(struct stores_listener *listener);

static void again(struct stores__timer *timer) {
    start(STORES__CONTAINER(timer, struct stores_listener, again));
}

static void start_later(struct stores_listener *listener) {
    stores_engine *engine = listener->engine;
    uint64_t ms = AGAIN_FIRST_MS << (listener->tries < 5 ? listener->tries : 5);
    listener->tries++;
    listener->gap = true;
    listener->again.fire = again;
    if (ms > AGAIN_MAX_MS) ms = AGAIN_MAX_MS;
    stores__timer_set(&engine->timers, &listener->again, stores__now(engine) + ms);
}

static void let_go(struct stores_listener *listener) {
    struct stores__pg_conn *conn = listener->conn;
    listener->conn = NULL;
    listener->listening = false;
    if (conn == NULL) return;
    conn->notified = NULL;
    conn->lost = NULL;
    stores__pg_discard(conn); /* what it listens to is nobody else's */
    stores__pg_release(conn);
}

static void on_lost(struct stores__pg_conn *conn) {
    struct stores_listener *listener = conn->holder;
    let_go(listener);
    if (!listener->stopped && !listener->engine->closing) start_later(listener);
}

static void on_notified(struct stores__pg_conn *conn, const char *channel, const char *payload) {
    struct stores_listener *listener = conn->holder;
    listener->notified(listener->arg, channel, payload);
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores_listener *listener = STORES__CONTAINER(req, struct stores_listener, req);
    stores_error error;
    (void)index;
    listener->failed = !stores__pg_result_ok(result, &error);
    stores__pg_result_free(result);
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores_listener *listener = STORES__CONTAINER(req, struct stores_listener, req);
    if (listener->stopped) {
        let_go(listener);
        free(listener);
    } else if (end == STORES__PG_LOST || listener->failed) {
        let_go(listener);
        if (!listener->engine->closing) start_later(listener);
    } else {
        listener->listening = true;
        listener->tries = 0;
        if (listener->gap) listener->notified(listener->arg, NULL, NULL);
        listener->gap = false;
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores_listener *listener = STORES__CONTAINER(wait, struct stores_listener, wait);
    listener->conn = conn;
    conn->holder = listener;
    conn->lost = on_lost;
    conn->notified = on_notified;
    conn->retire_at = UINT64_MAX;
    listener->req.result = took;
    listener->req.done = over;
    stores__pg_begin(conn, &listener->req);
    stores__pg_add(conn, &listener->req, listener->sql, 0, NULL, false);
    stores__pg_sync(conn, &listener->req);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores_listener *listener = STORES__CONTAINER(wait, struct stores_listener, wait);
    (void)error;
    if (!listener->stopped && !listener->engine->closing) start_later(listener);
}

static void start(struct stores_listener *listener) {
    listener->wait.granted = granted;
    listener->wait.failed = refused;
    stores__pg_acquire(&listener->engine->pool, &listener->wait, STORES__PG_CHECKED_OUT,
                       "listeners");
}

stores_listener *
stores_listen(stores_engine *engine, const char *channel,
              void (*notified)(void *arg, const char *channel, const char *payload), void *arg) {
    size_t len = strlen(channel);
    if (len == 0 || len > 63) return NULL;
    struct stores_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) return NULL;
    listener->engine = engine;
    listener->notified = notified;
    listener->arg = arg;
    stores__list_init(&listener->wait.link);
    char *out = listener->sql + snprintf(listener->sql, sizeof listener->sql, "LISTEN \"");
    for (const char *c = channel; *c; c++) {
        if (*c == '"') *out++ = '"';
        *out++ = *c;
    }
    *out++ = '"';
    *out = '\0';
    stores__list_append(&engine->listeners, &listener->link);
    if (engine->pending_count++ == 0) stores__engine_hold(engine);
    start(listener);
    return listener;
}

void stores_unlisten(stores_listener *listener) {
    stores_engine *engine = listener->engine;
    if (listener->stopped) return;
    listener->stopped = true;
    stores__list_remove(&listener->link);
    stores__timer_stop(&engine->timers, &listener->again);
    stores__pg_unwait(&listener->wait);
    if (--engine->pending_count == 0) stores__engine_let_go(engine);
    if (listener->conn != NULL && !listener->listening) return; /* over() ends it */
    let_go(listener);
    free(listener);
}

void stores__listen_stop_all(stores_engine *engine) {
    for (struct stores__list *at = engine->listeners.next; at != &engine->listeners;
         at = at->next) {
        struct stores_listener *listener = STORES__CONTAINER(at, struct stores_listener, link);
        stores__timer_stop(&engine->timers, &listener->again);
    }
}

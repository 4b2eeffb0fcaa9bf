/*
 * LISTEN: all channels of an engine share one connection beside its pool, which is opened again
 * when it was lost. What was notified meanwhile is gone: after a loss a listener hears of the gap
 * before the next notification. Who asks hears when the server has confirmed that it listens, or
 * has refused.
 */
#include <stdio.h>

#include "engine/engine.h"
#include "pg/aside.h"

enum { AGAIN_FIRST_MS = 100, AGAIN_MAX_MS = 2000, CHANNEL_BYTES = 63 };

/* The engine's ears; made for the first listener, gone with the engine. */
struct stores__ears {
    stores_engine *engine;
    struct stores__pg_aside aside;
    struct stores__list channels;
    struct stores__timer again;
    unsigned tries;
    stores_code said; /* what the log was told of already; STORES_OK: nothing */
    bool pooled; /* who answers is no server: the key of the connection is not its process */
};

enum channel_state { CHANNEL_SILENT, CHANNEL_ASKED, CHANNEL_HEARD, CHANNEL_LEAVING };

struct channel {
    struct stores__list link, listeners;
    struct stores__ears *ears;
    enum channel_state state; /* on the connection that there is */
    struct stores__pg_req req;
    bool refused;
    stores_error error;
    char name[CHANNEL_BYTES + 1];
    char sql[2 * CHANNEL_BYTES + 16];
};

struct stores_listener {
    struct stores__list link; /* of its channel */
    struct channel *channel;
    struct stores__list ops; /* those that wait for the server to confirm it */
    bool confirmed, gap;
    void (*notified)(void *arg, const char *channel, const char *payload);
    void *arg;
};

static void open_ears(struct stores__ears *ears);

static struct stores_listener *listener_at(struct stores__list *at) {
    return STORES__CONTAINER(at, struct stores_listener, link);
}

/* ---- What becomes of those who wait ---------------------------------------------------------- */

static void answer_ops(struct stores_listener *listener, const stores_error *error) {
    for (struct stores__list *at; (at = stores__list_shift(&listener->ops)) != NULL;) {
        stores_op *op = STORES__CONTAINER(at, stores_op, stage_link);
        op->leave = NULL;
        if (error != NULL) {
            stores__op_fail(op, error);
        } else {
            stores__op_finish(op);
        }
    }
}

static void confirm(struct channel *channel) {
    for (struct stores__list *at = channel->listeners.next; at != &channel->listeners;
         at = at->next) {
        struct stores_listener *listener = listener_at(at);
        listener->confirmed = true;
        answer_ops(listener, NULL);
        if (listener->gap) listener->notified(listener->arg, NULL, NULL);
        listener->gap = false;
    }
}

static void lose(struct channel *channel) {
    channel->state = CHANNEL_SILENT;
    for (struct stores__list *at = channel->listeners.next; at != &channel->listeners;
         at = at->next) {
        struct stores_listener *listener = listener_at(at);
        if (listener->confirmed) listener->gap = true;
        listener->confirmed = false;
    }
}

/* Those who never listened hear why; for the others it is tried again, and said once. */
static void refuse(struct channel *channel, const stores_error *error) {
    struct stores__ears *ears = channel->ears;
    bool lasting = false;
    for (struct stores__list *at = channel->listeners.next; at != &channel->listeners;
         at = at->next) {
        struct stores_listener *listener = listener_at(at);
        answer_ops(listener, error);
        lasting = lasting || listener->gap;
    }
    bool mends = error->retryable && error->code != STORES_READ_ONLY;
    if (!lasting || mends || ears->said == error->code) return;
    ears->said = error->code;
    stores__log(ears->engine, "LISTEN is refused, and will be tried again: %s", error->message);
}

/* ---- Channels -------------------------------------------------------------------------------- */

static void channel_over(struct stores__pg_req *req, enum stores__pg_end end);

static void channel_took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct channel *channel = STORES__CONTAINER(req, struct channel, req);
    if (index > 0) {
        channel->refused = !stores__pg_result_ok(result, &channel->error);
    } else if (stores__pg_rows(result) == 1) {
        const char *process = stores__pg_value(result, 0, 0, NULL);
        struct stores__ears *ears = channel->ears;
        ears->pooled = process != NULL && atoi(process) != stores__pg_process(ears->aside.conn);
    }
    stores__pg_result_free(result);
}

static void send_sql(struct channel *channel, enum channel_state state, const char *sql) {
    struct stores__pg_conn *conn = channel->ears->aside.conn;
    channel->state = state;
    channel->refused = false;
    channel->req.result = channel_took;
    channel->req.done = channel_over;
    stores__pg_begin(conn, &channel->req);
    stores__pg_add(conn, &channel->req, "SELECT pg_catalog.pg_backend_pid()", 0, NULL, false);
    stores__pg_add(conn, &channel->req, sql, 0, NULL, false);
    stores__pg_sync(conn, &channel->req);
}

static void ask(struct channel *channel) {
    send_sql(channel, CHANNEL_ASKED, channel->sql);
}

static void free_channel(struct channel *channel) {
    stores__list_remove(&channel->link);
    free(channel);
}

static void leave(struct channel *channel) {
    char sql[sizeof channel->sql + 2];
    snprintf(sql, sizeof sql, "UN%s", channel->sql);
    send_sql(channel, CHANNEL_LEAVING, sql);
}

static void again(struct stores__timer *timer) {
    open_ears(STORES__CONTAINER(timer, struct stores__ears, again));
}

static void try_later(struct stores__ears *ears) {
    stores_engine *engine = ears->engine;
    uint64_t ms = AGAIN_FIRST_MS << (ears->tries < 5 ? ears->tries : 5);
    if (stores__closing(engine) || stores__list_empty(&ears->channels)) return;
    if (stores__timer_armed(&ears->again)) return;
    ears->tries++;
    ears->again.fire = again;
    if (ms > AGAIN_MAX_MS) ms = AGAIN_MAX_MS;
    stores__timer_set(&engine->timers, &ears->again, stores__now(engine) + ms);
}

static void channel_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct channel *channel = STORES__CONTAINER(req, struct channel, req);
    struct stores__ears *ears = channel->ears;
    enum channel_state state = channel->state;
    bool empty = stores__list_empty(&channel->listeners);
    if (end == STORES__PG_LOST) {
        channel->state = CHANNEL_SILENT; /* those who listen hear of the loss from the pool */
        if (empty) free_channel(channel);
    } else if (state == CHANNEL_LEAVING || channel->refused) {
        channel->state = CHANNEL_SILENT;
        if (empty) {
            free_channel(channel);
        } else if (state == CHANNEL_LEAVING) {
            ask(channel);
        } else {
            refuse(channel, &channel->error);
            try_later(ears);
        }
    } else if (empty) {
        leave(channel);
    } else {
        channel->state = CHANNEL_HEARD;
        ears->tries = 0;
        ears->said = STORES_OK;
        confirm(channel);
    }
}

static struct channel *find_channel(struct stores__ears *ears, const char *name) {
    for (struct stores__list *at = ears->channels.next; at != &ears->channels; at = at->next) {
        struct channel *channel = STORES__CONTAINER(at, struct channel, link);
        if (strcmp(channel->name, name) == 0) return channel;
    }
    return NULL;
}

static struct channel *make_channel(struct stores__ears *ears, const char *name) {
    struct channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) return NULL;
    channel->ears = ears;
    stores__list_init(&channel->listeners);
    strcpy(channel->name, name);
    char *out = channel->sql + snprintf(channel->sql, sizeof channel->sql, "LISTEN \"");
    for (const char *c = name; *c; c++) {
        if (*c == '"') *out++ = '"';
        *out++ = *c;
    }
    *out++ = '"';
    *out = '\0';
    stores__list_append(&ears->channels, &channel->link);
    return channel;
}

/* ---- The connection -------------------------------------------------------------------------- */

static void ask_all(struct stores__ears *ears) {
    for (struct stores__list *at = ears->channels.next; at != &ears->channels; at = at->next) {
        struct channel *channel = STORES__CONTAINER(at, struct channel, link);
        if (channel->state == CHANNEL_SILENT) ask(channel);
    }
}

static void on_notified(struct stores__pg_conn *conn, const char *name, const char *payload) {
    struct stores__ears *ears = conn->holder;
    struct channel *channel = find_channel(ears, name);
    if (channel == NULL) return;
    for (struct stores__list *at = channel->listeners.next; at != &channel->listeners;
         at = at->next) {
        struct stores_listener *listener = listener_at(at);
        if (listener->confirmed) listener->notified(listener->arg, name, payload);
    }
}

static void ready(struct stores__pg_aside *aside) {
    struct stores__ears *ears = STORES__CONTAINER(aside, struct stores__ears, aside);
    aside->conn->holder = ears;
    aside->conn->notified = on_notified;
    ask_all(ears);
}

static void failed(struct stores__pg_aside *aside, const stores_error *error) {
    struct stores__ears *ears = STORES__CONTAINER(aside, struct stores__ears, aside);
    for (struct stores__list *at = ears->channels.next; at != &ears->channels; at = at->next) {
        refuse(STORES__CONTAINER(at, struct channel, link), error);
    }
    try_later(ears);
}

static void lost(struct stores__pg_aside *aside) {
    struct stores__ears *ears = STORES__CONTAINER(aside, struct stores__ears, aside);
    for (struct stores__list *at = ears->channels.next; at != &ears->channels; at = at->next) {
        lose(STORES__CONTAINER(at, struct channel, link));
    }
    try_later(ears);
}

static void open_ears(struct stores__ears *ears) {
    if (stores__closing(ears->engine) || stores__list_empty(&ears->channels)) return;
    if (ears->aside.up) {
        ask_all(ears);
    } else if (!stores__pg_aside_open(&ears->engine->pool, &ears->aside)) {
        try_later(ears);
    }
}

static struct stores__ears *ears_of(stores_engine *engine) {
    struct stores__ears *ears = engine->ears;
    if (ears != NULL) return ears;
    ears = calloc(1, sizeof *ears);
    if (ears == NULL) return NULL;
    ears->engine = engine;
    stores__list_init(&ears->channels);
    stores__list_init(&ears->aside.link);
    ears->aside.ready = ready;
    ears->aside.failed = failed;
    ears->aside.lost = lost;
    engine->ears = ears;
    return ears;
}

/* ---- Listeners ------------------------------------------------------------------------------- */

stores_listener *
stores_listen(stores_engine *engine, const char *name,
              void (*notified)(void *arg, const char *channel, const char *payload), void *arg) {
    size_t len = name ? strlen(name) : 0;
    if (len == 0 || len > CHANNEL_BYTES || stores__closing(engine) ||
        stores__engine_forked(engine)) {
        return NULL;
    }
    struct stores_listener *listener = calloc(1, sizeof *listener);
    struct stores__ears *ears = ears_of(engine);
    struct channel *channel = ears ? find_channel(ears, name) : NULL;
    if (channel == NULL && ears != NULL && listener != NULL) channel = make_channel(ears, name);
    if (listener == NULL || channel == NULL) {
        free(listener);
        return NULL;
    }
    listener->channel = channel;
    listener->notified = notified;
    listener->arg = arg;
    listener->confirmed = channel->state == CHANNEL_HEARD;
    stores__list_init(&listener->ops);
    stores__list_append(&channel->listeners, &listener->link);
    if (engine->pending_count++ == 0) stores__engine_hold(engine);
    open_ears(ears);
    return listener;
}

static stores_outcome leave_op(stores_op *op) {
    stores__list_remove(&op->stage_link);
    return STORES_OUTCOME_NONE;
}

stores_op *stores_listening(stores_listener *listener, const stores_call *call) {
    stores_op *op = stores__op_new(listener->channel->ears->engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    if (listener->confirmed) {
        stores__op_finish(op);
        return op;
    }
    op->leave = leave_op;
    stores__list_append(&listener->ops, &op->stage_link);
    return op;
}

bool stores_listener_pooled(const stores_listener *listener) {
    return listener->channel->ears->pooled;
}

static void leave_channel(struct channel *channel) {
    struct stores__ears *ears = channel->ears;
    bool waits = channel->state == CHANNEL_ASKED || channel->state == CHANNEL_LEAVING;
    if (!stores__list_empty(&channel->listeners)) return;
    if (channel->state == CHANNEL_HEARD) {
        leave(channel); /* its end frees it */
    } else if (!waits) {
        free_channel(channel);
    }
    for (struct stores__list *at = ears->channels.next; at != &ears->channels; at = at->next) {
        if (!stores__list_empty(&STORES__CONTAINER(at, struct channel, link)->listeners)) return;
    }
    /* nobody listens any more: what is under way ends as lost, and frees its channel */
    stores__timer_stop(&ears->engine->timers, &ears->again);
    ears->tries = 0;
    stores__pg_aside_close(&ears->aside);
}

void stores_unlisten(stores_listener *listener) {
    struct channel *channel = listener->channel;
    stores_engine *engine = channel->ears->engine;
    stores_error error;
    if (stores__engine_forked(engine)) return;
    stores__error_set(&error, STORES_CLOSED, "the listener was stopped");
    answer_ops(listener, &error);
    stores__list_remove(&listener->link);
    free(listener);
    if (--engine->pending_count == 0) stores__engine_let_go(engine);
    leave_channel(channel);
}

void stores__listen_stop_all(stores_engine *engine) {
    if (engine->ears != NULL) stores__timer_stop(&engine->timers, &engine->ears->again);
}

void stores__listen_free(stores_engine *engine) {
    struct stores__ears *ears = engine->ears;
    if (ears == NULL) return;
    for (struct stores__list *at; (at = stores__list_shift(&ears->channels)) != NULL;) {
        struct channel *channel = STORES__CONTAINER(at, struct channel, link);
        while (!stores__list_empty(&channel->listeners)) {
            struct stores_listener *listener = listener_at(channel->listeners.next);
            stores__list_remove(&listener->link);
            free(listener);
        }
        free(channel);
    }
    free(ears);
    engine->ears = NULL;
}

void stores__listen_figures(const stores_engine *engine, size_t *listeners, size_t *confirmed) {
    *listeners = *confirmed = 0;
    if (engine->ears == NULL) return;
    struct stores__list *channels = &engine->ears->channels;
    for (struct stores__list *at = channels->next; at != channels; at = at->next) {
        struct stores__list *all = &STORES__CONTAINER(at, struct channel, link)->listeners;
        for (struct stores__list *one = all->next; one != all; one = one->next) {
            ++*listeners;
            *confirmed += listener_at(one)->confirmed;
        }
    }
}

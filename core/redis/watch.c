/* watch.c - see watch.h. */
#include "redis/watch.h"

#include <stdio.h>

#include "redis/reply.h"
#include "redis/tls.h"

#define LOOK_MS 5000
#define HELD_UP 20 /* a deadline that fires this late fires on a loop that did not turn */
#define CHANNEL "+switch-master"

struct stores__watch {
    struct stores__timers *timers;
    struct stores__timer timer; /* the next look, or the end of the patience with one */
    uint64_t patience_ms;
    const char *master;
    const struct stores__watch_hooks *hooks;
    void *arg;
    struct stores__sentinel *sentinel;
    bool subscribed; /* once it was */
    bool due; /* the answers of a look are */
    bool extended;
};

static uint64_t now(void) {
    return uv_hrtime() / 1000000;
}

/* ---- Looks ---------------------------------------------------------------------------------- */

static void await(struct stores__watch *watch, uint64_t ms) {
    stores__timer_set(watch->timers, &watch->timer, now() + ms);
}

/* A connection that is subscribed may ask nothing else; what is published between the question and
 * the subscription is in the next answer. */
static bool look(struct stores__watch *watch) {
    const char *leave[] = {"UNSUBSCRIBE", CHANNEL}, *join[] = {"SUBSCRIBE", CHANNEL};

    if (watch->subscribed && !stores__sentinel_say(watch->sentinel, 2, leave)) return false;
    if (!stores__sentinel_where(watch->sentinel)) return false;
    if (!stores__sentinel_say(watch->sentinel, 2, join)) return false;
    watch->due = true;
    watch->extended = false;
    await(watch, watch->patience_ms);
    return true;
}

static void lose(struct stores__watch *watch) {
    watch->hooks->lost(watch->arg);
}

static void on_timer(struct stores__timer *timer) {
    struct stores__watch *watch = STORES__CONTAINER(timer, struct stores__watch, timer);
    bool late = now() >= timer->at + HELD_UP;

    /* takes the place in the heap that firing has just emptied */
    stores__timer_set(watch->timers, timer, UINT64_MAX);
    if (watch->due && late && !watch->extended) {
        watch->extended = true;
        await(watch, watch->patience_ms);
    } else if (watch->due || !look(watch)) {
        lose(watch);
    } else {
        stores__sentinel_flush(watch->sentinel);
    }
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* "<name> <old host> <old port> <new host> <new port>" */
static bool read_switch(const struct stores__watch *watch, const char *text,
                        struct stores__place *place) {
    size_t len = strlen(watch->master);
    const char *host;
    int host_len;
    char port[8];

    if (strncmp(text, watch->master, len) != 0 || text[len] != ' ') return false;
    host = text + len + 1;
    host += strcspn(host, " ");
    host += strspn(host, " ");
    host += strcspn(host, " ");
    host += strspn(host, " ");
    host_len = (int)strcspn(host, " ");
    if (host_len == 0 || (size_t)host_len >= sizeof place->host) return false;
    snprintf(port, sizeof port, "%s", host + host_len + strspn(host + host_len, " "));
    if (!stores__port_read(port, &place->port)) return false;
    snprintf(place->host, sizeof place->host, "%.*s", host_len, host);
    return true;
}

static void on_answer(void *arg, const struct redisReply *reply) {
    struct stores__watch *watch = arg;
    const char *kind = stores__redis_text(stores__redis_at(reply, 0), NULL);
    const char *text = stores__redis_text(stores__redis_at(reply, 2), NULL);
    struct stores__place place;

    if (stores__sentinel_place(reply, &place)) {
        watch->hooks->said(watch->arg, &place, false);
    } else if (!kind) {
        lose(watch); /* it knows no such master, or refuses */
    } else if (strcmp(kind, "message") == 0) {
        if (text && read_switch(watch, text, &place)) watch->hooks->said(watch->arg, &place, true);
    } else if (strcmp(kind, "subscribe") == 0) {
        watch->subscribed = true;
        watch->due = false;
        await(watch, LOOK_MS);
    }
}

static void on_lost(void *arg, const char *why) {
    (void)why;
    lose(arg);
}

static const struct stores__sentinel_hooks sentinel_hooks = {
    .answer = on_answer,
    .lost = on_lost,
};

/* ---- Open and close ------------------------------------------------------------------------- */

struct stores__watch *stores__watch_open(const struct stores__sentinel_terms *terms,
                                         struct stores__timers *timers,
                                         const struct stores__place *place, uint64_t patience_ms,
                                         const struct stores__watch_hooks *hooks, void *arg) {
    struct stores__watch *watch = calloc(1, sizeof *watch);
    char why[STORES__TLS_WHY];

    if (!watch) return NULL;
    watch->timers = timers;
    watch->timer.fire = on_timer;
    watch->patience_ms = patience_ms;
    watch->master = terms->master;
    watch->hooks = hooks;
    watch->arg = arg;
    if (!stores__timer_set(timers, &watch->timer, UINT64_MAX)) {
        free(watch);
        return NULL;
    }
    watch->sentinel = stores__sentinel_open(terms, place, &sentinel_hooks, watch, why, sizeof why);
    if (!watch->sentinel || !look(watch)) {
        stores__watch_close(watch);
        return NULL;
    }
    return watch;
}

void stores__watch_deafen(struct stores__watch *watch, int deaf) {
    stores__sentinel_deafen(watch->sentinel, deaf);
}

void stores__watch_close(struct stores__watch *watch) {
    if (!watch) return;
    stores__timer_stop(watch->timers, &watch->timer);
    stores__sentinel_close(watch->sentinel);
    free(watch);
}

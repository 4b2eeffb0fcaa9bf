/*
 * listener.c - LISTEN for Lua: notifications are kept until somebody asks for them, for no Lua runs
 * in the loop. Who is slow has so many of them and no more; then one gap, for all that came until
 * he has taken what is kept.
 */
#include "store/engine.h"
#include "values/args.h"

#define LISTENER "stores.listener"

enum { CHANNEL_BYTES = 63, KEPT_MOST = 10000, KEPT_BYTES_MOST = 16 * 1024 * 1024 };

struct notice {
    struct stores__list link;
    bool gap;
    size_t len;
    char payload[];
};

struct lua_listener {
    struct stores__lua_engine *engine;
    stores_listener *listener; /* NULL: stopped */
    struct stores__slot *waiter; /* who sleeps for the next notice */
    bool lost; /* one for which there was no room: a gap, behind those that are kept */
    size_t count, bytes; /* of those that are kept */
    struct stores__list notices;
};

static struct notice *notice_at(struct stores__list *at) {
    return STORES__CONTAINER(at, struct notice, link);
}

/* Whether what is told last is a gap, and has room for what comes now. */
static bool ends_in_gap(const struct lua_listener *listener) {
    const struct stores__list *notices = &listener->notices;
    return listener->lost || (listener->count > 0 && notice_at(notices->prev)->gap);
}

static void count(struct lua_listener *listener, const struct notice *notice, int by) {
    listener->count += (size_t)by;
    listener->bytes += (size_t)by * notice->len;
    listener->engine->heard.waiting += (uint64_t)by;
}

static void keep(struct lua_listener *listener, const char *channel, const char *payload) {
    struct stores__heard *heard = &listener->engine->heard;
    size_t len = channel ? strlen(payload) : 0;
    heard->notices += channel != NULL;
    if (channel == NULL && ends_in_gap(listener)) return;
    /* what comes behind a loss is not told before it: the gap is the last that is told */
    bool full = listener->count >= KEPT_MOST || listener->bytes + len > KEPT_BYTES_MOST;
    struct notice *notice = listener->lost || full ? NULL : malloc(sizeof *notice + len + 1);
    if (notice == NULL) {
        heard->dropped += channel != NULL;
        if (ends_in_gap(listener)) return;
        heard->gaps++;
        listener->lost = true;
        return;
    }
    notice->gap = channel == NULL;
    heard->gaps += notice->gap;
    notice->len = len;
    memcpy(notice->payload, channel ? payload : "", len + 1);
    stores__list_append(&listener->notices, &notice->link);
    count(listener, notice, 1);
}

static void notified(void *arg, const char *channel, const char *payload) {
    struct lua_listener *listener = arg;
    keep(listener, channel, payload);
    if (listener->waiter != NULL) {
        struct stores__slot *slot = listener->waiter;
        listener->waiter = NULL;
        stores__slot_done(NULL, slot);
    }
}

static struct lua_listener *check(lua_State *L) {
    struct lua_listener *listener = luaL_checkudata(L, 1, LISTENER);
    if (listener->engine->hub->process != stores__process()) {
        stores__raise(L, STORES_FORKED, "the listener belongs to the process before the fork");
    }
    return listener;
}

/* engine:listen(channel) -> listener */
static int listener_new(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    const char *channel = luaL_checkstring(L, 2);
    struct lua_listener *listener = lua_newuserdata(L, sizeof *listener);
    memset(listener, 0, sizeof *listener);
    listener->engine = engine;
    stores__list_init(&listener->notices);
    stores__type_give(L, LISTENER, 1);
    stores__engine_open(L, engine);
    listener->listener = stores_listen(engine->engine, channel, notified, listener);
    if (listener->listener == NULL && (channel[0] == '\0' || strlen(channel) > CHANNEL_BYTES)) {
        return stores__raise(L, STORES_INVALID_ARGUMENT, "a channel has a name of 1 to 63 bytes");
    }
    if (listener->listener == NULL) {
        return stores__raise(L, STORES_NO_MEMORY, "no memory for a listener");
    }
    return 1;
}

/* listener:wait() -> a slot that is done when there is a notice, or when it was stopped */
static int listener_wait(lua_State *L) {
    struct lua_listener *listener = check(L);
    struct stores__slot *slot = stores__slot_new(L, listener->engine->hub, SLOT_NOTHING, false);
    bool kept = listener->lost || !stores__list_empty(&listener->notices);
    if (listener->listener == NULL || kept) {
        stores__slot_done(NULL, slot);
    } else {
        listener->waiter = slot;
    }
    lua_pushinteger(L, slot->index);
    return 1;
}

/* listener:ready(seconds) -> a slot that is done when the server has confirmed it */
static int listener_ready(lua_State *L) {
    struct lua_listener *listener = check(L);
    uint64_t ms = stores__ms_check(L, 2);
    if (listener->listener == NULL || listener->engine->engine == NULL) {
        return stores__raise(L, STORES_CLOSED, "the listener was stopped");
    }
    struct stores__slot *slot = stores__slot_new(L, listener->engine->hub, SLOT_NOTHING, false);
    stores_call call = {
        .size = sizeof call, .timeout_ms = ms, .cb = stores__slot_done, .arg = slot};
    return stores__slot_started(L, slot, stores_listening(listener->listener, &call));
}

/* listener:next() -> 'notice', payload; 'gap'; or nil where there is none now */
static int listener_next(lua_State *L) {
    struct lua_listener *listener = check(L);
    struct stores__list *at = stores__list_shift(&listener->notices);
    if (at == NULL && !listener->lost) return 0;
    if (at == NULL) {
        listener->lost = false;
        lua_pushliteral(L, "gap");
        return 1;
    }
    struct notice *notice = notice_at(at);
    count(listener, notice, -1);
    lua_pushstring(L, notice->gap ? "gap" : "notice");
    lua_pushlstring(L, notice->payload, notice->len);
    free(notice);
    return 2;
}

static void forget_notices(struct lua_listener *listener) {
    for (struct stores__list *at; (at = stores__list_shift(&listener->notices)) != NULL;) {
        count(listener, notice_at(at), -1);
        free(notice_at(at));
    }
}

static void stop(struct lua_listener *listener) {
    forget_notices(listener);
    if (listener->listener != NULL && listener->engine->engine != NULL) {
        stores_unlisten(listener->listener);
    }
    listener->listener = NULL;
    if (listener->waiter != NULL) {
        struct stores__slot *slot = listener->waiter;
        listener->waiter = NULL;
        stores__slot_done(NULL, slot);
    }
}

static int listener_stop(lua_State *L) {
    stop(check(L));
    return 0;
}

static int listener_gc(lua_State *L) {
    struct lua_listener *listener = luaL_checkudata(L, 1, LISTENER);
    if (listener->engine != NULL && listener->engine->hub->process == stores__process()) {
        if (!listener->engine->hub->closed) stop(listener);
    }
    forget_notices(listener);
    return 0;
}

/* listener:pooled() -> whether it is a pooler that answered */
static int listener_pooled(lua_State *L) {
    struct lua_listener *listener = check(L);
    bool open = listener->listener != NULL && listener->engine->engine != NULL;
    lua_pushboolean(L, open && stores_listener_pooled(listener->listener));
    return 1;
}

static const luaL_Reg methods[] = {{"ready", listener_ready}, {"wait", listener_wait},
                                   {"next", listener_next},   {"pooled", listener_pooled},
                                   {"stop", listener_stop},   {NULL, NULL}};

static const luaL_Reg engine_methods[] = {{"listen", listener_new}, {NULL, NULL}};

void stores__listener_register(lua_State *L) {
    stores__type_register(L, LISTENER, listener_gc, methods);
    stores__type_extend(L, STORES__ENGINE, engine_methods);
}

/*
 * relay.c - a descriptor that gets readable when the loop's does, and is none of epoll's: those may
 * stand in each other five deep and no deeper, and a program whose own controllers are nested has
 * used that up. The kernel's asynchronous poll rings an eventfd; no thread is needed.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hub.h"

#define RELAY "stores.relay"

struct relay {
    struct stores__hub *hub;
    uint64_t process;
    aio_context_t context;
    int event; /* -1: closed */
    bool armed;
    struct iocb request;
};

static void close_relay(struct relay *relay) {
    /* after a fork the context is the parent's, and gone here; the eventfd is a copy */
    if (relay->context != 0 && relay->process == stores__process()) {
        syscall(SYS_io_destroy, relay->context);
    }
    if (relay->event >= 0) close(relay->event);
    relay->context = 0;
    relay->event = -1;
}

/* core.relay(hub) -> relay; or nil, why: this kernel, or who confines the process, has no such
 * poll */
static int relay_new(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    struct relay *relay = lua_newuserdata(L, sizeof *relay);
    memset(relay, 0, sizeof *relay);
    relay->event = -1;
    relay->hub = hub;
    relay->process = stores__process();
    stores__type_give(L, RELAY, 1);
    relay->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (relay->event >= 0 && syscall(SYS_io_setup, 2, &relay->context) == 0) return 1;
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    close_relay(relay);
    return 2;
}

static struct relay *check(lua_State *L) {
    return luaL_checkudata(L, 1, RELAY);
}

static int relay_fd(lua_State *L) {
    lua_pushinteger(L, check(L)->event);
    return 1;
}

/* relay:arm() -> whether it will be readable when the loop has something to do. Harmless again. */
static int relay_arm(lua_State *L) {
    struct relay *relay = check(L);
    struct iocb *requests[] = {&relay->request};
    if (!relay->armed && relay->event >= 0) {
        memset(&relay->request, 0, sizeof relay->request);
        relay->request.aio_lio_opcode = IOCB_CMD_POLL;
        relay->request.aio_fildes = (uint32_t)uv_backend_fd(relay->hub->loop);
        relay->request.aio_buf = POLLIN;
        relay->request.aio_flags = IOCB_FLAG_RESFD;
        relay->request.aio_resfd = (uint32_t)relay->event;
        relay->armed = syscall(SYS_io_submit, relay->context, 1, requests) == 1;
    }
    lua_pushboolean(L, relay->armed);
    return 1;
}

/* relay:clear(): the loop will be turned now: what has rung is taken */
static int relay_clear(lua_State *L) {
    struct relay *relay = check(L);
    uint64_t count;
    struct io_event events[2];
    struct timespec none = {0, 0};
    if (!relay->armed || read(relay->event, &count, sizeof count) < 0) return 0;
    if (syscall(SYS_io_getevents, relay->context, 0, 2, events, &none) > 0) relay->armed = false;
    return 0;
}

static int relay_gc(lua_State *L) {
    close_relay(check(L));
    return 0;
}

static const luaL_Reg methods[] = {
    {"fd", relay_fd}, {"arm", relay_arm}, {"clear", relay_clear}, {NULL, NULL}};

void stores__relay_register(lua_State *L) {
    stores__type_register(L, RELAY, relay_gc, methods);
    lua_pushcfunction(L, relay_new);
    lua_setfield(L, -2, "relay");
}

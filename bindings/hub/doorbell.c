/*
 * doorbell.c - a doorbell for hosts that cannot wait for a foreign descriptor (nginx): a thread
 * waits for the loop's, and writes a byte to a unix socket, which the host reads with its own
 * means.
 *
 * The thread looks at the loop only while it is armed, and is disarmed by its ring: until the host
 * has turned the loop, the descriptor stays readable. It touches nothing but its three descriptors.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hub.h"

#define DOORBELL "stores.doorbell"

enum { STACK = 128 * 1024 };

struct doorbell {
    int backend; /* the loop's, which outlives this */
    int control; /* an eventfd: arms the thread, or ends it */
    int listener, peer; /* -1: not open */
    bool ending; /* read by the thread after control */
    bool has_thread;
    pid_t pid;
    pthread_t thread;
    char folder[64], path[80];
};

/* ---- The thread ------------------------------------------------------------------------------ */

static bool take_control(struct doorbell *bell) {
    uint64_t count;
    ssize_t got;
    do {
        got = read(bell->control, &count, sizeof count);
    } while (got < 0 && errno == EINTR);
    return got > 0 && !__atomic_load_n(&bell->ending, __ATOMIC_ACQUIRE);
}

static void *wait_and_ring(void *arg) {
    struct doorbell *bell = arg;
    while (take_control(bell)) {
        struct pollfd fds[2] = {{.fd = bell->backend, .events = POLLIN},
                                {.fd = bell->control, .events = POLLIN}};
        while (poll(fds, 2, -1) < 0 && errno == EINTR) {
        }
        if (fds[1].revents != 0) continue;
        if (send(bell->peer, "!", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN) break;
    }
    return NULL;
}

static bool start_thread(struct doorbell *bell) {
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setstacksize(&attributes, STACK);
    /* signals are the host's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bell->has_thread = pthread_create(&bell->thread, &attributes, wait_and_ring, bell) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return bell->has_thread;
}

/* ---- The socket ------------------------------------------------------------------------------ */

static void close_listener(struct doorbell *bell) {
    if (bell->listener >= 0) close(bell->listener);
    bell->listener = -1;
    if (bell->path[0] != '\0') unlink(bell->path);
    if (bell->folder[0] != '\0') rmdir(bell->folder);
    bell->path[0] = bell->folder[0] = '\0';
}

/* A socket in a folder that nobody else can enter. */
static bool open_listener(struct doorbell *bell) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] != '/' || strlen(base) > 40) base = "/tmp";
    snprintf(bell->folder, sizeof bell->folder, "%s/stores-XXXXXX", base);
    if (mkdtemp(bell->folder) == NULL) {
        bell->folder[0] = '\0';
        return false;
    }
    snprintf(bell->path, sizeof bell->path, "%s/bell", bell->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", bell->path);
    bell->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return bell->listener >= 0 &&
           bind(bell->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
           listen(bell->listener, 4) == 0;
}

static void close_bell(struct doorbell *bell) {
    if (bell->pid != getpid()) return; /* after a fork all of it is the parent's */
    if (bell->has_thread) {
        uint64_t one = 1;
        __atomic_store_n(&bell->ending, true, __ATOMIC_RELEASE);
        while (write(bell->control, &one, sizeof one) < 0 && errno == EINTR) {
        }
        pthread_join(bell->thread, NULL);
        bell->has_thread = false;
    }
    close_listener(bell);
    if (bell->peer >= 0) close(bell->peer);
    if (bell->control >= 0) close(bell->control);
    bell->peer = bell->control = -1;
}

/* ---- Lua ------------------------------------------------------------------------------------- */

/* core.doorbell(hub) -> bell, which nobody is connected to yet; or nil, why */
static int bell_new(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    struct doorbell *bell = lua_newuserdata(L, sizeof *bell);
    memset(bell, 0, sizeof *bell);
    bell->listener = bell->peer = bell->control = -1;
    bell->pid = getpid();
    bell->backend = uv_backend_fd(hub->loop);
    stores__type_give(L, DOORBELL, 1);
    bell->control = eventfd(0, EFD_CLOEXEC);
    if (bell->control >= 0 && open_listener(bell)) return 1;
    lua_pushnil(L);
    lua_pushfstring(L, "no unix socket: %s", strerror(errno));
    close_bell(bell);
    return 2;
}

/* bell:path() -> the path to connect to */
static int bell_path(lua_State *L) {
    struct doorbell *bell = luaL_checkudata(L, 1, DOORBELL);
    lua_pushstring(L, bell->path);
    return 1;
}

/* bell:accept() -> true once this process has connected; or nil, why. The path is gone after it. */
static int bell_accept(lua_State *L) {
    struct doorbell *bell = luaL_checkudata(L, 1, DOORBELL);
    while (bell->peer < 0) {
        struct ucred who;
        socklen_t size = sizeof who;
        int peer = accept4(bell->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer < 0) break;
        if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == getpid()) {
            bell->peer = peer;
        } else {
            close(peer);
        }
    }
    close_listener(bell);
    if (bell->peer >= 0 && start_thread(bell)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, bell->peer < 0 ? "nobody connected" : "no thread could be started");
    return 2;
}

/* bell:arm(): rings once, when the loop has something to do */
static int bell_arm(lua_State *L) {
    struct doorbell *bell = luaL_checkudata(L, 1, DOORBELL);
    uint64_t one = 1;
    while (bell->control >= 0 && write(bell->control, &one, sizeof one) < 0 && errno == EINTR) {
    }
    return 0;
}

/* bell:ring(): rings at once, to wake the reader */
static int bell_ring(lua_State *L) {
    struct doorbell *bell = luaL_checkudata(L, 1, DOORBELL);
    if (bell->peer >= 0 && send(bell->peer, "!", 1, MSG_NOSIGNAL) < 0) {
        /* its buffer is full of rings, or the reader is gone: either way it is awake */
    }
    return 0;
}

static int bell_close(lua_State *L) {
    close_bell(luaL_checkudata(L, 1, DOORBELL));
    return 0;
}

static const luaL_Reg bell_methods[] = {{"path", bell_path},   {"accept", bell_accept},
                                        {"arm", bell_arm},     {"ring", bell_ring},
                                        {"close", bell_close}, {NULL, NULL}};

void stores__doorbell_register(lua_State *L) {
    stores__type_register(L, DOORBELL, bell_close, bell_methods);
    lua_pushcfunction(L, bell_new);
    lua_setfield(L, -2, "doorbell");
}

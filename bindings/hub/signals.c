/* signals.c - programs that stop where it is safe: the first SIGINT or SIGTERM is noted, and the
 * program looks at it between two steps; the second one ends it as if nobody had asked. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "hub.h"

static volatile sig_atomic_t caught;
static char notice[256];
static size_t notice_length; /* written before a handler is set, and read by it alone */

static void note(int number) {
    int before = errno;
    caught = number;
    ssize_t ignored = write(STDERR_FILENO, notice, notice_length);
    (void)ignored;
    errno = before;
}

/* core.catch_signals(text): from now on both are noted; text is written to stderr then */
static int catch_signals(lua_State *L) {
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    /* the second one ends the program */
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    notice_length = length < sizeof notice ? length : sizeof notice;
    memcpy(notice, text, notice_length);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return 0;
}

/* core.caught_signal() -> 'INT', 'TERM' or nil */
static int caught_signal(lua_State *L) {
    if (caught == 0) return 0;
    lua_pushstring(L, caught == SIGINT ? "INT" : "TERM");
    return 1;
}

void stores__signals_register(lua_State *L) {
    lua_pushcfunction(L, catch_signals);
    lua_setfield(L, -2, "catch_signals");
    lua_pushcfunction(L, caught_signal);
    lua_setfield(L, -2, "caught_signal");
}

/*
 * test_redis_sentinel.c - a link whose server is named by a sentinel, which is a child process
 * here: found, renewed, and closed at every step of that.
 */
#include "redis_harness.h"

static struct {
    pid_t pid;
    char place[32];
    const char *places[3];
} watcher;

/* One connection: an answer for each command, in the order in which they came. */
static void converse(int peer) {
    char bytes[4096], port[8], address[64];
    ssize_t len;

    snprintf(port, sizeof port, "%d", server.port);
    snprintf(address, sizeof address, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(port),
             port);
    while ((len = read(peer, bytes, sizeof bytes - 1)) > 0) {
        static const char joined[] = "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n";
        bytes[len] = '\0';
        if (strstr(bytes, "get-master-addr-by-name") &&
            send(peer, address, strlen(address), MSG_NOSIGNAL) < 0) {
            break;
        }
        if (strstr(bytes, "\r\nSUBSCRIBE\r\n") &&
            send(peer, joined, strlen(joined), MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    _exit(0);
}

static void serve(int fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int peer = accept(fd, NULL, NULL);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            converse(peer);
        }
        close(peer);
    }
}

static void watcher_start(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, size), 0);
    CHECK_INT(listen(fd, 16), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    snprintf(watcher.place, sizeof watcher.place, "127.0.0.1:%d", ntohs(address.sin_port));
    watcher.pid = fork();
    if (watcher.pid == 0) serve(fd);
    close(fd);
}

static void watcher_end(void) {
    kill(watcher.pid, SIGKILL);
    waitpid(watcher.pid, NULL, 0);
}

static void use(const char *one, const char *other) {
    watcher.places[0] = one;
    watcher.places[1] = other;
    config.path = NULL;
    config.sentinels = watcher.places;
    config.master = "cache";
}

static void test_found(void) {
    use(watcher.place, NULL);
    open_up();
    CHECK_STR(ask("PING").text, "PONG");
    stores__redis_renew(link_.redis, "for this test");
    TURN_UNTIL(stores__redis_stats(link_.redis)->connects == 2, 20000);
    CHECK_STR(ask("PING").text, "PONG");
    close_link();
}

/* The first one is dead: the second one is asked, and asked first from then on. */
static void test_order(void) {
    use("127.0.0.1:1", watcher.place);
    open_up();
    CHECK_INT(stores__redis_stats(link_.redis)->failures, 0);
    close_link();
}

static void test_unknown(void) {
    use("127.0.0.1:1", NULL);
    open_link();
    TURN_UNTIL(link_.downs, 20000);
    CHECK_INT(link_.downs, 1);
    CHECK(strstr(link_.why, "no sentinel tells where Redis is: 127.0.0.1:1: ") != NULL);
    close_link();
    use("no place:x", NULL);
    CHECK(stores__redis_open(&loop, &timers, &config, &hooks) == NULL);
    CHECK_INT(timers.count, 0);
}

/* Wherever it is by then: all of it goes, and nothing of it is called any more. */
static void test_closed_anywhere(void) {
    static const char *const firsts[] = {NULL, "127.0.0.1:1", "localhost:1"};
    int turns, turn;
    size_t i;

    for (i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        for (turns = 0; turns < 12; turns++) {
            if (firsts[i])
                use(firsts[i], watcher.place);
            else
                use(watcher.place, NULL);
            open_link();
            for (turn = 0; turn < turns; turn++) uv_run(&loop, UV_RUN_ONCE);
            close_link();
        }
    }
}

int main(void) {
    begin();
    watcher_start();
    config.timeout_ms = 1000;
    test_found();
    test_order();
    test_unknown();
    test_closed_anywhere();
    watcher_end();
    end();
    return check_report();
}

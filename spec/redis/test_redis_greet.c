/*
 * test_redis_greet.c - the link against servers that answer as no Redis should, or not yet: each is
 * a child process with a list of answers, one for each read.
 */
#include "redis/link.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define RUN_ID "0123456789abcdef0123456789abcdef01234567"
#define SERVER "$48\r\nrun_id:" RUN_ID "\n\r\n"
#define PRIMARY "$11\r\nrole:master\r\n"
#define MEMORY "$29\r\nmaxmemory_policy:allkeys-lru\n\r\n"
#define PONG "+PONG\r\n"
#define GREETING SERVER PRIMARY MEMORY PONG

static uv_loop_t loop;
static struct stores__timers timers;
static uv_timer_t tick;
static char folder[64], path[96];
static struct stores__redis *redis;
static int ups, downs, done, nulls, closes;
static char down_why[256];
static bool evicts;
static const char *password;

static void on_up(void *arg, const char *run_id, bool evicts_any) {
    (void)arg;
    ups++;
    evicts = evicts_any;
    CHECK_STR(run_id, RUN_ID);
}

static void on_down(void *arg, const char *why) {
    (void)arg;
    snprintf(down_why, sizeof down_why, "%s", why);
    downs++;
}

static void on_done(struct stores__redis_req *req, struct redisReply **reply) {
    (void)req;
    done++;
    nulls += *reply == NULL;
}

static void on_closed(void *arg) {
    (void)arg;
    closes++;
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

static int listen_at(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    unlink(path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(fd, 16), 0);
    return fd;
}

/* Serves every connection alike: an answer for each read, then the end of it. */
static void serve(int fd, const char *const *answers) {
    char bytes[4096];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int peer = accept(fd, NULL, NULL);
        const char *const *answer;
        for (answer = answers; *answer; answer++) {
            const char *at = *answer;
            if (read(peer, bytes, sizeof bytes) <= 0) break;
            while (*at) { /* a byte at a time, to be put together again */
                if (send(peer, at++, 1, MSG_NOSIGNAL) < 0) break;
            }
        }
        close(peer);
    }
}

static bool over(void) {
    return downs > 0 || done > 0;
}

/* Opens a link with one request waiting, until it is answered or the link is down. */
static void meet(const char *const *answers) {
    /* a machine that is busy is no silence */
    struct stores__redis_config config = {
        .path = path, .connect_timeout_ms = 5000, .timeout_ms = 5000, .password = password};
    struct stores__redis_hooks hooks = {.up = on_up, .down = on_down};
    struct stores__redis_req req = {.done = on_done};
    const char *ping = "PING";
    size_t four = 4;
    int fd = listen_at(), turns;
    pid_t child = fork();

    if (child == 0) serve(fd, answers);
    close(fd);
    ups = downs = done = nulls = closes = 0;
    redis = stores__redis_open(&loop, &timers, &config, &hooks);
    CHECK(stores__redis_send(redis, &req, 1, &ping, &four));
    for (turns = 0; turns < 2000 && !over(); turns++) uv_run(&loop, UV_RUN_ONCE);
    for (turns = 0; turns < 5; turns++) uv_run(&loop, UV_RUN_NOWAIT);
    CHECK(over());
    CHECK_INT(done, 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void part(void) {
    int turns;

    stores__redis_close(redis, on_closed, NULL);
    for (turns = 0; turns < 2000 && !closes; turns++) uv_run(&loop, UV_RUN_ONCE);
    CHECK_INT(closes, 1);
    CHECK_INT(done, 1);
}

static void expect_refusal(const char *greeting, const char *why) {
    const char *answers[] = {greeting, NULL};

    meet(answers);
    CHECK_INT(ups, 0);
    CHECK_INT(downs, 1);
    CHECK_INT(nulls, 1);
    if (!CHECK(strstr(stores__redis_why(redis), why) != NULL)) {
        printf("  %s\n", stores__redis_why(redis));
    }
    part();
}

static void test_good(void) {
    const char *answers[] = {GREETING, PONG, NULL};

    meet(answers);
    CHECK_INT(ups, 1);
    CHECK_INT(nulls, 0);
    CHECK(evicts);
    part();
    /* what does not tell its policy may have one that evicts intents */
    answers[0] = SERVER PRIMARY "-ERR no such section\r\n" PONG;
    meet(answers);
    CHECK_INT(ups, 1);
    CHECK(evicts);
    part();
}

static void test_refusals(void) {
    expect_refusal(SERVER PRIMARY MEMORY "-LOADING Redis is loading the dataset in memory\r\n",
                   "not ready: LOADING");
    expect_refusal("-LOADING Redis is loading the dataset in memory\r\n", "not ready: LOADING");
    expect_refusal(SERVER PRIMARY MEMORY "-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN");
    expect_refusal(SERVER "$10\r\nrole:slave\r\n", "is a replica");
    expect_refusal("-NOAUTH Authentication required.\r\n", "wants a password");
    expect_refusal("-NOPERM this user has no permissions\r\n", "refuses to say what it is: NOPERM");
    expect_refusal("$5\r\nhello\r\n", "run_id");
    expect_refusal(":1\r\n", "run_id");
    expect_refusal("*1\r\n$3\r\nabc\r\n", "run_id");
    expect_refusal("HTTP/1.1 400 Bad Request\r\n\r\n", "lost");
    expect_refusal("$-7\r\n", "lost");
    expect_refusal("*99999999999999999999\r\n", "lost");
    expect_refusal("", "closed the connection");
    expect_refusal(SERVER "$11\r\nrole:", "closed the connection");
}

/* More than was asked for ends the link, before memory is touched for it: a count, or a length. */
static void test_too_much(void) {
    const char *const heads[] = {"*2147483647\r\n",         "*1000000\r\n",
                                 "*2\r\n*70000\r\n",        "*9223372036854775807\r\n",
                                 "*1\r\n$4000000000\r\n",   "$600000000\r\nx",
                                 "$9223372036854775807\r\n"};
    size_t i;

    for (i = 0; i < sizeof heads / sizeof *heads; i++) {
        const char *answers[] = {GREETING, heads[i], NULL};
        meet(answers);
        CHECK_INT(nulls, 1);
        CHECK_INT(ups, 1);
        /* hiredis itself refuses what no array can have */
        if (!CHECK(strstr(down_why, "more than it was asked for") ||
                   strstr(down_why, "out of range"))) {
            printf("  %s: %s\n", heads[i], down_why);
        }
        CHECK_INT(stores__redis_stats(redis)->timeouts, 0);
        part();
    }
}

/* A server that does not know AUTH, or a proxy, quotes what it was sent. */
static void test_secrets(void) {
    static const char *const answers[] = {
        "-ERR unknown command `AUTH`, with args beginning with: `app`, `s3cret`\r\n", NULL};
    static const char *const echoes[] = {"-s3cret is wrong\r\n", NULL};

    password = "s3cret";
    meet(answers);
    CHECK_INT(downs, 1);
    CHECK(strstr(stores__redis_why(redis), "password: ERR") != NULL);
    CHECK(strstr(stores__redis_why(redis), "s3cret") == NULL);
    part();
    meet(echoes);
    CHECK(strstr(stores__redis_why(redis), "s3cret") == NULL);
    part();
    password = NULL;
}

/* One that drips is silent: of an answer that never ends a byte comes every now and then. */
static void drip(int fd) {
    char bytes[4096];
    int peer = accept(fd, NULL, NULL);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(peer, bytes, sizeof bytes) <= 0) _exit(0);
    if (send(peer, GREETING, strlen(GREETING), MSG_NOSIGNAL) < 0) _exit(0);
    if (read(peer, bytes, sizeof bytes) <= 0) _exit(0);
    if (send(peer, "$100000\r\n", 9, MSG_NOSIGNAL) < 0) _exit(0);
    while (send(peer, "x", 1, MSG_NOSIGNAL) == 1) usleep(2000);
    _exit(0);
}

static void test_drip(void) {
    struct stores__redis_config config = {.path = path, .timeout_ms = 100};
    struct stores__redis_hooks hooks = {.up = on_up, .down = on_down};
    struct stores__redis_req req = {.done = on_done};
    const char *ping = "PING";
    size_t four = 4;
    int fd = listen_at();
    pid_t child = fork();
    uint64_t began = uv_hrtime();

    if (child == 0) drip(fd);
    close(fd);
    ups = downs = done = nulls = closes = 0;
    redis = stores__redis_open(&loop, &timers, &config, &hooks);
    CHECK(stores__redis_send(redis, &req, 1, &ping, &four));
    while (!over() && uv_hrtime() - began < 20000000000u) uv_run(&loop, UV_RUN_ONCE);
    CHECK_INT(nulls, 1);
    CHECK_INT(stores__redis_stats(redis)->timeouts, 1);
    part();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* Trouble after the greeting. */
static void test_later(void) {
    const char *garbage[] = {GREETING, "garbage\r\n", NULL};
    const char *half[] = {GREETING, "$100\r\nhalf", NULL};
    const char *twice[] = {GREETING, PONG PONG, NULL};
    const char *loading[] = {GREETING, "-LOADING later\r\n", NULL};

    meet(garbage);
    CHECK_INT(ups, 1);
    CHECK_INT(nulls, 1);
    part();
    meet(half);
    CHECK_INT(nulls, 1);
    part();
    meet(twice);
    CHECK_INT(nulls, 0);
    part();
    meet(loading);
    CHECK_INT(nulls, 0);
    part();
}

/* Accepts, and says nothing. */
static void test_mute(void) {
    struct stores__redis_config config = {.path = path, .connect_timeout_ms = 100};
    struct stores__redis_hooks hooks = {.up = on_up, .down = on_down};
    int fd = listen_at(), turns;

    ups = downs = done = closes = 0;
    redis = stores__redis_open(&loop, &timers, &config, &hooks);
    for (turns = 0; turns < 200 && !downs; turns++) uv_run(&loop, UV_RUN_ONCE);
    CHECK_INT(downs, 1);
    CHECK_STR(stores__redis_why(redis), "Redis did not answer within 100 ms");
    CHECK_INT(stores__redis_stats(redis)->timeouts, 1);
    done = 1;
    part();
    close(fd);
}

int main(void) {
    strcpy(folder, "/tmp/stores-unit-XXXXXX");
    if (!CHECK(mkdtemp(folder) != NULL)) return 1;
    snprintf(path, sizeof path, "%s/odd.sock", folder);
    CHECK_INT(uv_loop_init(&loop), 0);
    CHECK_INT(stores__timers_open(&timers, &loop), 0);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    test_good();
    test_refusals();
    test_too_much();
    test_secrets();
    test_drip();
    test_later();
    test_mute();
    stores__timers_close(&timers, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
    unlink(path);
    rmdir(folder);
    return check_report();
}

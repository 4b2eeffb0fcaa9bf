/*
 * test_redis_tls_link.c - a link over TLS to a real redis-server: pipelines, large values, forks,
 * and a certificate that was renewed. TLS of one connection: test_redis_tls.c.
 */
#include "certificate.h"
#include "redis_harness.h"

#define MANY 2000

static stores_tls link_tls = STORES_TLS_INIT;
static char tls_port[16];

static void begin_link(void) {
    int i = 0;
    const char *more[] = {"--tls-port",
                          tls_port,
                          "--tls-cert-file",
                          cert_file,
                          "--tls-key-file",
                          key_file,
                          "--tls-ca-cert-file",
                          cert_file,
                          "--tls-auth-clients",
                          "no",
                          NULL};

    do server.more[i] = more[i];
    while (more[i++]);
    server_kill();
    snprintf(tls_port, sizeof tls_port, "%d", free_port());
    CHECK(server_start("", ""));
    link_tls.ca = cert_file;
    config.path = NULL;
    config.host = "localhost";
    config.port = atoi(tls_port);
    config.tls = &link_tls;
    config.timeout_ms = 5000;
    config.connect_timeout_ms = 10000;
}

static void test_pipeline(void) {
    static struct call calls[MANY];
    struct stores__redis_stats before;
    int i, wrong = 0;

    open_up();
    ask("SET n 0");
    memset(calls, 0, sizeof calls);
    before = *stores__redis_stats(link_.redis);
    for (i = 0; i < MANY; i++) CHECK(send_call(&calls[i], "INCR n"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(calls[MANY - 1].done, 10000);
    for (i = 0; i < MANY; i++) wrong += calls[i].done != 1 || calls[i].integer != i + 1;
    CHECK_INT(wrong, 0);
    CHECK_INT(stores__redis_stats(link_.redis)->round_trips - before.round_trips, 1);
    close_link();
}

static struct redisReply *taken;

static void take(struct stores__redis_req *req, struct redisReply **reply) {
    STORES__CONTAINER(req, struct call, req)->done++;
    taken = *reply;
    *reply = NULL;
}

static void test_large(void) {
    size_t size = 16 * 1024 * 1024, lens[3] = {3, 3, size};
    char *value = malloc(size);
    const char *argv[3] = {"SET", "big", value};
    struct call set = {.req = {.done = on_done}}, get = {.req = {.done = take}}, after = {0};

    for (size_t i = 0; i < size; i++) value[i] = (char)('a' + i % 26);
    open_up();
    CHECK(stores__redis_send(link_.redis, &set.req, 3, argv, lens));
    argv[0] = "GET";
    CHECK(stores__redis_send(link_.redis, &get.req, 2, argv, lens));
    CHECK(send_call(&after, "DEL big"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(after.done, 20000);
    CHECK_STR(set.text, "OK");
    CHECK_INT(after.integer, 1);
    CHECK(taken && taken->len == size && memcmp(taken->str, value, size) == 0);
    stores__redis_reply_free(taken);
    free(value);
    close_link();
}

/* A child that closes what it has of the link says no goodbye: the connection is its parent's. */
static void test_fork(void) {
    pid_t pid;
    int status;

    open_up();
    ask("SET n 0");
    pid = fork();
    if (pid == 0) {
        if (uv_loop_fork(&loop) != 0) _exit(2);
        stores__redis_close(link_.redis, on_closed, &link_);
        TURN_UNTIL(link_.closes, 10000);
        _exit(link_.closes == 1 ? 0 : 1);
    }
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    CHECK_INT(ask("INCR n").integer, 1);
    CHECK_INT(ask("INCR n").integer, 2);
    CHECK_INT(stores__redis_stats(link_.redis)->connects, 1);
    CHECK_INT(stores__redis_stats(link_.redis)->failures, 0);
    close_link();
}

/* The files are read again by the next connection, and not by those that are up. */
static void test_renewed(void) {
    char away[160];

    open_up();
    snprintf(away, sizeof away, "%s.away", cert_file);
    CHECK_INT(rename(cert_file, away), 0);
    ask("SET n 0");
    stores__redis_renew(link_.redis, "so says the test");
    TURN_UNTIL(link_.downs, 10000);
    CHECK(strstr(link_.why, "cannot be read: No such file") != NULL);
    CHECK_INT(rename(away, cert_file), 0);
    TURN_UNTIL(link_.ups == 2, 10000);
    CHECK_INT(link_.ups, 2);
    close_link();
}

int main(void) {
    begin();
    make_certificate();
    begin_link();
    test_pipeline();
    test_large();
    test_fork();
    test_renewed();
    remove_certificate();
    end();
    return check_report();
}

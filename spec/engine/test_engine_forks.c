/*
 * test_engine_forks.c - hosts in C that fork: what a child may ask of an engine that it inherited,
 * how it forgets it, and that nothing of that reaches the parent.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine_harness.h"

/* What the child of a fork meets; its exit status. */
static int child(stores_engine *engine, stores_op *pending, stores_tx *tx) {
    static const stores_change change = {
        .size = sizeof change, .kind = STORES_UPDATE, .table = "docs", .id = 1, .json = "{}"};
    stores_error error = STORES_ERROR_INIT;
    int told = 0, before = check_failed;
    stores_call call = {.size = sizeof call, .cb = count_up, .arg = &told};
    CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", 1)), "forked");
    CHECK_STR(waited(engine, stores_find_many(engine, NULL, "docs", (int64_t[]){1, 2}, 2)),
              "forked");
    CHECK_STR(waited(engine, stores_write(engine, NULL, &change)), "forked");
    CHECK_STR(waited(engine, stores_query(engine, NULL, "SELECT 1", NULL, NULL)), "forked");
    CHECK_STR(waited(engine, stores_invalidate(engine, NULL, "docs", NULL)), "forked");
    CHECK_STR(waited(engine, stores_sweep(engine, NULL)), "forked");
    CHECK_STR(waited(engine, stores_tx_find(tx, NULL, "docs", 1, false)), "forked");
    CHECK_STR(waited(engine, stores_tx_commit(tx, NULL)), "forked");
    CHECK(stores_listen(engine, "news", NULL, NULL) == NULL);

    /* in a poll loop */
    stores_op *op = stores_find(engine, &call, "docs", 1);
    CHECK_INT(told, 0);
    CHECK_INT(stores_backend_timeout(engine), 0);
    stores_pump(engine);
    CHECK_INT(told, 1);
    CHECK_INT(stores_backend_timeout(engine), -1);
    stores_op_free(op);

    /* what was under way is the parent's */
    stores_wait(engine, pending);
    CHECK_INT(stores_op_error(pending)->code, STORES_FORKED);
    stores_tx_free(tx);
    stores_flush(engine);
    stores_glance(engine);
    CHECK(stores_generate_id(engine) != 0);
    bool closed = false;
    stores_engine_close(engine, set_true, &closed);
    CHECK(closed);

    /* the child makes its own */
    stores_config config = config_of(false);
    config.loop = NULL;
    stores_engine *own = stores_engine_new(&config, &error);
    CHECK(own != NULL);
    if (own != NULL) {
        CHECK_STR(waited(own, stores_find(own, NULL, "docs", 1)), "ok");
        stores_engine_close(own, NULL, NULL);
    }
    return check_failed - before;
}

static void test_forks(void) {
    stores_engine *engine = engine_alone();
    static const char *const values[] = {"0.4"};
    static const stores_params params = {.size = sizeof params, .count = 1, .values = values};
    for (int round = 0; round < 3; round++) {
        stores_tx *tx = stores_tx_new(engine, NULL);
        CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", 1)), "ok");
        CHECK_STR(waited(engine, stores_tx_find(tx, NULL, "docs", 2, true)), "ok");
        stores_op *slow = stores_query(engine, NULL, "SELECT pg_sleep($1::float)", &params, NULL);
        stores_pump(engine);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) _exit(child(engine, slow, tx) == 0 ? 0 : 1);
        CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", 3)), "ok");
        int status = -1;
        while (waitpid(pid, &status, 0) < 0) {
        }
        CHECK_INT(status, 0);
        for (int64_t id = 1; id <= 50; id++) {
            stores_op *op = stores_find(engine, NULL, "docs", id);
            stores_wait(engine, op);
            CHECK_INT(stores_op_document(op, 0, NULL, &(const char *){NULL}, &(size_t){0}), 1);
            stores_op_free(op);
        }
        CHECK_STR(waited(engine, slow), "ok");
        CHECK_STR(waited(engine, stores_tx_find(tx, NULL, "docs", 2, true)), "ok");
        CHECK_STR(waited(engine, stores_tx_commit(tx, NULL)), "ok");
        stores_tx_free(tx);
    }
    stores_engine_close(engine, NULL, NULL);
}

/* A host that turns its own loop on in the child, as libuv wants it, harms nobody. */
static void test_fork_of_a_loop(void) {
    stores_engine *engine = engine_new(true);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int told = 0, before = check_failed;
        stores_call call = {.size = sizeof call, .cb = count_up, .arg = &told};
        if (uv_loop_fork(&loop) != 0) _exit(2);
        stores_op *op = stores_find(engine, &call, "docs", 1);
        for (int i = 0; i < 20; i++) turn();
        stores_pump(engine);
        CHECK_INT(told, 1);
        stores_op_free(op);
        _exit(check_failed - before == 0 ? 0 : 1);
    }
    for (int64_t id = 1; id <= 30; id++)
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", id)), "ok");
    int status = -1;
    while (waitpid(pid, &status, 0) < 0) {
    }
    CHECK_INT(status, 0);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 31)), "ok");
    engine_close(engine);
}

static void hear_nothing(void *arg, const char *channel, const char *payload) {
    (void)arg;
    (void)channel;
    (void)payload;
}

/* ---- A child that forgets -------------------------------------------------------------------- */

/* How many sockets this process has open. */
static int count_sockets(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode)) count++;
    }
    return count;
}

/* What the child has of the parent's. */
struct inherited {
    stores_engine *engine;
    stores_op *slow, *ready, *abandoned;
    stores_tx *tx, *idle_tx, *abandoned_tx;
    int *told;
};

static int forgetful_child(const struct inherited *have, int sockets_before) {
    int before = check_failed;
    stores_op_free(have->abandoned); /* before and after: both are allowed */
    stores_tx_free(have->abandoned_tx);
    CHECK_STR(waited(have->engine, stores_find(have->engine, NULL, "docs", 1)), "forked");
    CHECK(stores_engine_forget(have->engine));
    CHECK_INT(count_sockets(), sockets_before);
    CHECK(stores_op_done(have->slow));
    CHECK_INT(stores_op_error(have->slow)->code, STORES_FORKED);
    stores_op_free(have->slow);
    CHECK(stores_op_done(have->ready));
    stores_op_free(have->ready);
    CHECK_INT(*have->told, 0);
    stores_op *late = stores_tx_find(have->tx, NULL, "docs", 1, false);
    CHECK_INT(stores_op_error(late)->code, STORES_CLOSED);
    stores_op_free(late);
    stores_tx_free(have->idle_tx);
    stores_tx_free(have->tx); /* with the last of them the engine's memory goes */

    stores_error error = STORES_ERROR_INIT;
    stores_config config = config_of(true);
    config.loop = NULL;
    stores_engine *own = stores_engine_new(&config, &error);
    CHECK(own != NULL);
    if (own == NULL) return 1;
    CHECK_STR(waited(own, stores_find(own, NULL, "docs", 1)), "ok");
    CHECK(!stores_engine_forget(own)); /* it is no parent's */
    stores_engine_close(own, NULL, NULL);
    return check_failed - before;
}

static void end_child(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) < 0) {
    }
    CHECK_INT(status, 0);
}

/* With everything under way that an engine can have: a statement that runs, a write that has not
 * been sent, an open transaction with locks, one that is in a statement, and a listener. */
static void test_forget(void) {
    static const char *const values[] = {"1.5"};
    static const stores_params params = {.size = sizeof params, .count = 1, .values = values};
    int sockets = count_sockets(), told = 0;
    stores_engine *engine = engine_alone();
    CHECK(!stores_engine_forget(engine));
    stores_listener *listener = stores_listen(engine, "news", hear_nothing, NULL);
    stores_op *listening = stores_listening(listener, NULL);
    CHECK_STR(waited(engine, listening), "ok");
    for (int round = 0; round < 3; round++) {
        stores_call call = {.size = sizeof call, .cb = count_up, .arg = &told};
        told = 0;
        struct inherited have = {.engine = engine, .told = &told};
        have.tx = stores_tx_new(engine, NULL);
        have.idle_tx = stores_tx_new(engine, NULL);
        have.abandoned_tx = stores_tx_new(engine, NULL);
        CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", 1)), "ok");
        CHECK_STR(waited(engine, stores_tx_find(have.tx, NULL, "docs", 2, true)), "ok");
        have.slow = stores_query(engine, &call, "SELECT pg_sleep($1::float)", &params, NULL);
        stores_op *in_tx = stores_tx_query(have.tx, NULL, "SELECT pg_sleep(0.5)", NULL, NULL);
        stores_pump(engine);
        stores_change change = change_of(STORES_UPDATE, 3, "{\"n\": 3}");
        have.ready = stores_write(engine, &call, &change);
        have.abandoned = stores_find(engine, NULL, "docs", 4 + round);
        double lost = figure(engine, "pg_lost"), links = figure(engine, "redis_connects");
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) _exit(forgetful_child(&have, sockets) == 0 ? 0 : 1);
        end_child(pid);
        /* the parent notices nothing, and what it had begun goes on */
        CHECK_STR(waited(engine, have.ready), "ok");
        CHECK_STR(waited(engine, have.abandoned), "ok");
        CHECK_STR(waited(engine, in_tx), "ok");
        CHECK_STR(waited(engine, stores_tx_find(have.tx, NULL, "docs", 2, true)), "ok");
        CHECK_STR(waited(engine, stores_tx_commit(have.tx, NULL)), "ok");
        CHECK_STR(waited(engine, have.slow), "ok");
        CHECK_INT(told, 2);
        for (int64_t id = 1; id <= 50; id++) {
            CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", id)), "ok");
        }
        CHECK_INT(figure(engine, "pg_lost"), lost);
        CHECK_INT(figure(engine, "pg_cancels"), 0);
        CHECK_INT(figure(engine, "redis_connects"), links);
        CHECK_INT(figure(engine, "listeners_deaf"), 0);
        stores_tx_free(have.tx);
        stores_tx_free(have.idle_tx);
        stores_tx_free(have.abandoned_tx);
    }
    stores_unlisten(listener);
    stores_engine_close(engine, NULL, NULL);
}

/* A host that goes on with its own loop in the child, and closes it. */
static void test_forget_on_a_loop(void) {
    int sockets = count_sockets();
    stores_engine *engine = engine_new(true);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    stores_op *slow = stores_query(engine, NULL, "SELECT pg_sleep(0.5)", NULL, NULL);
    turn_for(20);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int before = check_failed;
        if (uv_loop_fork(&loop) != 0) _exit(2);
        CHECK(stores_engine_forget(engine));
        CHECK_INT(stores_op_error(slow)->code, STORES_FORKED);
        stores_op_free(slow);
        uv_close((uv_handle_t *)&held, NULL);
        CHECK_INT(uv_run(&loop, UV_RUN_DEFAULT), 0);
        CHECK_INT(uv_loop_close(&loop), 0); /* nothing of the engine is left on it */
        CHECK_INT(count_sockets(), sockets);
        _exit(check_failed - before == 0 ? 0 : 1);
    }
    end_child(pid);
    CHECK_STR(end_of(slow), "ok");
    for (int64_t id = 1; id <= 30; id++)
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", id)), "ok");
    CHECK_INT(figure(engine, "pg_lost"), 0);
    engine_close(engine);
}

/* The sessions that began behind that moment: those of engines that were closed before may still be
 * ending. */
static double count_sessions(stores_engine *engine, const char *moment) {
    const char *values[] = {moment};
    stores_params params = {.size = sizeof params, .count = 1, .values = values};
    stores_op *op = stores_query(engine, NULL,
                                 "SELECT count(*) FROM pg_stat_activity "
                                 "WHERE datname = current_database() "
                                 "AND backend_start > $1::timestamptz",
                                 &params, NULL);
    stores_wait(engine, op);
    double count = stores_op_rows(op) == 1 ? atof(stores_op_value(op, 0, 0, NULL)) : -1;
    stores_op_free(op);
    return count;
}

/* The connections end with the parent, for the child does not keep them open. */
static void test_forget_outlives(void) {
    int ready[2], over[2];
    char byte = 0;
    stores_engine *engine = engine_alone();
    stores_op *op = stores_query(engine, NULL, "SELECT clock_timestamp()", NULL, NULL);
    char moment[64];
    stores_wait(engine, op);
    snprintf(moment, sizeof moment, "%s", stores_op_value(op, 0, 0, NULL));
    stores_op_free(op);
    CHECK_INT(count_sessions(engine, moment), 0);
    CHECK(pipe(ready) == 0 && pipe(over) == 0);
    fflush(stdout);
    pid_t parent = fork();
    if (parent == 0) {
        stores_engine *short_lived = engine_alone();
        CHECK(count_sessions(short_lived, moment) > 0);
        if (fork() > 0) _exit(read(ready[0], &byte, 1) == 1 ? 0 : 1); /* without a good-bye */
        byte = stores_engine_forget(short_lived) ? 'y' : 'n';
        close(over[1]);
        _exit(write(ready[1], &byte, 1) == 1 && read(over[0], &byte, 1) == 0 ? 0 : 1);
    }
    end_child(parent);
    uint64_t until = uv_hrtime() + UINT64_C(10000000000);
    while (count_sessions(engine, moment) != 0 && uv_hrtime() < until) usleep(20000);
    CHECK_INT(count_sessions(engine, moment), 0);
    stores_engine_close(engine, NULL, NULL);
    close(over[1]); /* the grandchild ends */
    close(over[0]);
    close(ready[0]);
    close(ready[1]);
}

int main(void) {
    if (!servers_open()) return 1;
    test_forks();
    test_fork_of_a_loop();
    test_forget();
    test_forget_on_a_loop();
    test_forget_outlives();
    servers_close();
    return check_report();
}

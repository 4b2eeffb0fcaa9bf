/*
 * test_engine_hosts.c - what hosts in C do to an engine: they fork, close while calls are made,
 * keep handles of their own on its loop, and pass what no enum has, or structs that say no size.
 */
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine_harness.h"

static void count_up(stores_op *op, void *arg) {
    (void)op;
    (*(int *)arg)++;
}

static void gone(void *arg) {
    *(bool *)arg = true;
}

/* ---- Forks ----------------------------------------------------------------------------------- */

/* An engine that turns a loop of its own. */
static stores_engine *engine_alone(void) {
    stores_config config = config_of(true);
    config.loop = NULL;
    return engine_with(&config);
}

static const char *waited(stores_engine *engine, stores_op *op) {
    if (op == NULL) return "NULL";
    stores_wait(engine, op);
    const stores_error *error = stores_op_error(op);
    const char *name = error ? stores_code_name(error->code) : "ok";
    stores_op_free(op);
    return name;
}

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
    CHECK(stores_generate_id(engine) != 0);
    bool closed = false;
    stores_engine_close(engine, gone, &closed);
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

/* ---- Closing --------------------------------------------------------------------------------- */

static stores_engine *closing; /* in which callbacks make calls */
static int refused;

static void call_again(stores_op *op, void *arg) {
    (void)arg;
    const stores_error *error = stores_op_error(op);
    if (error != NULL && error->code == STORES_CLOSED) refused++;
    stores_op_free(op);
}

static void call_while_closing(stores_op *op, void *arg) {
    stores_call call = {.size = sizeof call, .cb = call_again};
    stores_tx *tx = arg;
    stores_change change = {.size = sizeof change, .kind = STORES_DELETE, .table = "docs", .id = 1};
    stores_op *ops[] = {stores_find(closing, &call, "docs", 1),
                        stores_write(closing, &call, &change),
                        stores_query(closing, &call, "SELECT 1", NULL, NULL),
                        stores_invalidate(closing, &call, "docs", NULL),
                        stores_sweep(closing, &call),
                        stores_tx_find(tx, &call, "docs", 1, false)};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) CHECK(ops[i] != NULL);
    stores_op_free(op);
}

static void test_calls_while_closing(void) {
    for (int connected = 0; connected < 2; connected++) {
        stores_tx *tx;
        bool closed = false;
        closing = engine_new(true);
        refused = 0;
        if (connected) CHECK_STR(end_of(stores_find(closing, NULL, "docs", 1)), "ok");
        tx = stores_tx_new(closing, NULL);
        stores_call call = {.size = sizeof call, .cb = call_while_closing, .arg = tx};
        CHECK(stores_query(closing, &call, "SELECT pg_sleep(20)", NULL, NULL) != NULL);
        if (connected) turn_for(20);
        stores_engine_close(closing, gone, &closed);
        call.cb = call_again;
        CHECK(stores_find(closing, &call, "docs", 1) != NULL);
        CHECK(stores_listen(closing, "news", NULL, NULL) == NULL);
        TURN_UNTIL(closed, 10000);
        CHECK(closed);
        CHECK_INT(refused, 7);
        /* the tx keeps what is left of the engine */
        int told = 0;
        stores_call late = {.size = sizeof late, .cb = count_up, .arg = &told};
        stores_op *op = stores_tx_find(tx, &late, "docs", 1, false);
        CHECK(op != NULL && stores_op_done(op));
        CHECK_INT(stores_op_error(op)->code, STORES_CLOSED);
        turn_for(5);
        CHECK_INT(told, 0);
        stores_op_free(op);
        stores_tx_free(tx);
    }
}

/* ---- Loops ----------------------------------------------------------------------------------- */

static void always(uv_idle_t *idle) {
    (void)idle;
}

static void test_busy_loop(void) {
    uv_idle_t idle;
    stores_engine *engine = engine_new(false);
    uv_idle_init(&loop, &idle);
    uv_idle_start(&idle, always);
    for (int i = 0; i < 3; i++) {
        int told = 0, pumps = 0;
        stores_call call = {.size = sizeof call, .cb = count_up, .arg = &told};
        stores_op *op = stores_find(engine, &call, "docs", 1);
        while (told == 0 && pumps++ < 1000000) stores_pump(engine);
        CHECK_INT(told, 1);
        CHECK_INT(stores_backend_timeout(engine), 0);
        stores_op_free(op);
    }
    uv_close((uv_handle_t *)&idle, NULL);
    engine_close(engine);
}

static stores_op *again(stores_engine *engine, int *told);
static stores_engine *greedy;

static void ask_again(stores_op *op, void *arg) {
    stores_op_free(op);
    if (++*(int *)arg < 100000) again(greedy, arg);
}

static stores_op *again(stores_engine *engine, int *told) {
    stores_call call = {.size = sizeof call, .cb = ask_again, .arg = told};
    stores_change change = {.size = sizeof change, .kind = (stores_change_kind)77, .table = "docs"};
    return stores_write(engine, &call, &change); /* fails without waiting for anything */
}

/* A host whose callbacks ask for more at once gets its turn between two pumps. */
static void test_greedy_callbacks(void) {
    int told = 0;
    greedy = engine_new(false);
    again(greedy, &told);
    stores_pump(greedy);
    CHECK(told > 0 && told < 1000);
    CHECK_INT(stores_backend_timeout(greedy), 0);
    while (told < 100000) stores_pump(greedy);
    engine_close(greedy);
}

/* What the host has on the loop of an engine does not keep it from closing. */
static void test_own_loop_with_a_host(void) {
    static uv_idle_t idle; /* it is never closed */
    stores_engine *engine = engine_alone();
    CHECK_STR(waited(engine, stores_find(engine, NULL, "docs", 1)), "ok");
    uv_idle_init(stores_engine_loop(engine), &idle);
    uv_idle_start(&idle, always);
    bool closed = false;
    stores_engine_close(engine, gone, &closed);
    CHECK(closed);
}

/* ---- What no enum has ------------------------------------------------------------------------ */

static void test_out_of_range(void) {
    static const int wrong[] = {-1, 5, 77, 1 << 30};
    stores_error error = STORES_ERROR_INIT;
    stores_engine *engine = engine_new(false);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        stores_change change = {.size = sizeof change,
                                .kind = (stores_change_kind)wrong[i],
                                .table = "docs",
                                .id = 1,
                                .json = "{}",
                                .expr = "value"};
        CHECK_STR(end_of(stores_write(engine, NULL, &change)), "invalid_argument");
        stores_tx *tx = stores_tx_new(engine, NULL);
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "invalid_argument");
        CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
        stores_tx_free(tx);

        stores_tx_options options = {.size = sizeof options,
                                     .isolation = (stores_isolation)wrong[i]};
        tx = stores_tx_new(engine, &options);
        CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 1, false)), "invalid_option");
        CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", NULL, NULL)), "invalid_option");
        stores_tx_free(tx);

        stores_config config = config_of(true);
        config.on_cache_failure = (stores_cache_failure)wrong[i];
        CHECK(stores_engine_new(&config, &error) == NULL);
        CHECK_INT(error.code, STORES_INVALID_OPTION);
        CHECK_STR(stores_code_name((stores_code)(wrong[i] == 5 ? -5 : wrong[i])), "internal");
    }
    CHECK_INT(stores_shard_of(7, 0), -1);
    CHECK_INT(stores_shard_of(7, -3), -1);

    stores_params params = {.size = sizeof params, .count = 1};
    stores_change change = {
        .size = sizeof change, .kind = STORES_INSERT, .table = "docs", .id = 900};
    CHECK_STR(end_of(stores_write(engine, NULL, &change)), "invalid_document");
    change = (stores_change){.size = sizeof(stores_change),
                             .kind = STORES_MODIFY,
                             .table = "docs",
                             .id = 1,
                             .params = &params};
    CHECK_STR(end_of(stores_write(engine, NULL, &change)), "invalid_argument");
    CHECK_STR(end_of(stores_query(engine, NULL, "SELECT $1", &params, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_find(engine, NULL, NULL, 1)), "invalid_table");
    engine_close(engine);
}

/* ---- Structs without their size -------------------------------------------------------------- */

static void test_no_sizes(void) {
    stores_error error = STORES_ERROR_INIT, blank;
    stores_config no_config = {0};
    CHECK(stores_engine_new(&no_config, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "stores_config") != NULL);
    memset(&blank, 0, sizeof blank);
    stores_config config = config_of(false);
    CHECK(stores_engine_new(&config, &blank) == NULL);
    CHECK(strstr(blank.message, "stores_error") != NULL);
    CHECK(stores_engine_new(&no_config, NULL) == NULL);

    stores_engine *engine = engine_new(false);
    int told = 0;
    stores_call no_call = {.cb = count_up, .arg = &told};
    CHECK_STR(end_of(stores_find(engine, &no_call, "docs", 1)), "invalid_argument");
    CHECK_STR(end_of(stores_query(engine, &no_call, "SELECT 1", NULL, NULL)), "invalid_argument");
    CHECK_INT(told, 2); /* who calls back hears of it */

    stores_params no_params = {.count = 0};
    stores_query_options no_options = {.readonly = true};
    stores_change no_change = {.kind = STORES_DELETE, .table = "docs", .id = 1};
    stores_change modify_one = {.size = sizeof modify_one,
                                .kind = STORES_MODIFY,
                                .table = "docs",
                                .id = 1,
                                .params = &no_params};
    CHECK_STR(end_of(stores_query(engine, NULL, "SELECT 1", &no_params, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_query(engine, NULL, "SELECT 1", NULL, &no_options)),
              "invalid_argument");
    CHECK_STR(end_of(stores_select(engine, NULL, "docs", "SELECT 1 FROM %T", &no_params)),
              "invalid_argument");
    CHECK_STR(end_of(stores_write(engine, NULL, &no_change)), "invalid_argument");
    CHECK_STR(end_of(stores_write(engine, NULL, &modify_one)), "invalid_argument");

    stores_tx *tx = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_tx_find(tx, &no_call, "docs", 1, false)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &no_change, false)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", &no_params, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", NULL, &no_options)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 1, false)), "ok"); /* it goes on */
    CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
    stores_tx_free(tx);
    stores_tx_options no_tx = {.readonly = true};
    tx = stores_tx_new(engine, &no_tx);
    stores_op *op = stores_tx_find(tx, NULL, "docs", 1, false);
    CHECK_STR(code_of(op), "invalid_argument");
    CHECK(strstr(stores_op_error(op)->message, "stores_tx_options") != NULL);
    CHECK_INT(stores_op_error(op)->size, sizeof(stores_error));
    stores_times times = {0};
    CHECK(!stores_op_times(op, &times));
    stores_op_free(op);
    stores_tx_free(tx);
    no_op_left(engine);
    engine_close(engine);
}

int main(void) {
    if (!servers_open()) return 1;
    test_forks();
    test_fork_of_a_loop();
    test_forget();
    test_forget_on_a_loop();
    test_forget_outlives();
    test_calls_while_closing();
    test_busy_loop();
    test_greedy_callbacks();
    test_own_loop_with_a_host();
    test_out_of_range();
    test_no_sizes();
    servers_close();
    return check_report();
}

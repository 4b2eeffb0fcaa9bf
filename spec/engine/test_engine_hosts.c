/*
 * test_engine_hosts.c - what hosts in C do to an engine: they close while calls are made, keep
 * handles of their own on its loop, and pass what no enum has, or structs that say no size. Forks:
 * test_engine_forks.c.
 */
#include "engine_harness.h"

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
        stores_engine_close(closing, set_true, &closed);
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
    stores_engine_close(engine, set_true, &closed);
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
    test_calls_while_closing();
    test_busy_loop();
    test_greedy_callbacks();
    test_own_loop_with_a_host();
    test_out_of_range();
    test_no_sizes();
    servers_close();
    return check_report();
}

/*
 * engine_harness.h - engines over servers of the spec's own, on one loop, for the specs of the C
 * API.
 */
#ifndef STORES_ENGINE_HARNESS_H
#define STORES_ENGINE_HARNESS_H

#include <uv.h>

#include "check.h"
#include "postgres_server.h"
#include "redis_server.h"
#include "stores.h"

static uv_loop_t loop;
static uv_timer_t held; /* the loop also turns while no call is pending */

static void hold(uv_timer_t *timer) {
    (void)timer;
}

static inline bool servers_open(void) {
    uv_loop_init(&loop);
    uv_timer_init(&loop, &held);
    uv_timer_start(&held, hold, 1000, 1000);
    if (!server_open() || !postgres_open()) return false;
    sql("CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);"
        "INSERT INTO docs SELECT i, jsonb_build_object('n', i) FROM generate_series(1, 100) i");
    return true;
}

static inline void servers_close(void) {
    uv_close((uv_handle_t *)&held, NULL);
    CHECK_INT(uv_run(&loop, UV_RUN_DEFAULT), 0);
    CHECK_INT(uv_loop_close(&loop), 0);
    postgres_close();
    server_close();
}

/* The config of an engine on the loop; its keywords live as long as the program. */
static inline stores_config config_of(bool cache) {
    static const char *const keys[] = {"host", "port", "user", "dbname", NULL};
    static const char *values[] = {NULL, "5432", "postgres", NULL, NULL};
    stores_config config = STORES_CONFIG_INIT;
    values[0] = postgres.host;
    values[3] = postgres.database;
    config.loop = &loop;
    config.pg_keys = keys;
    config.pg_values = values;
    config.poolsize = 4;
    config.no_cache = !cache;
    config.redis_path = server.socket;
    config.redis_timeout_ms = 2000; /* a busy machine is not a fault */
    return config;
}

static inline stores_engine *engine_with(const stores_config *config) {
    stores_error error = STORES_ERROR_INIT;
    stores_engine *engine = stores_engine_new(config, &error);
    if (engine == NULL) {
        printf("no engine: %s\n", error.message);
        exit(1);
    }
    return engine;
}

static inline stores_engine *engine_new(bool cache) {
    stores_config config = config_of(cache);
    return engine_with(&config);
}

/* An engine that turns a loop of its own. */
static inline stores_engine *engine_alone(void) {
    stores_config config = config_of(true);
    config.loop = NULL;
    return engine_with(&config);
}

/* Told of a call that ended: one more. */
static inline void count_up(stores_op *op, void *arg) {
    (void)op;
    ++*(int *)arg;
}

/* Told of an engine that closed. */
static inline void set_true(void *arg) {
    *(bool *)arg = true;
}

static inline void turn(void) {
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(200);
}

#define TURN_UNTIL(condition, ms)                                                                  \
    do {                                                                                           \
        uint64_t until_ = uv_hrtime() + (uint64_t)(ms)*1000000;                                    \
        while (!(condition) && uv_hrtime() < until_) turn();                                       \
        CHECK(condition);                                                                          \
    } while (0)

static inline void turn_for(int ms) {
    uint64_t until = uv_hrtime() + (uint64_t)ms * 1000000;
    while (uv_hrtime() < until) turn();
}

static inline void count_close(void *arg) {
    ++*(int *)arg;
}

static inline void engine_close(stores_engine *engine) {
    int closed = 0;
    stores_engine_close(engine, count_close, &closed);
    TURN_UNTIL(closed == 1, 10000);
}

struct wanted_figure {
    const char *name;
    double value;
};

static inline void take_figure(void *arg, const char *name, double value) {
    struct wanted_figure *wanted = arg;
    if (strcmp(name, wanted->name) == 0) wanted->value = value;
}

static inline double figure(stores_engine *engine, const char *name) {
    struct wanted_figure wanted = {.name = name, .value = -1};
    stores_stats(engine, take_figure, &wanted);
    return wanted.value;
}

/* Turns until the op is done. Its code, or "ok". */
static inline const char *code_of(stores_op *op) {
    TURN_UNTIL(stores_op_done(op), 15000);
    const stores_error *error = stores_op_error(op);
    return stores_code_name(error ? error->code : STORES_OK);
}

static inline const char *outcome_of(const stores_op *op) {
    const stores_error *error = stores_op_error(op);
    return error ? stores_outcome_name(error->outcome) : "success";
}

/* The same of an engine that turns a loop of its own, and frees the op. */
static inline const char *waited(stores_engine *engine, stores_op *op) {
    if (op == NULL) return "NULL";
    stores_wait(engine, op);
    const stores_error *error = stores_op_error(op);
    const char *name = error ? stores_code_name(error->code) : "ok";
    stores_op_free(op);
    return name;
}

/* The same of one on the loop of the spec, and frees the op. */
static inline const char *end_of(stores_op *op) {
    const char *code = code_of(op);
    if (stores_op_error(op) && strcmp(code, "internal") == 0) {
        printf("internal: %s\n", stores_op_error(op)->message);
    }
    stores_op_free(op);
    return code;
}

/* A document of a done op as text, in memory that the next call uses again; "" where there is
 * none. */
static inline const char *document(const stores_op *op, size_t index) {
    static char copy[256];
    const char *text;
    size_t len;
    int64_t id;
    copy[0] = '\0';
    if (stores_op_document(op, index, &id, &text, &len)) {
        snprintf(copy, sizeof copy, "%.*s", (int)len, text);
    }
    return copy;
}

static inline stores_change change_of(stores_change_kind kind, int64_t id, const char *json) {
    stores_change change = {
        .size = sizeof change, .kind = kind, .table = "docs", .id = id, .json = json};
    return change;
}

static inline stores_op *modify(stores_engine *engine, const stores_call *call, int64_t id) {
    stores_change change = {.size = sizeof change,
                            .kind = STORES_MODIFY,
                            .table = "docs",
                            .id = id,
                            .expr = "value || '{\"touched\": true}'"};
    return stores_write(engine, call, &change);
}

static inline void no_op_left(stores_engine *engine) {
    TURN_UNTIL(figure(engine, "ops") == 0 && figure(engine, "pool_checked_out") == 0 &&
                   figure(engine, "pool_writing") == 0 && figure(engine, "pool_waiters") == 0,
               10000);
}

#endif

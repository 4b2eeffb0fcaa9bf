/*
 * test_memory.c - memory that runs out in the core, at each of its allocations in turn, and results
 * that libpq has no memory for: every call ends, long before its deadline, and says the truth; the
 * caches of others hear of what was done.
 * Asan pass alone: what is looked for is memory, and that pass looks at all the rest as well.
 */
#include "engine_harness.h"
#include "no_results.h"
#include "base/err.h"
#include "cache/epoch_internal.h"
#include "redis/tls.h"

/* ---- Faults ---------------------------------------------------------------------------------- */

static int fail_timer; /* handles of timers: the how-manyth from now on fails; 0: none */

int __real_uv_timer_init(uv_loop_t *timer_loop, uv_timer_t *timer);
int __wrap_uv_timer_init(uv_loop_t *timer_loop, uv_timer_t *timer);

int __wrap_uv_timer_init(uv_loop_t *timer_loop, uv_timer_t *timer) {
    return fails(&fail_timer) ? UV_ENOMEM : __real_uv_timer_init(timer_loop, timer);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void test_errors(void) {
    stores_error error = STORES_ERROR_INIT;
    stores__error_set(&error, STORES_CONNECTION_LOST, "the connection was lost");
    error.outcome = STORES_OUTCOME_UNKNOWN;
    fail_at = 1;
    stores_error *one = stores__error_dup(&error);
    CHECK_STR(stores_code_name(one->code), "no_memory");
    CHECK_STR(stores_outcome_name(one->outcome), "unknown");
    fail_at = 1;
    stores_error *two = stores__error_new(STORES_TIMEOUT, "%s", "text");
    CHECK_STR(stores_outcome_name(two->outcome), "none");
    /* what becomes of the one is nothing to the other */
    stores__error_outcome(&two, STORES_OUTCOME_COMMITTED);
    stores__error_shard(two, 3);
    fail_at = 1;
    stores_error *three = stores__error_new(STORES_TIMEOUT, "%s", "text");
    CHECK_STR(stores_outcome_name(one->outcome), "unknown");
    CHECK_STR(stores_outcome_name(two->outcome), "committed");
    CHECK_STR(stores_outcome_name(three->outcome), "none");
    CHECK_INT(three->shard, -1);
    stores__error_free(one);
    stores__error_free(two);
    stores__error_free(three);

    one = stores__error_new(STORES_CONNECTION_LOST, "%s", "text");
    CHECK(one->retryable);
    stores__error_outcome(&one, STORES_OUTCOME_UNKNOWN);
    CHECK(!one->retryable);
    stores__error_outcome(&one, STORES_OUTCOME_NONE);
    CHECK(one->retryable);
    stores__error_free(one);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

enum { CALLS = 5, MOST = 400, DEADLINE_MS = 60000 };

static const char *const names[CALLS] = {"write", "tx_write", "query", "autocommit", "simple"};

/* Writes n into the row 1 in one of the ways that there are. */
static stores_op *start(stores_engine *engine, stores_tx *tx, int kind, const char *json) {
    static const char *tables[] = {"docs"};
    static char text[200];
    stores_call call = {.size = sizeof call, .timeout_ms = DEADLINE_MS};
    stores_query_options outside = {
        .size = sizeof outside, .autocommit = true, .invalidates = tables, .invalidates_count = 1};
    stores_query_options simple = {.size = sizeof simple, .simple = true};
    stores_change change = change_of(STORES_UPDATE, 1, json);
    snprintf(text, sizeof text, "%sUPDATE docs SET value = '%s' WHERE id = 1",
             kind == 4 ? "SELECT 1; " : "", json);
    switch (kind) {
    case 0: return stores_write(engine, &call, &change);
    case 1: return stores_tx_write(tx, &call, &change, true);
    case 2: return stores_query(engine, &call, text, NULL, NULL);
    case 3: return stores_query(engine, &call, text, NULL, &outside);
    default: return stores_query(engine, &call, text, NULL, &simple);
    }
}

static const char *stored(void) {
    return sql("SELECT value FROM docs WHERE id = 1");
}

static const char *seen_by(stores_engine *engine) {
    static char text[64];
    stores_op *op = stores_find(engine, NULL, "docs", 1);
    code_of(op);
    snprintf(text, sizeof text, "%s", document(op, 0));
    stores_op_free(op);
    return text;
}

/* The other one finds what is stored; where Redis could not be told, as soon as it could. */
static void check_others(stores_engine *other) {
    char now[64];
    snprintf(now, sizeof now, "%s", stored());
    for (int i = 0; i < 1000 && strcmp(seen_by(other), now) != 0; i++) turn_for(5);
    CHECK_STR(seen_by(other), now);
}

/* One call with one fault. Whether the fault was met. */
static bool one_call(stores_engine *engine, stores_engine *other, int kind, int *fault, int at) {
    char before[64], after[64];
    snprintf(before, sizeof before, "%s", stored());
    snprintf(after, sizeof after, "{\"n\": %d}", 1000 * (kind + 1) + at);
    for (int i = 0; i < 3; i++) seen_by(other);
    stores_tx *tx = stores_tx_new(engine, NULL);
    uint64_t began = uv_hrtime();
    *fault = at;
    stores_op *op = start(engine, tx, kind, after);
    if (op != NULL) {
        /* who left out a wake-up would wait for the deadline; a busy machine has some seconds */
        TURN_UNTIL(stores_op_done(op), 30000);
        CHECK(uv_hrtime() - began < UINT64_C(1000000) * DEADLINE_MS);
    }
    bool met = *fault == 0;
    *fault = 0;
    const char *outcome = op ? outcome_of(op) : "none";
    if (strcmp(outcome, "success") == 0 || strcmp(outcome, "committed") == 0) {
        CHECK_STR(stored(), after);
    } else if (strcmp(outcome, "none") == 0) {
        CHECK_STR(stored(), before);
    }
    stores_op_free(op);
    stores_tx_free(tx);
    stores_flush(engine);
    check_others(other);
    return met;
}

static void test_calls(bool cache, int *fault) {
    stores_engine *engine = engine_new(cache), *other = engine_new(cache);
    for (int kind = 0; kind < CALLS; kind++) {
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", 50)), "ok");
        int at = 1;
        while (at < MOST && one_call(engine, other, kind, fault, at)) at++;
        if (at == MOST) printf("%s has more allocations than are tried\n", names[kind]);
        CHECK(at > 1 && at < MOST);
    }
    no_op_left(engine);
    engine_close(engine);
    engine_close(other);
}

/* A segment that cannot be made is no reason to wait. */
static void test_segment(void) {
    stores_engine *engine = engine_new(false);
    stores_change change = change_of(STORES_UPDATE, 2, "{}");
    stores_call call = {.size = sizeof call, .timeout_ms = DEADLINE_MS};
    CHECK_STR(end_of(stores_write(engine, &call, &change)), "ok");
    stores_op *op = stores_write(engine, &call, &change);
    fail_at = 1; /* the first thing that the end of the tick asks for */
    CHECK_STR(end_of(op), "no_memory");
    fail_at = 0;
    CHECK_STR(end_of(stores_write(engine, &call, &change)), "ok");
    engine_close(engine);
}

/* ---- Turns that are owed --------------------------------------------------------------------- */

static struct stores__timer crowd[4096];

/* Another timer would need memory. */
static void fill_timers(struct stores__timers *timers) {
    for (int i = 0; i < 4096 && timers->count < timers->cap; i++) {
        CHECK(stores__timer_set(timers, &crowd[i], UINT64_MAX));
    }
    CHECK(timers->count == timers->cap);
}

static void empty_timers(struct stores__timers *timers) {
    for (int i = 0; i < 4096; i++) stores__timer_stop(timers, &crowd[i]);
}

/* What is owed while there is no memory, and tried in vain, is done when there is some again. */
static void check_owed(stores_engine *engine, void (*owe)(void *arg), void *arg) {
    double turns = figure(engine, "turns_started");
    fill_timers(&engine->timers);
    denied = 0;
    all_fail = true;
    owe(arg);
    TURN_UNTIL(denied > 0, 30000);
    all_fail = false;
    TURN_UNTIL(figure(engine, "turns_started") > turns, 30000);
    empty_timers(&engine->timers);
}

static void bypass(void *epoch) {
    stores__epoch_bypassed(epoch);
}

static void turn_all(void *engine) {
    stores__turn_all(engine);
}

static void test_owed(void) {
    stores_engine *engine = engine_new(true), *stranger = engine_new(true);
    uint32_t oid = (uint32_t)strtoul(sql("SELECT 'docs'::regclass::oid"), NULL, 10);
    struct stores__epoch *epoch = stores__epoch_of(engine, oid);
    for (int i = 0; i < 1000 && epoch->state != STORES__EPOCH_VALID; i++) {
        seen_by(engine);
        turn_for(5);
    }
    CHECK_INT(epoch->state, STORES__EPOCH_VALID);
    check_owed(engine, bypass, epoch);
    stores__epoch_let_go(epoch);

    /* one that never met the table, which others did */
    CHECK_STR(end_of(stores_query(stranger, NULL, "SELECT 1", NULL, NULL)), "ok");
    TURN_UNTIL(figure(stranger, "redis_up") == 1, 30000);
    check_owed(stranger, turn_all, stranger);
    engine_close(engine);
    engine_close(stranger);
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Whether an engine is made where something fails; it is closed again. What is left of one that was
 * not made the sanitizers' pass finds. */
static bool is_made(const stores_config *config) {
    stores_error error = STORES_ERROR_INIT;
    stores_engine *engine = stores_engine_new(config, &error);
    fail_at = fail_timer = 0;
    if (engine == NULL) {
        CHECK(error.code == STORES_NO_MEMORY || error.code == STORES_INTERNAL);
        return false;
    }
    int closed = 0;
    stores_engine_close(engine, count_close, &closed);
    if (config->loop != NULL) TURN_UNTIL(closed == 1, 10000);
    CHECK_INT(closed, 1);
    return true;
}

static void test_opening(bool cache, bool own_loop) {
    stores_config config = config_of(cache);
    if (own_loop) config.loop = NULL;
    fail_timer = 1;
    CHECK(!is_made(&config));
    int at = 1;
    while (fail_at = at, !is_made(&config) && at < 1000) at++;
    CHECK(at > 3 && at < 1000);
    turn_for(5); /* what was begun on the loop ends with it */
}

/* ---- Looking into the cache ------------------------------------------------------------------ */

static const char *ask_redis(stores_engine *engine) {
    static const char *const words[] = {"MGET", "a", "b"};
    static const size_t lens[] = {4, 1, 1};
    stores_call call = {.size = sizeof call, .timeout_ms = DEADLINE_MS};
    stores_op *op = stores_redis(engine, &call, 7, 0, 3, words, lens);
    return op != NULL ? end_of(op) : "no_memory";
}

/* A reply that there was no memory for costs the link, which is made anew. */
static void wait_for_redis(stores_engine *engine) {
    for (int i = 0; i < 1000 && strcmp(ask_redis(engine), "ok") != 0; i++) turn_for(5);
    CHECK_STR(ask_redis(engine), "ok");
}

static void test_looking(void) {
    stores_engine *engine = engine_new(true);
    char key[STORES_KEY_SIZE];
    bool met = true;
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 50)), "ok");
    size_t len = stores_cache_key(engine, 7, "epoch", 1, key);
    CHECK(len > 0);
    for (int at = 1; met; at++) {
        fail_at = at;
        size_t now = stores_cache_key(engine, 7, "epoch", 1, key);
        met = fail_at == 0;
        fail_at = 0;
        CHECK(now == len || (met && now == 0));
    }
    met = true;
    for (int at = 1; met && at < MOST; at++) {
        wait_for_redis(engine);
        fail_at = at;
        const char *end = ask_redis(engine);
        met = fail_at == 0;
        fail_at = 0;
        if (!met) CHECK_STR(end, "ok");
    }
    CHECK(!met);
    no_op_left(engine);
    engine_close(engine);
}

/* ---- Telling of a write by others, by the name of a view ------------------------------------- */

static const char *invalidate(stores_engine *engine) {
    stores_call call = {.size = sizeof call, .timeout_ms = DEADLINE_MS};
    stores_op *op = stores_invalidate(engine, &call, "shown", NULL);
    return op != NULL ? end_of(op) : "no_memory";
}

static void test_behind(int *fault) {
    stores_engine *engine = engine_new(true), *other = engine_new(true);
    char text[120];
    bool met = true;
    sql("CREATE OR REPLACE VIEW shown AS SELECT * FROM docs");
    CHECK_STR(end_of(stores_find(engine, NULL, "shown", 1)), "ok");
    int at;
    for (at = 1; met && at < MOST; at++) {
        wait_for_redis(engine);
        check_others(other);
        snprintf(text, sizeof text, "UPDATE docs SET value = '{\"n\": %d}' WHERE id = 1", at);
        sql(text);
        *fault = at;
        const char *end = invalidate(engine);
        met = *fault == 0;
        *fault = 0;
        if (!met) CHECK_STR(end, "ok");
        if (strcmp(end, "ok") != 0) {
            wait_for_redis(engine);
            CHECK_STR(invalidate(engine), "ok");
        }
        CHECK_STR(seen_by(other), stored());
    }
    CHECK(at > 1 && !met);
    no_op_left(engine);
    engine_close(engine);
    engine_close(other);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static void test_tls(void) {
    stores_tls config = STORES_TLS_INIT;
    bool enough = false;
    int at;
    config.no_verify = true;
    config.server_name = "localhost";
    for (at = 1; at < 50 && !enough; at++) {
        char why[STORES__TLS_WHY] = "";
        enum stores__tls_shaken shaken = STORES__TLS_FAILED;
        fail_at = at;
        struct stores__tls_context *context = stores__tls_context_new(&config);
        struct stores__tls *tls = NULL;
        if (context != NULL) tls = stores__tls_open(context, "127.0.0.1", why, sizeof why);
        if (tls != NULL) shaken = stores__tls_shake(tls);
        enough = fail_at > 0;
        fail_at = 0;
        CHECK_INT(shaken, enough ? STORES__TLS_MORE : STORES__TLS_FAILED);
        if (context != NULL && !enough) {
            CHECK(strstr(tls != NULL ? stores__tls_why(tls) : why, "memory ran out") != NULL);
        }
        stores__tls_free(tls);
        stores__tls_context_free(context);
    }
    CHECK(at > 4);
    CHECK(enough);
}

int main(void) {
    test_errors();
    test_tls();
    if (!servers_open()) return 1;
    for (int kind = 0; kind < 4; kind++) test_opening(kind & 1, kind & 2);
    test_segment();
    test_owed();
    test_looking();
    test_behind(&fail_at);
    test_behind(&fail_result_at);
    for (int cache = 0; cache < 2; cache++) {
        test_calls(cache, &fail_at);
        test_calls(cache, &fail_result_at);
    }
    servers_close();
    return check_report();
}

/*
 * test_hints.c - hints in C: kept and followed, by keys of any bytes; callers that leave, engines
 * that close, and memory that runs out at each of a call's allocations in turn.
 */
#include "engine_harness.h"
#include "no_memory.h"

static stores_engine *engine;

static stores_op *by(const char *key) {
    return stores_find_hinted(engine, NULL, "docs", key, strlen(key));
}

static void keep(const char *key, int64_t id) {
    stores_hint(engine, "docs", key, strlen(key), &id);
    turn_for(2);
}

/* What the hint of a key leads to, as text; "-": there is none. */
static const char *found_by(const char *key) {
    static char text[256];
    stores_op *op = by(key);
    CHECK_STR(code_of(op), "ok");
    snprintf(text, sizeof text, "%s", stores_op_affected(op) == 1 ? document(op, 0) : "-");
    stores_op_free(op);
    return text;
}

/* The table is known, and its rows count. */
static void ready(void) {
    for (int i = 0; i < 4000; i++) {
        double before = figure(engine, "hits");
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
        if (figure(engine, "hits") > before) return;
        turn_for(5);
    }
    CHECK(false);
}

static void test_following(void) {
    int64_t id = 7;
    CHECK_STR(found_by("a"), "-");
    keep("a", 7);
    CHECK_STR(found_by("a"), "{\"n\": 7}");
    keep("a", 8);
    CHECK_STR(found_by("a"), "{\"n\": 8}");
    keep("a", INT64_MIN); /* there was a hint, and no such row */
    CHECK_STR(found_by("a"), "");
    stores_hint(engine, "docs", "a", 1, NULL);
    turn_for(2);
    CHECK_STR(found_by("a"), "-");

    /* a key is bytes */
    stores_hint(engine, "docs", "b\0c", 3, &id);
    turn_for(2);
    CHECK_STR(found_by("b"), "-");
    stores_op *op = stores_find_hinted(engine, NULL, "docs", "b\0c", 3);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 7}");
    CHECK_INT(stores_op_source(op), 'c');
    stores_op_free(op);

    CHECK_STR(end_of(stores_find_hinted(engine, NULL, "nothere", "a", 1)), "table_not_found");
    CHECK_STR(end_of(stores_find_hinted(engine, NULL, "no name", "a", 1)), "invalid_table");
    stores_hint(engine, "nothere", "a", 1, &id);
    stores_hint(engine, "no name", "a", 1, NULL);
}

/* Many of one tick, of which some leave: before they are sent, and after. */
static void test_leaving(void) {
    enum { MANY = 600 };
    static stores_op *ops[MANY];
    keep("a", 7);
    for (int early = 0; early < 2; early++) {
        for (int i = 0; i < MANY; i++) ops[i] = by(i % 2 ? "a" : "b");
        if (!early) stores_flush(engine);
        for (int i = 0; i < MANY; i += 3) stores_op_free(ops[i]);
        for (int i = 0; i < MANY; i++) {
            if (i % 3 == 0) continue;
            CHECK_STR(code_of(ops[i]), "ok");
            CHECK_STR(document(ops[i], 0), i % 2 ? "{\"n\": 7}" : "");
            CHECK_INT(stores_op_affected(ops[i]), i % 2);
            stores_op_free(ops[i]);
        }
    }
    for (int i = 0; i < MANY; i++) stores_op_free(by("a"));
}

static void test_memory(void) {
    int at = 0, met;
    stores_op *op;
    keep("a", 7);
    do {
        at++;
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", 7)), "ok");
        fail_at = at;
        op = by("a");
        if (op != NULL) {
            const char *code = code_of(op);
            /* without a hint the caller asks PostgreSQL: that is no error */
            CHECK(strcmp(code, "ok") == 0 || strcmp(code, "no_memory") == 0);
            const char *text = document(op, 0);
            CHECK(text[0] == '\0' || strcmp(text, "{\"n\": 7}") == 0);
        }
        met = fail_at == 0;
        fail_at = 0;
        stores_op_free(op);
        fail_at = at;
        keep("c", at);
        fail_at = 0;
    } while (met && at < 100);
    CHECK(at > 3 && at < 100);
    turn_for(20);
    ready();
    keep("a", 9);
    CHECK_STR(found_by("a"), "{\"n\": 9}");
}

/* An engine that closes with hints that are queued, and on their way. */
static void test_closing(void) {
    stores_op *sent = by("a"), *queued;
    stores_flush(engine);
    queued = by("a");
    keep("a", 7);
    stores_op *last = by("b");
    engine_close(engine);
    CHECK(stores_op_done(sent) && stores_op_done(queued) && stores_op_done(last));
    stores_op_free(sent);
    stores_op_free(queued);
    stores_op_free(last);
}

int main(void) {
    if (!servers_open()) return 1;
    engine = engine_new(true);
    ready();
    test_following();
    test_leaving();
    test_memory();
    test_closing();

    /* without a cache nothing is kept, and nothing found */
    engine = engine_new(false);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    keep("a", 7);
    CHECK_STR(found_by("a"), "-");
    engine_close(engine);
    servers_close();
    return check_report();
}

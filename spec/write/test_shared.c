/*
 * test_shared.c - writes that share a statement, while memory runs out at each of the core's
 * allocations in turn, and libpq has none for each of its results: each caller hears the truth.
 * Asan pass alone: what is looked for is memory, and that pass looks at all the rest as well.
 */
#include "engine_harness.h"
#include "no_results.h"

enum { WRITES = 8, MOST = 400 };

/* Writes n into some rows in one tick, with one fault. Whether the fault was met. */
static bool share(stores_engine *engine, int *fault, int n) {
    stores_op *ops[WRITES];
    char text[200], done[WRITES + 1] = "";
    snprintf(text, sizeof text, "{\"n\": %d}", n);
    for (int i = 0; i < WRITES; i++) {
        stores_change change = change_of(STORES_UPDATE, 60 + i, text);
        change.want_document = i % 2 == 0;
        ops[i] = stores_write(engine, NULL, &change);
    }
    *fault = n;
    for (int i = 0; i < WRITES; i++) {
        TURN_UNTIL(stores_op_done(ops[i]), 30000);
        bool none = strcmp(outcome_of(ops[i]), "none") == 0;
        if (stores_op_error(ops[i]) == NULL && i % 2 == 0) CHECK_STR(document(ops[i], 0), text);
        done[i] = none ? 'f' : 't';
        stores_op_free(ops[i]);
    }
    bool met = *fault == 0;
    *fault = 0;
    snprintf(text, sizeof text,
             "SELECT string_agg(CASE WHEN value->'n' = '%d' THEN 't' ELSE 'f' END, '' ORDER BY id)"
             " FROM docs WHERE id BETWEEN 60 AND %d",
             n, 60 + WRITES - 1);
    CHECK_STR(sql(text), done);
    return met;
}

static void test_shared(bool cache, int *fault) {
    stores_engine *engine = engine_new(cache);
    sql("UPDATE docs SET value = '{\"n\": 0}'");
    int n = 1;
    while (n < MOST && share(engine, fault, n)) n++;
    CHECK(n > 4 && n < MOST);
    no_op_left(engine);
    engine_close(engine);
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        test_shared(cache, &fail_at);
        test_shared(cache, &fail_result_at);
    }
    servers_close();
    return check_report();
}

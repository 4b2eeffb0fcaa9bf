/*
 * test_documents.c - writes of one tick share a statement that has their documents as one array.
 * Texts that are none, and such as would be several, or reach into their neighbours', are nobody's
 * but their callers'.
 */
#include "engine_harness.h"

enum { WRITES = 8, FIRST = 10 };

/* Writes them in one tick to rows of their own. Which of them were: one letter for each. */
static const char *write_all(stores_engine *engine, stores_change_kind kind, int64_t first,
                             const char *const *texts) {
    static char done[WRITES + 1];
    stores_op *ops[WRITES];
    for (int i = 0; i < WRITES; i++) {
        stores_change change = change_of(kind, first + i, texts[i]);
        ops[i] = stores_write(engine, NULL, &change);
    }
    for (int i = 0; i < WRITES; i++) {
        bool ok = strcmp(code_of(ops[i]), "ok") == 0;
        if (!ok) CHECK_STR(outcome_of(ops[i]), "none");
        done[i] = ok ? 't' : 'f';
        stores_op_free(ops[i]);
    }
    return done;
}

static const char *stored(int64_t first) {
    char text[200];
    snprintf(text, sizeof text,
             "SELECT string_agg(value::text, ' ' ORDER BY id) FROM docs"
             " WHERE id BETWEEN %d AND %d",
             (int)first, (int)first + WRITES - 1);
    return sql(text);
}

static void test_kind(stores_engine *engine, stores_change_kind kind, int64_t first) {
    static const char *const good[WRITES] = {
        "{\"n\": 1}", "{\"n\": [1, 2]}", " {\"n\": 3 } ", "4", "\"5, ]\\\"}\"", "null", "[[], {}]",
        "{}"};
    CHECK_STR(write_all(engine, kind, first, good), "tttttttt");
    CHECK_STR(stored(first),
              "{\"n\": 1} {\"n\": [1, 2]} {\"n\": 3} 4 \"5, ]\\\"}\" null [[], {}] {}");
}

/* Together they have as many documents as rows, or are none but as a whole. */
static void test_bad(stores_engine *engine, int64_t first) {
    static const char *const shifted[WRITES] = {"[1", "2]",   "{\"n\": 3}, 3", "{\"n\": 4}",
                                                "5",  "6, 6", "\"7",           "8\""};
    static const char *const refused[WRITES] = {"",  "{]",  "1 2", "{\"n\": 4}",
                                                "5", "{n}", "7",   "8"};
    sql("UPDATE docs SET value = '0'");
    CHECK_STR(write_all(engine, STORES_UPDATE, first, shifted), "ffftt"
                                                                "fff");
    CHECK_STR(stored(first), "0 0 0 {\"n\": 4} 5 0 0 0");
    sql("UPDATE docs SET value = '0'");
    CHECK_STR(write_all(engine, STORES_UPDATE, first, refused), "fffttftt");
    CHECK_STR(stored(first), "0 0 0 {\"n\": 4} 5 0 7 8");
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        test_kind(engine, STORES_UPDATE, FIRST);
        test_kind(engine, STORES_UPSERT, 95); /* some of them are there */
        test_kind(engine, STORES_INSERT, 1000 + cache * WRITES);
        test_bad(engine, FIRST);
        no_op_left(engine);
        engine_close(engine);
    }
    servers_close();
    return check_report();
}

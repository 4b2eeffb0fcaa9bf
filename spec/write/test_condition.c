/* test_condition.c - changes of rows that meet a condition, with parameters of its own. */
#include "engine_harness.h"

static stores_engine *engine;

static stores_change with(stores_change_kind kind, int64_t id, const char *condition,
                          const stores_params *params) {
    stores_change change = STORES_CHANGE_INIT;
    change.kind = kind;
    change.table = "docs";
    change.id = id;
    change.json = "{\"n\": 0}";
    change.expr = "value || jsonb_build_object('m', $2::text)";
    change.condition = condition;
    change.params = params;
    change.want_document = true;
    return change;
}

/* "code affected document" of a change, alone or in a transaction. */
static const char *end_of_change(const stores_change *change, bool inside) {
    static char text[256];
    stores_tx *tx = inside ? stores_tx_new(engine, NULL) : NULL;
    stores_op *op = tx ? stores_tx_write(tx, NULL, change, true)
                       : stores_write(engine, NULL, change);
    const char *code = code_of(op);
    snprintf(text, sizeof text, "%s %d %s", code, (int)stores_op_affected(op), document(op, 0));
    stores_op_free(op);
    stores_tx_free(tx);
    return text;
}

static void test_kinds(bool inside) {
    const char *one[] = {"7"}, *two[] = {"x", "7"};
    stores_params n = {.size = sizeof n, .count = 1, .values = one};
    stores_params mn = {.size = sizeof mn, .count = 2, .values = two};
    sql("UPDATE docs SET value = '{\"n\": 7}' WHERE id < 4");

    stores_change change = with(STORES_UPDATE, 1, "value->'n' = $3::jsonb", &n);
    CHECK_STR(end_of_change(&change, inside), "ok 1 {\"n\": 0}");
    CHECK_STR(end_of_change(&change, inside), "ok 0 "); /* it is another one now */
    change = with(STORES_UPDATE, 2, "false", NULL);
    CHECK_STR(end_of_change(&change, inside), "ok 0 ");

    change = with(STORES_MODIFY, 2, "value->'n' = $3::jsonb", &mn);
    CHECK_STR(end_of_change(&change, inside), "ok 1 {\"m\": \"x\", \"n\": 7}");
    change.id = 1;
    CHECK_STR(end_of_change(&change, inside), "ok 0 ");

    change = with(STORES_DELETE, 1, "value->'n' = $2::jsonb", &n);
    CHECK_STR(end_of_change(&change, inside), "ok 0 ");
    change.id = inside ? 3 : 2;
    CHECK_STR(end_of_change(&change, inside), "ok 1 ");
    change.condition = "no_such_column";
    CHECK_STR(end_of_change(&change, inside), "query_failed 0 ");
    sql("INSERT INTO docs SELECT i, '{}' FROM generate_series(1, 3) i ON CONFLICT DO NOTHING");
}

static void test_refusals(void) {
    stores_change change = with(STORES_INSERT, 200, "true", NULL);
    CHECK_STR(end_of_change(&change, false), "invalid_argument 0 ");
    change.kind = STORES_UPSERT;
    CHECK_STR(end_of_change(&change, false), "invalid_argument 0 ");
    change.kind = STORES_UPDATE;
    change.expected = "{}";
    CHECK_STR(end_of_change(&change, false), "invalid_argument 0 ");
    change.expected = NULL;
    change.etag = "00000000000000000000000000000000";
    CHECK_STR(end_of_change(&change, false), "invalid_argument 0 ");
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        engine = engine_new(cache);
        test_kinds(false);
        test_kinds(true);
        test_refusals();
        engine_close(engine);
    }
    servers_close();
    return check_report();
}

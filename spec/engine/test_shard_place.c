/*
 * test_shard_place.c - a database that is a shard, and who may open it: an engine that takes it for
 * another one is refused, and one of its own names, before anything is read or written.
 */
#include "engine_harness.h"

static const char *end_with(const stores_config *config, const char **message) {
    static stores_error error;
    static const stores_change change = {
        .size = sizeof change, .kind = STORES_UPDATE, .table = "docs", .id = 1, .json = "{}"};
    stores_engine *engine = engine_with(config);
    stores_op *op = stores_write(engine, NULL, &change);
    while (!stores_op_done(op)) uv_run(&loop, UV_RUN_ONCE);
    const stores_error *failed = stores_op_error(op);
    error = failed ? *failed : (stores_error){.code = STORES_OK};
    stores_op_free(op);
    engine_close(engine);
    if (message != NULL) *message = error.message;
    return stores_code_name(error.code);
}

static stores_config shard_of(int id, int count) {
    stores_config config = config_of(false);
    config.shard_id = id;
    config.shard_count = count;
    return config;
}

static void test_says_nothing(void) {
    stores_config config = config_of(false);
    CHECK_STR(end_with(&config, NULL), "ok");
    config = shard_of(1, 3);
    CHECK_STR(end_with(&config, NULL), "ok");
}

static void test_says_another(void) {
    const char *message;
    sql("CREATE TABLE stores_shard (shard integer, count integer, strategy text, version text,"
        " cluster text);"
        "INSERT INTO stores_shard VALUES (1, 3, 'modulo', NULL, 'shop');"
        "UPDATE docs SET value = '{\"n\": 1}' WHERE id = 1");
    stores_config config = config_of(false);
    CHECK_STR(end_with(&config, &message), "shard_mismatch");
    CHECK(strstr(message, "is shard 1 of 3, by modulo, of the cluster shop") != NULL);
    config = shard_of(1, 4);
    CHECK_STR(end_with(&config, &message), "shard_mismatch");
    CHECK(strstr(message, "has it as shard 1 of 4") != NULL);
    config = shard_of(2, 3);
    CHECK_STR(end_with(&config, NULL), "shard_mismatch");
    config = shard_of(1, 3);
    config.shard_strategy = "tenant 1";
    CHECK_STR(end_with(&config, NULL), "shard_mismatch");
    config.shard_strategy = NULL;
    config.shard_cluster = "market";
    CHECK_STR(end_with(&config, NULL), "shard_mismatch");
    CHECK_STR(sql("SELECT value::text FROM docs WHERE id = 1"), "{\"n\": 1}");
    config.shard_cluster = "shop";
    CHECK_STR(end_with(&config, NULL), "ok");
    config = config_of(false);
    config.any_shard = true;
    CHECK_STR(end_with(&config, NULL), "ok");
    CHECK_STR(sql("SELECT value::text FROM docs WHERE id = 1"), "{}");
}

/* What a copy says of a database beside, from the first one on. */
static void test_states(void) {
    const char *message;
    sql("ALTER TABLE stores_shard ADD COLUMN state text, ADD COLUMN why text");
    stores_config config = shard_of(1, 3), any = config_of(false);
    any.any_shard = true;
    sql("UPDATE stores_shard SET state = 'moved', why = 'they went away'");
    CHECK_STR(end_with(&config, &message), "moved");
    CHECK(strstr(message, "owns no rows any more: they went away") != NULL);
    CHECK_STR(end_with(&any, NULL), "ok");
    sql("UPDATE stores_shard SET state = 'unfinished', why = 'they come'");
    CHECK_STR(end_with(&config, &message), "moved");
    CHECK(strstr(message, "does not own its rows yet: they come") != NULL);
    sql("UPDATE stores_shard SET state = 'read_only', why = 'they are copied'");
    CHECK_STR(end_with(&config, NULL), "ok"); /* its tables refuse what writes */
    sql("ALTER TABLE stores_shard DROP COLUMN state, DROP COLUMN why");
}

/* A copy into a store alone leaves the word that it has all rows. */
static void test_one_of_one(void) {
    stores_config config = config_of(false);
    sql("UPDATE stores_shard SET shard = 0, count = 1");
    CHECK_STR(end_with(&config, NULL), "ok");
    sql("UPDATE stores_shard SET shard = 1, count = 3");
    CHECK_STR(end_with(&config, NULL), "shard_mismatch");
}

static void test_told(void) {
    int shard = -1, count = -1;
    const char *strategy = "", *cluster = "";
    stores_config config = shard_of(1, 3);
    stores_engine *engine = engine_with(&config);
    CHECK(!stores_shard(engine, &shard, &count, &strategy, &cluster));
    CHECK_STR(end_of(stores_meet(engine, NULL)), "ok");
    CHECK(stores_shard(engine, &shard, &count, &strategy, &cluster));
    CHECK_INT(shard, 1);
    CHECK_INT(count, 3);
    CHECK_STR(strategy, "modulo");
    CHECK_STR(cluster, "shop");
    engine_close(engine);
}

/* Who found out which cluster is meant says so; who configured one knows it. */
static void test_expects_a_cluster(void) {
    stores_config config = shard_of(1, 3);
    stores_engine *engine = engine_with(&config);
    stores_expect_cluster(engine, "another");
    CHECK_STR(end_of(stores_meet(engine, NULL)), "shard_mismatch");
    stores_expect_cluster(engine, "shop");
    CHECK_STR(end_of(stores_meet(engine, NULL)), "ok");
    engine_close(engine);
    config.shard_cluster = "shop";
    engine = engine_with(&config);
    stores_expect_cluster(engine, "another");
    CHECK_STR(end_of(stores_meet(engine, NULL)), "ok");
    engine_close(engine);
}

static void test_cannot_be_read(void) {
    const char *message;
    sql("DROP TABLE stores_shard; CREATE TABLE stores_shard (shard integer)");
    stores_config config = config_of(false);
    CHECK_STR(end_with(&config, &message), "connect_failed");
    CHECK(strstr(message, "which shard the database is cannot be read") != NULL);
    config.any_shard = true; /* it may be somebody else's table */
    CHECK_STR(end_with(&config, NULL), "ok");
    config.any_shard = false;
    sql("DROP TABLE stores_shard");
    CHECK_STR(end_with(&config, NULL), "ok");
}

static void test_names(void) {
    char name[200];
    stores_error error = STORES_ERROR_INIT;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    stores_config config = shard_of(0, 2);
    config.shard_cluster = name;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_OPTION);
}

int main(void) {
    if (!servers_open()) return 1;
    test_says_nothing();
    test_says_another();
    test_states();
    test_one_of_one();
    test_told();
    test_expects_a_cluster();
    test_cannot_be_read();
    test_names();
    servers_close();
    return check_report();
}

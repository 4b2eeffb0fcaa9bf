/*
 * test_open_savepoints.c - what keeps a transaction from writing inside of COMMIT does so as well
 * where a savepoint is open then, which COMMIT ends first, and what was set in it: a trigger that
 * defers what it causes, time and again, is refused as in any other.
 */
#include "engine_harness.h"

static const char insert[] = "INSERT INTO chain VALUES (1)";

static const char *of_query(stores_engine *engine) {
    stores_query_options options = {.size = sizeof options, .simple = true};
    char text[80];
    snprintf(text, sizeof text, "SAVEPOINT s; %s", insert);
    return end_of(stores_query(engine, NULL, text, NULL, &options));
}

static const char *of_transaction(stores_engine *engine, bool own) {
    stores_tx *tx = stores_tx_new(engine, NULL);
    if (own) {
        CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    } else {
        CHECK_STR(end_of(stores_tx_query(tx, NULL, "SAVEPOINT s", NULL, NULL)), "ok");
    }
    CHECK_STR(end_of(stores_tx_query(tx, NULL, insert, NULL, NULL)), "ok");
    const char *end = end_of(stores_tx_commit(tx, NULL));
    stores_tx_free(tx);
    return end;
}

int main(void) {
    if (!servers_open()) return 1;
    sql("CREATE TABLE chain (step int);"
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " SET CONSTRAINTS ALL DEFERRED;"
        " INSERT INTO chain SELECT NEW.step + 1 WHERE NEW.step < 5; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER again AFTER INSERT ON chain DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION again()");
    stores_engine *engine = engine_new(true);
    CHECK_STR(end_of(stores_query(engine, NULL, insert, NULL, NULL)), "read_only");
    CHECK_STR(of_query(engine), "read_only");
    CHECK_STR(of_transaction(engine, false), "read_only");
    CHECK_STR(of_transaction(engine, true), "read_only");
    CHECK_STR(sql("SELECT count(*) FROM chain"), "0");
    engine_close(engine);
    servers_close();
    return check_report();
}

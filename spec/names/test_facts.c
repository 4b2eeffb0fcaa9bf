/* test_facts.c - the short questions about a table have the answer of the long one, or say that
 * they are not enough: of tables of each shape. */
#include "engine/engine.h"
#include "names/facts.h"

#include "engine_harness.h"

enum { DEPTH = 14 }; /* the last column of the brief answer; of the others the mark */

#define COLUMNS "(id bigint PRIMARY KEY, value jsonb)"

static stores_engine *engine;

static PGresult *ask(const char *name, enum stores__facts_depth depth) {
    const char *values[] = {name};
    PGresult *result = PQexecParams(postgres.conn, stores__facts_sql(engine, depth), 1, NULL,
                                    values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) printf("%s\n", PQerrorMessage(postgres.conn));
    CHECK_INT(PQresultStatus(result), PGRES_TUPLES_OK);
    CHECK_INT(PQnfields(result), DEPTH + 1);
    return result;
}

static void compare(const char *text, const PGresult *full, const PGresult *answer, int columns) {
    for (int i = 0; i < columns; i++) {
        const char *got = PQgetvalue(answer, 0, i), *want = PQgetvalue(full, 0, i);
        if (strcmp(got, want) != 0) printf("%s, column %d\n", text, i);
        CHECK_STR(got, want);
    }
}

/* The question that is enough has the answer of the one that asks for all, and what was learnt
 * tells which one it is. */
static void ask_enough(const char *text, enum stores__facts_depth depth, const PGresult *full) {
    struct stores__facts_asked asked = stores__facts_ask(engine, STORES__FACTS_BRIEF, true);
    PGresult *answer = ask("t", STORES__FACTS_BRIEF);
    if (!stores__facts_are_told(answer, &asked)) {
        PQclear(answer);
        answer = ask("t", asked.depth);
        CHECK(stores__facts_are_told(answer, &asked));
    }
    if (asked.depth != depth) printf("%s\n", text);
    CHECK_INT(asked.depth, depth);
    compare(text, full, answer, depth == STORES__FACTS_BRIEF ? DEPTH : DEPTH + 1);
    if (depth == STORES__FACTS_BRIEF) CHECK_STR(PQgetvalue(full, 0, DEPTH), "0");
    struct stores__table *table = stores__table_get(engine, PQgetvalue(full, 0, 0));
    CHECK(stores__facts_take(table, answer, &asked));
    CHECK_INT(stores__facts_depth(table), depth);
    stores__table_let_go(table);
    PQclear(answer);
}

/* Of a table that is alone there is an answer to the question for such ones, of others none. */
static void ask_alone(const char *text, enum stores__facts_depth depth, const PGresult *full) {
    struct stores__facts_asked asked = stores__facts_ask(engine, STORES__FACTS_ALONE, true);
    PGresult *answer = ask("t", STORES__FACTS_ALONE);
    CHECK_INT(PQntuples(answer), depth != STORES__FACTS_ALL);
    CHECK_INT(stores__facts_are_told(answer, &asked), depth != STORES__FACTS_ALL);
    if (PQntuples(answer) == 1) {
        compare(text, full, answer, DEPTH + 1);
    } else {
        CHECK_INT(asked.depth, STORES__FACTS_ALL);
    }
    PQclear(answer);
}

/* What the table t is made by, all of which is gone after it. */
static void shape(const char *text, enum stores__facts_depth depth) {
    sql("BEGIN");
    sql("CREATE TABLE other " COLUMNS ";"
        "CREATE DOMAIN named AS text CHECK (value <> '');"
        "CREATE TYPE colour AS ENUM ('red');"
        "CREATE FUNCTION own(jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION next() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
        "CREATE OPERATOR === (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = jsonb_eq);"
        "CREATE FUNCTION same(jsonb, jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql"
        " AS 'SELECT true';"
        "CREATE OPERATOR ==== (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = same);"
        "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
    sql(text);
    PGresult *full = ask("t", STORES__FACTS_ALL);
    if (PQntuples(full) != 1) printf("%s\n", text);
    CHECK_INT(PQntuples(full), 1);
    ask_enough(text, depth, full);
    ask_alone(text, depth, full);
    PQclear(full);
    sql("ROLLBACK");
}

#define SHAPES(texts, depth)                                                                       \
    for (size_t i = 0; i < sizeof(texts) / sizeof *(texts); i++) shape((texts)[i], depth)

static void plain_ones(void) {
    static const char *const texts[] = {
        "CREATE TABLE t " COLUMNS,
        "CREATE TABLE t (value jsonb, more text, id bigint NOT NULL UNIQUE)",
        "CREATE TABLE t (id bigserial PRIMARY KEY, value jsonb, at timestamptz DEFAULT now())",
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value jsonb)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, name text GENERATED ALWAYS AS"
        " (value->>'name') STORED)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (jsonb_typeof(value) ="
        " 'object'))",
        "CREATE TABLE t " COLUMNS "; CREATE INDEX ON t ((value->>'name')) WHERE value ? 'name';"
        "CREATE INDEX ON t USING gin (value jsonb_path_ops)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, gone named);"
        "ALTER TABLE t DROP COLUMN gone",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, EXCLUDE USING btree (id WITH =))",
        "CREATE SCHEMA \"A b\"; SET LOCAL search_path TO \"A b\"; CREATE TABLE t " COLUMNS,
        "CREATE TABLE t " COLUMNS "; CREATE TYPE stores_held_1 AS ()",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb); COMMENT ON TABLE t IS 'held'",
    };
    SHAPES(texts, STORES__FACTS_BRIEF);
}

#define MADE "CREATE TABLE t " COLUMNS "; "

static void lonely_ones(void) {
    static const char *const texts[] = {
        MADE "CREATE TRIGGER fired BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fired()",
        MADE "ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES other ON DELETE CASCADE",
        MADE "ALTER TABLE other ADD FOREIGN KEY (id) REFERENCES t",
        MADE "CREATE RULE r AS ON UPDATE TO t DO ALSO NOTHING",
        MADE "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE UNLOGGED TABLE t " COLUMNS,
        "CREATE TEMPORARY TABLE t " COLUMNS,
        "CREATE VIEW t AS SELECT * FROM other",
        "CREATE MATERIALIZED VIEW t AS SELECT * FROM other",
        "CREATE TABLE t (id bigint, value jsonb)",
        "CREATE TABLE t (id bigint, value jsonb, PRIMARY KEY (id, value))",
        "CREATE TABLE t (id bigint, value jsonb); CREATE UNIQUE INDEX ON t (id) WHERE id > 0",
        "CREATE TABLE t (id int PRIMARY KEY, value jsonb)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value json)",
        "CREATE TABLE t (id bigint PRIMARY KEY)",
        MADE "DO $$ BEGIN EXECUTE format('CREATE TYPE stores_held_%s AS ()', 't'::regclass::oid);"
             " END $$",
        MADE "CREATE ROLE reader; GRANT SELECT (id) ON t TO reader; SET LOCAL ROLE reader",
        MADE "CREATE ROLE reader; GRANT SELECT (id, value) ON t TO reader; SET LOCAL ROLE reader",
    };
    SHAPES(texts, STORES__FACTS_ALONE);
}

static void others(void) {
    static const char *const texts[] = {
        MADE "CREATE TABLE child () INHERITS (t)",
        "CREATE TABLE t (PRIMARY KEY (id)) INHERITS (other)",
        "CREATE TABLE t " COLUMNS " PARTITION BY RANGE (id)",
        "CREATE TABLE parent " COLUMNS " PARTITION BY RANGE (id);"
        "CREATE TABLE t PARTITION OF parent DEFAULT",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, name named)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, n information_schema.cardinal_number)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK ((value->>'n')::named <> ''))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (own(value)))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (value ==== '{}'))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, n bigint DEFAULT next())",
        MADE "CREATE INDEX ON t (own(value))",
        MADE "CREATE INDEX ON t (id) WHERE own(value)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, c colour)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (value === '{}'))",
    };
    SHAPES(texts, STORES__FACTS_ALL);
}

int main(void) {
    if (!servers_open()) return 1;
    engine = engine_new(true);
    plain_ones();
    lonely_ones();
    others();
    struct stores__facts_asked asked = stores__facts_ask(engine, STORES__FACTS_BRIEF, true);
    PGresult *none = ask("no_such_table", STORES__FACTS_BRIEF);
    CHECK_INT(PQntuples(none), 0);
    CHECK(stores__facts_are_told(none, &asked));
    PQclear(none);
    engine_close(engine);
    servers_close();
    return check_report();
}

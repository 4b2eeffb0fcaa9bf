/* test_facts.c - the brief question about a table has the answer of the long one, or none: of
 * tables of each shape. And what was learnt tells which of the two is enough. */
#include "engine/engine.h"
#include "names/facts.h"

#include "engine_harness.h"

enum { MARK = 14 }; /* the last column, of which the brief answer says nothing */

#define COLUMNS "(id bigint PRIMARY KEY, value jsonb)"

static stores_engine *engine;

static PGresult *ask(const char *name, bool brief) {
    const char *values[] = {name};
    PGresult *result = PQexecParams(postgres.conn, stores__facts_sql(engine, brief), 1, NULL,
                                    values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) printf("%s\n", PQerrorMessage(postgres.conn));
    CHECK_INT(PQresultStatus(result), PGRES_TUPLES_OK);
    return result;
}

static void compare(const char *name, PGresult *full, PGresult *brief) {
    CHECK_INT(PQnfields(brief), MARK);
    CHECK_INT(PQnfields(full), MARK + 1);
    if (PQntuples(brief) == 1) CHECK_STR(PQgetvalue(full, 0, MARK), "0");
    for (int i = 0; i < PQnfields(brief) && PQntuples(brief) == 1; i++) {
        bool same = strcmp(PQgetvalue(brief, 0, i), PQgetvalue(full, 0, i)) == 0;
        if (!same) printf("%s, column %d\n", name, i);
        CHECK_STR(PQgetvalue(brief, 0, i), PQgetvalue(full, 0, i));
    }
}

/* What the table is made by, in what is made before and is gone after it, and whether the brief
 * question has an answer. */
static void shape(const char *text, bool answers) {
    sql("BEGIN");
    sql("CREATE TABLE other " COLUMNS ";"
        "CREATE DOMAIN named AS text CHECK (value <> '');"
        "CREATE TYPE colour AS ENUM ('red');"
        "CREATE FUNCTION own(jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION next() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
        "CREATE OPERATOR === (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = jsonb_eq);"
        "CREATE FUNCTION same(jsonb, jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT "
        "true';"
        "CREATE OPERATOR ==== (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = same);"
        "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
    sql(text);
    PGresult *full = ask("t", false), *brief = ask("t", true);
    const PGresult *learnt = answers ? brief : full;
    if (PQntuples(full) != 1 || PQntuples(brief) != answers) printf("%s\n", text);
    CHECK_INT(PQntuples(full), 1);
    CHECK_INT(PQntuples(brief), answers);
    compare(text, full, brief);
    struct stores__table *table = stores__table_get(engine, PQgetvalue(full, 0, 0));
    struct stores__facts_asked asked = stores__facts_ask(engine, true);
    CHECK(stores__facts_learn(table, learnt, 0, &asked));
    CHECK_INT(stores__facts_are_brief(table), answers);
    stores__table_let_go(table);
    PQclear(full);
    PQclear(brief);
    sql("ROLLBACK");
}

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
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) shape(texts[i], true);
}

#define MADE "CREATE TABLE t " COLUMNS "; "

static void others(void) {
    static const char *const texts[] = {
        MADE "CREATE TRIGGER fired BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fired()",
        MADE "ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES other ON DELETE CASCADE",
        MADE "ALTER TABLE other ADD FOREIGN KEY (id) REFERENCES t",
        MADE "CREATE TABLE child () INHERITS (t)",
        "CREATE TABLE t (PRIMARY KEY (id)) INHERITS (other)",
        "CREATE TABLE t " COLUMNS " PARTITION BY RANGE (id)",
        "CREATE TABLE parent " COLUMNS " PARTITION BY RANGE (id);"
        "CREATE TABLE t PARTITION OF parent DEFAULT",
        MADE "CREATE RULE r AS ON UPDATE TO t DO ALSO NOTHING",
        MADE "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE UNLOGGED TABLE t " COLUMNS,
        "CREATE TEMPORARY TABLE t " COLUMNS,
        "CREATE VIEW t AS SELECT * FROM other",
        "CREATE MATERIALIZED VIEW t AS SELECT * FROM other",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, name named)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, n information_schema.cardinal_number)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK ((value->>'n')::named <> ''))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (own(value)))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (value ==== '{}'))",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, n bigint DEFAULT next())",
        MADE "CREATE INDEX ON t (own(value))",
        MADE "CREATE INDEX ON t (id) WHERE own(value)",
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
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb, c colour)",
        "CREATE TABLE t (id bigint PRIMARY KEY, value jsonb CHECK (value === '{}'))",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) shape(texts[i], false);
}

int main(void) {
    if (!servers_open()) return 1;
    engine = engine_new(true);
    plain_ones();
    others();
    PGresult *none = ask("no_such_table", true);
    CHECK_INT(PQntuples(none), 0);
    PQclear(none);
    engine_close(engine);
    servers_close();
    return check_report();
}

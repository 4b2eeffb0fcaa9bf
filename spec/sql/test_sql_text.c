/* test_sql_text.c - SQL as the engine reads it: where %T is a table, and which texts are
 * harmless. */
#include "sql/text.h"

#include "check.h"

static void replaced(const char *sql, const char *want) {
    char *text = stores__sql_replace(sql, "public.t");
    CHECK(text != NULL);
    CHECK_STR(text, want);
    free(text);
}

static void untouched(const char *sql) {
    replaced(sql, sql);
}

static void effect(enum stores__sql_effect want, const char *sql) {
    if (!CHECK(stores__sql_effect(sql) == want)) printf("  %s\n", sql);
}

static void tame(const char *sql) {
    effect(STORES__SQL_NOTHING, sql);
}

static void changes(const char *sql) {
    effect(STORES__SQL_ROWS, sql);
}

static void wild(const char *sql) {
    effect(STORES__SQL_SESSION, sql);
}

int main(void) {
    replaced("SELECT id FROM %T", "SELECT id FROM public.t");
    replaced("%T", "public.t");
    replaced("SELECT 1 FROM %T a JOIN %T b ON a.id=b.id",
             "SELECT 1 FROM public.t a JOIN public.t b ON a.id=b.id");
    replaced("SELECT %T.id FROM %T", "SELECT public.t.id FROM public.t");
    replaced("SELECT '%T', id FROM %T -- %T\n WHERE n = 5 %Ten",
             "SELECT '%T', id FROM public.t -- %T\n WHERE n = 5 %Ten");
    untouched("");
    untouched("SELECT '100%Terrific'");
    untouched("SELECT 'it''s %T'");
    untouched("SELECT E'\\'%T'");
    untouched("SELECT e'\\\\\\'%T'");
    replaced("SELECT '\\', %T.id, ''", "SELECT '\\', public.t.id, ''");
    untouched("SELECT $$ %T $$");
    untouched("SELECT $a$ $$ %T $$ $b$ %T $a$");
    replaced("SELECT $1 || %T.x || $2", "SELECT $1 || public.t.x || $2");
    replaced("SELECT a$1$ FROM %T, b$1$", "SELECT a$1$ FROM public.t, b$1$");
    untouched("SELECT \"%T\", \"a\"\"%T\"");
    untouched("SELECT 1 /* %T /* %T */ %T */");
    untouched("SELECT '%T");
    untouched("SELECT $x$ %T");
    untouched("SELECT /* %T");
    replaced("SELECT 1e5'%T' FROM %T", "SELECT 1e5'%T' FROM public.t");
    replaced("SELECT 5 %%T FROM %T", "SELECT 5 %public.t FROM public.t");
    replaced("SELECT 5 % e'%T' FROM %T /* %T", "SELECT 5 % e'%T' FROM public.t /* %T");
    replaced("SELECT a - %T.a", "SELECT a - public.t.a");
    replaced("SELECT 5 %\nT FROM %T", "SELECT 5 %\nT FROM public.t");

    tame("SELECT id, value::text FROM %T WHERE id = ANY($1::pg_catalog.int8[])");
    tame("WITH hit AS MATERIALIZED (SELECT id, value FROM t WHERE value @> $1::jsonb)"
         " SELECT id, value::text FROM hit WHERE id > $2::bigint ORDER BY id LIMIT $3::bigint");
    tame("SELECT count(*) AS n FROM t");
    changes("UPDATE t SET value = jsonb_set(value, ($2::text[])[1:2], $3::jsonb) WHERE id = $1");
    tame("SELECT 'set_config(1)' /* pg_advisory_lock(1) */ FROM t");
    tame("(SELECT 1) UNION (SELECT 2)");
    tame("SELECT 1;");
    tame("SELECT 1; -- and no more");
    changes("INSERT INTO t (id, value) VALUES ($1, jsonb_build_object('a', now()))");
    changes("WITH gone AS (DELETE FROM t RETURNING id) SELECT count(*) FROM gone");
    changes("SELECT 1 FROM t FOR UPDATE");
    wild("INSERT INTO t SELECT set_config('a', 'b', false)");
    wild("WITH a AS (INSERT INTO t SELECT 1 RETURNING 1) SELECT 1 INTO TEMP x FROM a");
    changes("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE");
    wild("UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'");
    wild("UPDATE pg_catalog.\"pg_settings\" s SET setting = 'a'");
    tame("SELECT setting FROM pg_settings WHERE name = 'search_path'");
    wild("CREATE TEMP TABLE x AS SELECT 1");
    wild("LOCK TABLE t");
    wild("SELECT nextval('s')");
    wild("SELECT set_config('a', 'b', false)");
    wild("SELECT pg_catalog.set_config('a', 'b', false)");
    wild("SELECT \"set_config\"('a', 'b', false)");
    wild("SELECT set_config /* */ ('a', 'b', false)");
    wild("SELECT set_config('a.b', 'c', false)");
    wild("SELECT set_config('search_path', 'c', true)");
    wild("SELECT set_config('a.b', lower('c'), true)");
    wild("SELECT set_config('a' || '.b', 'c', true)");
    wild("SELECT set_config($1, 'a.b', true)");
    wild("SELECT set_config('a.b', 'c', true), set_config('a.b', 'c', false)");
    wild("SELECT set_config('a.b', 'c', true");
    changes("SELECT set_config('a.b', 'c', true)");
    changes("SET LOCAL a.b = 'c'");
    changes(" set /* */ local app.tenant.of TO 'c' ; ");
    wild("SET LOCAL search_path = 'c'");
    wild("SET LOCAL search_path TO a.b");
    wild("SET a.b = 'c'");
    wild("SET SESSION a.b = 'c'");
    wild("SET LOCAL a.b = c");
    wild("SET LOCAL a.b = 'c'; SET search_path = 'c'");
    wild("SET LOCAL a.b = 'c', 'd'");
    wild("SET LOCAL \"a\".b = 'c'");
    wild("SET LOCAL a.b");
    changes("WITH a AS (SELECT 1) INSERT INTO t (id) SELECT 1 FROM a"
            " RETURNING pg_catalog.set_config /* */ ('a.b', $12, TRUE)");
    changes("INSERT INTO t (id, value) VALUES ($1, $2) ON CONFLICT (id, (lower(a))) DO NOTHING");
    wild("INSERT INTO t SELECT 1 FROM a JOIN b ON conflict(a.id) WHERE b.id = 1");
    wild("INSERT INTO t VALUES (1) ON CONFLICT (strange(id)) DO NOTHING");
    wild("SELECT conflict(1)");
    wild("SELECT conflict(1) do");
    wild("SELECT conflict((1)");
    wild("SELECT app.set_config('a.b', 'c', true)");
    wild("SELECT \"app\" . /* a */ lower('a')");
    wild("SELECT lower(app.upper(a)) FROM t");
    tame("SELECT pg_catalog.lower(t.a), x.pg_catalog.upper('a') FROM t WHERE t.b IN (1, .5)");
    changes("INSERT INTO app.count (id) VALUES (1)");
    wild("SELECT E'a'\n'\\' ', strange(1), ' '");
    wild("SELECT E'a' -- b\n -- '\n'\\' ', strange(1), ' '");
    tame("SELECT E'a'\n, '\\', lower('strange(1)')");
    wild("SELECT pg_advisory_lock\n(1)");
    wild("SELECT U&\"set_config\" ('a', 'b', false)");
    wild("SELECT caf\303\251(1)");
    wild("SET search_path = b");
    wild("RESET ALL");
    wild("LISTEN a");
    wild("DO $$ BEGIN END $$");
    wild("SELECT 1; SET a.b = 1");
    wild("SELECT 1 INTO TEMP x");
    wild("");
    wild("-- nothing");

    CHECK(stores__sql_locks_rows("SELECT value FROM t WHERE id = $1 FOR UPDATE"));
    CHECK(stores__sql_locks_rows("/* a */ (select 1 from t for\nno key update skip locked)"));
    CHECK(stores__sql_locks_rows("SELECT 1 FROM t FOR KEY SHARE"));
    CHECK(!stores__sql_locks_rows("SELECT 'FOR UPDATE' FROM t -- FOR UPDATE"));
    CHECK(!stores__sql_locks_rows("SELECT substring(a FROM 1 FOR 2) FROM t"));
    CHECK(!stores__sql_locks_rows("WITH a AS (UPDATE t SET id = 1 RETURNING id)"
                                  " SELECT 1 FROM t FOR UPDATE"));
    CHECK(stores__sql_mentions("SELECT 1; deAllocate ALL", "deallocate"));
    CHECK(stores__sql_mentions("DISCARD", "discard"));
    CHECK(!stores__sql_mentions("DISCAR", "discard"));
    return check_report();
}

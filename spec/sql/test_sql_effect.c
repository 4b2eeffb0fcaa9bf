/* test_sql_effect.c - which texts end transactions, and which are known to change nothing. */
#include "sql/effect.h"

#include "check.h"

static void controls(const char *sql) {
    if (!CHECK(stores__sql_controls(sql))) printf("  %s\n", sql);
}

static void stays(const char *sql) {
    if (!CHECK(!stores__sql_controls(sql))) printf("  %s\n", sql);
}

static void in_parts(const char *sql) {
    if (!CHECK(stores__sql_commits_inside(sql))) printf("  %s\n", sql);
}

static void at_once(const char *sql) {
    if (!CHECK(!stores__sql_commits_inside(sql))) printf("  %s\n", sql);
}

static void reads(const char *sql) {
    if (!CHECK(stores__sql_only_reads(sql))) printf("  %s\n", sql);
}

static void may_write(const char *sql) {
    if (!CHECK(!stores__sql_only_reads(sql))) printf("  %s\n", sql);
}

int main(void) {
    controls("COMMIT");
    controls("commit and chain");
    controls("ROLLBACK AND CHAIN");
    controls("rollback work and no chain");
    controls(" /* a */ -- b\n end");
    controls("UPDATE t SET a = 1; COMMIT; BEGIN");
    controls("SELECT ';'; ABORT");
    controls("START TRANSACTION");
    controls("PREPARE /* x */ TRANSACTION 'a'");
    controls("COMMIT PREPARED 'a'");
    stays("ROLLBACK TO SAVEPOINT a");
    stays("ROLLBACK WORK TO a");
    stays("SAVEPOINT commit");
    stays("RELEASE a");
    stays("PREPARE p AS SELECT 1");
    stays("SELECT 'a; COMMIT'");
    stays("SELECT \"; COMMIT\"");
    stays("SELECT $$; COMMIT $$");
    stays("SELECT 1 /* ; COMMIT */");
    stays("SELECT commit FROM t");
    stays("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END");

    CHECK(stores__sql_may_control("UPDATE t SET a = 1; COMMIT /* atomic */; BEGIN"));
    CHECK(stores__sql_may_control("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END"));
    CHECK(!stores__sql_may_control("UPDATE atomic SET a = 'COMMIT'; SAVEPOINT a"));

    in_parts("CALL p()");
    in_parts("SELECT 1; /* a */ DO $$ BEGIN COMMIT; END $$");
    in_parts("ANALYZE a, b");
    in_parts("create unique index concurrently i on t (a)");
    in_parts("ALTER TABLE t DETACH PARTITION p CONCURRENTLY");
    at_once("UPDATE t SET a = 'concurrently'");
    at_once("EXPLAIN ANALYZE SELECT 1");
    at_once("CREATE INDEX i ON t (a)");
    at_once("SELECT call FROM do");

    CHECK(stores__sql_tag_controls("COMMIT"));
    CHECK(stores__sql_tag_controls("BEGIN"));
    CHECK(stores__sql_tag_controls("PREPARE TRANSACTION"));
    CHECK(!stores__sql_tag_controls("ROLLBACK"));
    CHECK(!stores__sql_tag_controls("UPDATE 1"));
    CHECK(!stores__sql_tag_controls(""));

    CHECK(stores__sql_tag_writes("UPDATE 1"));
    CHECK(stores__sql_tag_writes("INSERT 0 1"));
    CHECK(stores__sql_tag_writes("DO"));
    CHECK(stores__sql_tag_writes("TRUNCATE TABLE"));
    CHECK(!stores__sql_tag_writes("SELECT 1"));
    CHECK(!stores__sql_tag_writes("SET"));
    CHECK(!stores__sql_tag_writes("VACUUM"));
    CHECK(!stores__sql_tag_writes(""));
    CHECK(stores__sql_tag_writes("DECLARE CURSOR"));
    CHECK(stores__sql_tag_writes("GRANT"));
    CHECK(stores__sql_tag_writes("COMMENT"));

    CHECK(stores__sql_renames("ALTER SCHEMA a RENAME TO b", false, "ALTER SCHEMA"));
    CHECK(stores__sql_renames("CREATE TABLE a (id int)", false, "CREATE TABLE"));
    CHECK(stores__sql_renames("CREATE TABLE a AS SELECT 1", false, "SELECT 1"));
    CHECK(stores__sql_renames("CREATE TABLE a (b int); SELECT 1", true, "CREATE TABLE"));
    CHECK(stores__sql_renames("SELECT 1 INTO a", false, "SELECT 1"));
    CHECK(stores__sql_renames("EXPLAIN ANALYZE CREATE TABLE a AS TABLE b", false, "EXPLAIN"));
    CHECK(stores__sql_renames("DO 'x'", false, "DO"));
    CHECK(stores__sql_renames("CALL x()", false, "CALL"));
    CHECK(stores__sql_renames("COMMIT", false, "COMMIT"));
    CHECK(stores__sql_renames("CREATE TEMP TABLE a (b int); ALTER TABLE c RENAME TO d", true,
                              "ALTER TABLE"));
    CHECK(stores__sql_renames("ALTER TABLE a RENAME TO temp", false, "ALTER TABLE"));
    CHECK(!stores__sql_renames("CREATE TEMP TABLE a (id int)", false, "CREATE TABLE"));
    CHECK(!stores__sql_renames("/* x */ create local temporary table a AS SELECT 1", false,
                               "SELECT 1"));
    CHECK(!stores__sql_renames("SELECT f(1)", false, "SELECT 1"));
    CHECK(!stores__sql_renames("INSERT INTO a SELECT f(1)", false, "INSERT 0 1"));
    CHECK(!stores__sql_renames("UPDATE a SET id = 1", false, "UPDATE 1"));
    CHECK(!stores__sql_renames("EXPLAIN SELECT 1", false, "EXPLAIN"));
    CHECK(!stores__sql_renames("", false, ""));

    CHECK(stores__sql_may_have_written("SELECT 1; SELECT f()", true, "SELECT 1"));
    CHECK(stores__sql_may_have_written("SELECT 1; CALL f()", true, "CALL"));
    CHECK(!stores__sql_may_have_written("SELECT 1", true, "SELECT 1"));
    CHECK(!stores__sql_may_have_written("VACUUM; VACUUM", true, "VACUUM"));
    CHECK(stores__sql_may_have_written("CREATE TABLE a AS SELECT f()", false, "SELECT 1"));
    CHECK(stores__sql_may_have_written("DECLARE a CURSOR WITH HOLD FOR SELECT f()", false,
                                       "DECLARE CURSOR"));
    CHECK(!stores__sql_may_have_written("(SELECT f())", false, "SELECT 1")); /* it is asked */
    CHECK(stores__sql_may_write("/* x */ DECLARE a CURSOR WITH HOLD FOR SELECT f()", false));
    CHECK(stores__sql_may_write("NOTIFY a; SELECT f()", true));
    CHECK(!stores__sql_may_write("notify a, 'CREATE'", false));
    CHECK(!stores__sql_may_write("VACUUM a", false));
    CHECK(stores__sql_copies("COPY t FROM STDIN"));
    CHECK(stores__sql_copies("select 1; copy t (a, b) from /* x */ stdin with (format csv)"));
    CHECK(stores__sql_copies("COPY (SELECT a FROM stdout) TO StdOut"));
    CHECK(!stores__sql_copies("COPY (SELECT a FROM stdin) TO '/tmp/x'"));
    CHECK(!stores__sql_copies("COPY t FROM '/tmp/x'; SELECT 1 FROM stdin"));
    CHECK(!stores__sql_copies("COPY t FROM PROGRAM 'cat stdin'"));
    CHECK(!stores__sql_copies("SELECT 'COPY t FROM STDIN'"));
    CHECK(!stores__sql_copies("SELECT copy FROM stdin"));
    CHECK(!stores__sql_copies("COPY t FROM"));
    CHECK(stores__sql_sets("SET TRANSACTION READ WRITE; SELECT 1"));
    CHECK(stores__sql_sets("SELECT 1; /* x */ reset all"));
    CHECK(!stores__sql_sets("UPDATE t SET a = 1"));
    CHECK(!stores__sql_sets("SELECT '; SET x'"));
    CHECK(!stores__sql_sets(""));
    CHECK(stores__sql_stands_anywhere("-- x\n ((select 1))"));
    CHECK(stores__sql_stands_anywhere("WITH x AS (SELECT 1) TABLE x"));
    CHECK(!stores__sql_stands_anywhere("VACUUM t"));
    CHECK(!stores__sql_stands_anywhere("CREATE INDEX ON t (a)"));
    CHECK(!stores__sql_stands_anywhere(""));

    reads("SELECT id, value::text FROM t WHERE id = $1");
    reads("SELECT id FROM t FOR UPDATE");
    reads("SELECT id FROM t FOR NO KEY UPDATE SKIP LOCKED");
    reads("WITH hit AS MATERIALIZED (SELECT id FROM t WHERE value @> $1) SELECT id FROM hit");
    reads("SELECT count(*) AS n FROM t WHERE value @> $1::jsonb");
    reads("SELECT 'insert'");
    may_write("WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x");
    may_write("with x as (update t set a = 1 returning 1) select 1");
    may_write("SELECT write_something(1)");
    may_write("SELECT \"f\"(1)");
    may_write("UPDATE t SET a = 1");
    may_write("SELECT 1 INTO t");
    may_write("SELECT 1; DELETE FROM t");
    may_write("");
    return check_report();
}

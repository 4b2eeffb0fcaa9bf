/* test_sql_known.c - what a text tells is the same when it is remembered, whatever came in
 * between. */
#include "sql/known.h"

#include <stdio.h>

#include "check.h"
#include "sql/effect.h"

static struct stores__sql_texts texts;

static void same(const char *sql) {
    struct stores__sql_known known = stores__sql_know(&texts, sql);
    bool session = stores__sql_effect(sql) == STORES__SQL_SESSION;
    bool drops = stores__sql_mentions(sql, "discard") || stores__sql_mentions(sql, "deallocate");
    if (!CHECK(known.effect == stores__sql_effect(sql)) ||
        !CHECK(known.controls == stores__sql_controls(sql)) ||
        !CHECK(known.copies == stores__sql_copies(sql)) ||
        !CHECK(known.sets == stores__sql_sets(sql)) ||
        !CHECK(known.stands_anywhere == stores__sql_stands_anywhere(sql)) ||
        !CHECK(known.only_reads == stores__sql_only_reads(sql)) ||
        !CHECK(known.locks_rows == stores__sql_locks_rows(sql)) ||
        !CHECK(known.drops_statements == (session && drops))) {
        printf("  %s\n", sql);
    }
}

int main(void) {
    static const char *const kinds[] = {"SELECT id FROM t WHERE id = %d",
                                        "SELECT id FROM t WHERE id = %d FOR UPDATE",
                                        "UPDATE t SET a = %d",
                                        "SELECT f(%d)",
                                        "DISCARD ALL -- %d",
                                        "DEALLOCATE s_%d",
                                        "COMMIT -- %d",
                                        "SET work_mem = %d",
                                        "SELECT 1; ROLLBACK -- %d",
                                        ""};
    char sql[64], longer[9000];
    /* more of them than there are places, each twice in a row and again after the others */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2 * STORES__SQL_TEXTS; i++) {
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                snprintf(sql, sizeof sql, kinds[k], i);
                same(sql);
                same(sql);
            }
        }
    }
    /* of any length, and texts that differ behind their beginning alone */
    for (size_t len = 1000; len < sizeof longer; len += 1000) {
        memset(longer, ' ', len);
        memcpy(longer, "SELECT 1", 8);
        strcpy(longer + len - 10, "FROM t");
        same(longer);
        same(longer);
        strcpy(longer + len - 10, "INTO t");
        same(longer);
        same(longer);
    }
    stores__sql_texts_free(&texts);
    same("SELECT 1");
    stores__sql_texts_free(&texts);
    return check_report();
}

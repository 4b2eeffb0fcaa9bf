/* test_err.c - codes, cutting of long texts, and what PostgreSQL's errors become. */
#include "base/err.h"

#include "check.h"

static stores_error e;

static void from_pg(const char *sqlstate, const char *message, const char *detail) {
    stores__error_from_pg(&e, sqlstate, message, detail, NULL, NULL, NULL);
}

static void test_codes(void) {
    int code;

    CHECK_STR(stores_code_name(STORES_OK), "ok");
    CHECK_STR(stores_code_name(STORES_NOT_FOUND), "not_found");
    CHECK_STR(stores_code_name((stores_code)-1), "internal");
    CHECK_STR(stores_code_name((stores_code)1000), "internal");
    CHECK_INT(stores_code_http(STORES_OK), 200);
    CHECK_INT(stores_code_http(STORES_NOT_FOUND), 404);
    CHECK_INT(stores_code_http((stores_code)12345), 500);
    for (code = 0; code < 100; code++) CHECK(stores_code_name((stores_code)code)[0]);
    CHECK_STR(stores_outcome_name(STORES_OUTCOME_NONE), "none");
    CHECK_STR(stores_outcome_name(STORES_OUTCOME_COMMITTED), "committed");
    CHECK_STR(stores_outcome_name(STORES_OUTCOME_UNKNOWN), "unknown");
    CHECK_STR(stores_outcome_name((stores_outcome)77), "unknown");
    CHECK_STR(stores_outcome_name((stores_outcome)-1), "unknown");
}

static void test_set(void) {
    char text[1200];
    size_t i;

    memset(&e, 0xff, sizeof e);
    stores__error_set(&e, STORES_POOL_FULL, "%d of %d", 3, 4);
    CHECK_INT(e.code, STORES_POOL_FULL);
    CHECK(e.retryable);
    CHECK_INT(e.outcome, STORES_OUTCOME_NONE);
    CHECK_INT(e.shard, -1);
    CHECK_STR(e.message, "3 of 4");
    CHECK_STR(e.sqlstate, "");
    CHECK_STR(e.detail, "");
    stores__error_set(&e, STORES_INTERNAL, "again: %s", e.message);
    CHECK_STR(e.message, "again: 3 of 4");
    CHECK(!e.retryable);

    for (i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xC3\xA9", 2);
    text[i] = '\0';
    stores__error_set(&e, STORES_INTERNAL, "%s", text);
    CHECK_INT(strlen(e.message), 510); /* between two characters */
    stores__error_set(&e, STORES_INTERNAL, "x%s", text);
    CHECK_INT(strlen(e.message), 511);
}

static void test_heap(void) {
    stores_error *one = stores__error_new(STORES_TIMEOUT, "after %d ms", 5), *two;

    CHECK_STR(one->message, "after 5 ms");
    one->outcome = STORES_OUTCOME_UNKNOWN;
    two = stores__error_dup(one);
    CHECK(two != one);
    CHECK(memcmp(one, two, sizeof *one) == 0);
    stores__error_free(one);
    stores__error_free(two);
    stores__error_free(NULL);
}

static void test_sqlstates(void) {
    static const struct {
        const char *sqlstate;
        stores_code code;
    } cases[] = {
        {"23505", STORES_DUPLICATE},        {"23503", STORES_CONSTRAINT},
        {"23514", STORES_CONSTRAINT},       {"40001", STORES_SERIALIZATION},
        {"40P01", STORES_DEADLOCK},         {"55P03", STORES_LOCK_TIMEOUT},
        {"57014", STORES_CANCELED},         {"25006", STORES_READ_ONLY},
        {"42P01", STORES_TABLE_NOT_FOUND},  {"28P01", STORES_AUTH_FAILED},
        {"28000", STORES_AUTH_FAILED},      {"3D000", STORES_AUTH_FAILED},
        {"53300", STORES_CONNECT_FAILED},   {"08006", STORES_CONNECTION_LOST},
        {"57P01", STORES_CONNECTION_LOST},  {"57P03", STORES_CONNECTION_LOST},
        {"42601", STORES_QUERY_FAILED},     {"XX000", STORES_QUERY_FAILED},
        {"54000", STORES_TOO_LARGE},        {"54001", STORES_TOO_LARGE},
        {"53100", STORES_SERVER_FULL},      {"53200", STORES_SERVER_FULL},
        {"42P02", STORES_INVALID_ARGUMENT}, {"42P18", STORES_INVALID_ARGUMENT},
        {"428C9", STORES_UNSUPPORTED},      {"42P10", STORES_UNSUPPORTED},
        {"0A000", STORES_UNSUPPORTED},      {"44000", STORES_CONSTRAINT},
        {"", STORES_QUERY_FAILED},
    };
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        from_pg(cases[i].sqlstate, "text \"with quotes\"", NULL);
        CHECK_STR(stores_code_name(e.code), stores_code_name(cases[i].code));
        CHECK_STR(e.sqlstate, cases[i].sqlstate);
        CHECK_STR(e.message, "text \"with quotes\"");
    }
    stores__error_from_pg(&e, "23505", "m", "Key (id)=(1) already exists.", "h", "c", "t");
    CHECK_STR(e.detail, "Key (id)=(1) already exists.");
    CHECK_STR(e.hint, "h");
    CHECK_STR(e.constraint, "c");
    CHECK_STR(e.table, "t");
    stores__error_from_pg(&e, NULL, NULL, NULL, NULL, NULL, NULL);
    CHECK_INT(e.code, STORES_QUERY_FAILED);
    CHECK(e.message[0]);
}

static void test_hints(void) {
    from_pg("53100", "could not extend file", NULL);
    CHECK(strstr(e.hint, "room") != NULL);
    CHECK(!e.retryable);
    from_pg("53200", "out of memory", NULL);
    CHECK(e.retryable);
    stores__error_from_pg(&e, "53100", "m", NULL, "the server's own", NULL, NULL);
    CHECK_STR(e.hint, "the server's own");
    from_pg("22P02", "malformed array literal: \"[1,2]\"", NULL);
    CHECK(strstr(e.hint, "sent as JSON") != NULL);
    from_pg("22P02", "ungültige Eingabesyntax für Typ integer: »{\"a\":1}«", NULL);
    CHECK(strstr(e.hint, "sent as JSON") != NULL);
    from_pg("22P02", "syntaxe invalide : «\xC2\xA0[1]\xC2\xA0»", NULL);
    CHECK(strstr(e.hint, "sent as JSON") != NULL);
    from_pg("22P02", "invalid input syntax for type integer: \"longer [1]\"", NULL);
    CHECK_STR(e.hint, "");
    from_pg("22P02", "invalid input syntax for type json", "Token \"[\" is invalid.");
    CHECK_STR(e.hint, "");
}

static void test_values(void) {
    char text[1500];

    from_pg("22P02", "invalid input syntax for type json", "Token \"s3cret\" is invalid.");
    CHECK_STR(e.message, "invalid input syntax for type json");
    CHECK_STR(e.detail, "Token \"s3cret\" is invalid.");
    from_pg("22P02", "invalid input syntax for type integer: \"s3cret: \"x\"\"", "more");
    CHECK_STR(e.message, "invalid input syntax for type integer");
    CHECK_STR(e.detail, "invalid input syntax for type integer: \"s3cret: \"x\"\"; more");
    from_pg("22003", "value \"99\"9\" is out of range for type integer", NULL);
    CHECK_STR(e.message, "value \"...\" is out of range for type integer");
    from_pg("22003", "value \"a: b\" is out of range for type integer", NULL);
    CHECK_STR(e.message, "value \"...\" is out of range for type integer");
    from_pg("22P02", "syntaxe en entrée invalide pour le type integer : « s3cret »", NULL);
    CHECK(strstr(e.message, "s3cret") == NULL);
    from_pg("22P02", "ungültige Eingabesyntax für Typ integer: »s3cret«", NULL);
    CHECK_STR(e.message, "ungültige Eingabesyntax für Typ integer");
    from_pg("22021", "invalid byte sequence for encoding \"UTF8\": 0xff", NULL);
    CHECK(strstr(e.message, "0xff") == NULL);
    from_pg("22P02", "cut off \"s3cret", NULL);
    CHECK(strstr(e.message, "s3cret") == NULL);
    from_pg("22012", "division by zero", NULL);
    CHECK_STR(e.message, "division by zero");
    CHECK_STR(e.detail, "");
    from_pg("42601", "syntax error at or near \"'s3cret: x'\"", NULL);
    CHECK_STR(e.message, "syntax error at or near \"...\"");
    CHECK_INT(e.code, STORES_QUERY_FAILED);
    from_pg("42601", "Syntaxfehler bei »$$s3cret$$«", NULL);
    CHECK_STR(e.message, "Syntaxfehler bei \"...\"");
    from_pg("42601", "syntax error at or near \"$1\"", NULL);
    CHECK_STR(e.message, "syntax error at or near \"$1\"");
    from_pg("42601", "syntax error at or near \"FROM\"", NULL);
    CHECK_STR(e.message, "syntax error at or near \"FROM\"");
    from_pg("38000", "program \"curl -u s3cret\" failed", NULL);
    CHECK_STR(e.message, "program \"...\" failed");

    memset(text, 'v', sizeof text);
    memcpy(text, "x: \"", 4);
    strcpy(text + sizeof text - 2, "\"");
    from_pg("22P02", text, text);
    CHECK_STR(e.message, "x");
    CHECK_INT(strlen(e.detail), sizeof e.detail - 1);
}

static void test_blocked(void) {
    char text[1500];

    from_pg("22P02", "invalid input syntax for type integer: \"stores:blocked:.a is a number\"",
            NULL);
    CHECK_INT(e.code, STORES_PATH_BLOCKED);
    CHECK_STR(e.message, ".a is a number");
    CHECK_STR(e.sqlstate, "22P02");
    from_pg("22P02", "syntaxe invalide : «\xC2\xA0stores:blocked:a\xC2\xA0»", NULL);
    CHECK_INT(e.code, STORES_PATH_BLOCKED);
    CHECK_STR(e.message, "a");
    from_pg("22P02", "syntax: \"it says stores:blocked:a.b\"", NULL);
    CHECK_INT(e.code, STORES_INVALID_ARGUMENT);
    from_pg("42601", "syntax: \"stores:blocked:a.b\"", NULL);
    CHECK_INT(e.code, STORES_QUERY_FAILED);
    memset(text, 'p', sizeof text);
    memcpy(text, "x: \"stores:blocked:", 19);
    strcpy(text + sizeof text - 2, "\"");
    from_pg("22P02", text, NULL);
    CHECK_INT(e.code, STORES_PATH_BLOCKED);
    CHECK_INT(strlen(e.message), 400);
}

static void test_statement(void) {
    char text[4001];
    stores__error_set(&e, STORES_QUERY_FAILED, "x");
    e.position = 8;
    stores__error_statement(&e, "SELECT a");
    CHECK_STR(e.statement, "SELECT a");
    CHECK_INT(e.position, 8);
    /* a longer one is cut behind the place, between two characters */
    for (size_t i = 0; i < sizeof text - 1; i += 2) memcpy(text + i, "\xC3\xA4", 2);
    text[sizeof text - 1] = '\0';
    stores__error_set(&e, STORES_QUERY_FAILED, "x");
    stores__error_statement(&e, text);
    CHECK_INT(strlen(e.statement), sizeof e.statement - 2);
    CHECK_INT(e.position, 0);
    /* or before it, and the place is one of what is left */
    text[3000] = 'x';
    text[3001] = 'y';
    e.position = 1501;
    stores__error_statement(&e, text);
    CHECK_INT(strlen(e.statement), sizeof e.statement - 2);
    CHECK_INT(e.statement[2 * (e.position - 1)], 'x');
    CHECK_INT((unsigned char)e.statement[0], 0xC3);
    /* where it is far from the end of what the server counted, the end */
    e.position = 100000;
    stores__error_statement(&e, text);
    CHECK(strlen(e.statement) < sizeof e.statement);
    /* one that stands behind a failed one has nothing to tell */
    stores__error_set(&e, STORES_OK, "%s", "");
    stores__error_statement(&e, "SELECT a");
    CHECK_STR(e.statement, "");
}

static void test_reword(void) {
    from_pg("42703", "no column", NULL);
    stores__error_reword(&e, "the table: %s", e.message);
    CHECK_STR(e.message, "the table: no column");
    CHECK_STR(e.sqlstate, "42703");
    CHECK_INT(e.code, STORES_QUERY_FAILED);
}

int main(void) {
    test_codes();
    test_set();
    test_heap();
    test_sqlstates();
    test_hints();
    test_values();
    test_blocked();
    test_statement();
    test_reword();
    return check_report();
}

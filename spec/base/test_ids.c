/* test_ids.c - the one text of an id, and what is said about every other. */
#include "base/ids.h"

#include "check.h"

static void good(const char *text, int64_t want) {
    char out[STORES__ID_SIZE];
    int64_t id = 12345;
    stores_error e = STORES_ERROR_INIT;

    CHECK(stores__id_parse(text, strlen(text), &id, &e));
    CHECK_INT(id, want);
    CHECK_INT(stores__id_write(id, out), strlen(text));
    CHECK_STR(out, text);
}

static void bad_bytes(const char *text, size_t len, const char *says) {
    int64_t id = 12345;
    stores_error e = STORES_ERROR_INIT;

    memset(&e, 0, sizeof e);
    CHECK(!stores__id_parse(text, len, &id, &e));
    CHECK_INT(id, 12345);
    CHECK_INT(e.code, STORES_INVALID_ID);
    if (!CHECK(strstr(e.message, says) != NULL)) printf("  '%s' for '%s'\n", e.message, text);
}

static void bad(const char *text, const char *says) {
    bad_bytes(text, strlen(text), says);
}

int main(void) {
    good("0", 0);
    good("7", 7);
    good("-1", -1);
    good("432243343432", INT64_C(432243343432));
    good("9223372036854775807", INT64_MAX);
    good("-9223372036854775808", INT64_MIN);
    good("9007199254740993", INT64_C(9007199254740993));

    bad("", "empty");
    bad("abc", "not a decimal number");
    bad("1.5", "is a fraction");
    bad("-1.0", "is a fraction");
    bad("1e3", "exponent");
    bad("0x10", "not a decimal number");
    bad("+1", "a plus sign: write '1'");
    bad("007", "leading zeros: write '7'");
    bad("-007", "leading zeros: write '-7'");
    bad("+007", "write '7'");
    bad("00", "write '0'");
    bad("-0", "write '0'");
    bad("-00", "write '0'");
    bad("-", "not a decimal number");
    bad("--1", "not a decimal number");
    bad(" 1", "white space");
    bad("1 ", "white space");
    bad("1\n", "white space");
    bad("9223372036854775808", "out of range");
    bad("-9223372036854775809", "out of range");
    bad("18446744073709551616", "out of range");
    bad("99999999999999999999999999999999999999999999999999999999", "out of range");
    bad("000000000000000000000000000000000000000000000000000000007", "write '7'");
    bad("\xff\x01", "'\?\?'");
    bad_bytes("1\0"
              "2",
              3, "zero byte");
    bad_bytes("12", 0, "empty");
    return check_report();
}

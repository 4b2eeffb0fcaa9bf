/* test_life.c - the times at which documents are past, as they stand in their text. */
#include "cache/life.h"

#include "check.h"

enum { NONE = -1000000 };

static int64_t time_of(const char *value) {
    int64_t seconds;
    return stores__expiry_time(value, strlen(value), &seconds) ? seconds : NONE;
}

int main(void) {
    CHECK_INT(time_of("0"), 0);
    CHECK_INT(time_of("1785499200"), 1785499200);
    CHECK_INT(time_of("1785499200.999"), 1785499200);
    CHECK_INT(time_of("-5"), 0);
    CHECK_INT(time_of("1000000000000000000"), NONE); /* without end */
    CHECK_INT(time_of("999999999999999"), 999999999999999);

    CHECK_INT(time_of("\"1970-01-01T00:00:00Z\""), 0);
    CHECK_INT(time_of("\"1970-01-02T00:00:01.5Z\""), 86401);
    CHECK_INT(time_of("\"1969-12-31T23:59:59Z\""), -1);
    CHECK_INT(time_of("\"2000-02-29T12:00:00Z\""), 951825600);
    CHECK_INT(time_of("\"2000-03-01T00:00:00Z\""), 951868800);
    CHECK_INT(time_of("\"2026-07-31T12:00:00Z\""), 1785499200);
    CHECK_INT(time_of("\"2100-03-01T00:00:00.123456789012Z\""), 4107542400);
    CHECK_INT(time_of("\"9999-12-31T23:59:59Z\""), 253402300799);

    static const char *const none[] = {"",
                                       "null",
                                       "true",
                                       "\"\"",
                                       "\"Z\"",
                                       "\"2026-07-31\"",
                                       "\"2026-07-31T12:00:00\"",
                                       "\"2026-07-31T12:00:00+02:00\"",
                                       "\"2026-07-31 12:00:00Z\"",
                                       "\"2026-07-31T12:00:00.Z\"",
                                       "\"2026-07-31T12:00:00,5Z\"",
                                       "\"x026-07-31T12:00:00Z\"",
                                       "{}",
                                       "[1]",
                                       "1e5",
                                       "12x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (time_of(none[i]) != NONE) printf("%s\n", none[i]);
        CHECK_INT(time_of(none[i]), NONE);
    }
    return check_report();
}

/* test_json_one.c - which texts stay one element of the array that they are put into. */
#include "base/json_one.h"

#include "check.h"

static bool is_one(const char *text) {
    size_t len = 0;
    bool one = stores__json_is_one(text, &len);
    if (one) CHECK_INT(len, strlen(text));
    return one;
}

int main(void) {
    CHECK(is_one("{}"));
    CHECK(is_one("{\"a\": [1, {\"b\": 2}], \"c\": null}"));
    CHECK(is_one("[]"));
    CHECK(is_one("[1, 2]"));
    CHECK(is_one("\"a, ] } b\""));
    CHECK(is_one("{\"a\\\"]\": \"\\\\\"}"));
    CHECK(is_one("null"));
    CHECK(is_one(" 1.5 "));

    /* they would be two, or reach into what stands behind them */
    CHECK(!is_one("1, 2"));
    CHECK(!is_one("{\"a\": 1}, {\"b\": 2}"));
    CHECK(!is_one("1], [2"));
    CHECK(!is_one("]"));
    CHECK(!is_one("}{"));
    CHECK(!is_one("{"));
    CHECK(!is_one("[1"));
    CHECK(!is_one("\"a"));
    CHECK(!is_one("{\"a\": \"b}"));
    CHECK(!is_one("\"a\\"));
    CHECK(!is_one("\"a\\\""));

    /* a server refuses the array that these are put into */
    CHECK(is_one(""));
    CHECK(is_one("{]"));
    CHECK(is_one("1 2"));
    return check_report();
}

/* test_place.c - where a server is, as it is written. */
#include "base/place.h"

#include "check.h"

static void expect(const char *text, const char *host, int port) {
    struct stores__place place;
    char written[STORES__HOST_MAX + 16];

    CHECK(stores__place_read(text, 26379, &place));
    CHECK_STR(place.host, host);
    CHECK_INT(place.port, port);
    /* what is written is read as the same */
    struct stores__place again;
    CHECK(stores__place_read(stores__place_write(&place, written, sizeof written), 1, &again));
    CHECK(stores__place_is(&place, &again));
}

static void test_places(void) {
    expect("host", "host", 26379);
    expect("host:1", "host", 1);
    expect("10.0.0.1:65535", "10.0.0.1", 65535);
    expect("::1", "::1", 26379);
    expect("[::1]", "::1", 26379);
    expect("[::1]:7", "::1", 7);
    expect("fe80::1:2", "fe80::1:2", 26379);
}

static void test_what_is_none(void) {
    static const char *const none[] = {
        "",     ":1",     "h:",  "h:0",   "h:65536", "h:-1",  "h:1x",  "[::1",
        "[]:1", "[::1]1", "a b", "u@h:1", "h/1",     "h: 12", "h:1 2", "h:999999999999"};
    struct stores__place place = {.host = "before", .port = 5};
    char lengthy[400];

    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (!CHECK(!stores__place_read(none[i], 1, &place))) printf("  %s\n", none[i]);
    }
    memset(lengthy, 'h', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    CHECK(!stores__place_read(lengthy, 1, &place));
    CHECK_STR(place.host, "before");
}

int main(void) {
    test_places();
    test_what_is_none();
    return check_report();
}

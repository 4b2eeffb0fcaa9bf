/* test_shown.c - what a standby may have shown that the primary still has running. */
#include "base/shown.h"

#include "check.h"

#include <stddef.h>

static void test_what_a_standby_says(void) {
    static const char *const none[] = {"", "x", "5", "5:", "5:x", ":5:", "5:7", "-5:7:"};
    struct stores__shown shown;
    CHECK(stores__shown_read("5:9:", &shown) && shown.below == 9 && shown.running == 5);
    CHECK(stores__shown_read("9:9:", &shown) && shown.below == 9 && shown.running == 0);
    CHECK(!stores__shown_read(NULL, &shown));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK(!stores__shown_read(none[i], &shown));
    }
}

static void test_what_has_ended(void) {
    struct stores__shown shown = {9, 5}, nothing = {0, 0};
    CHECK(stores__shown_ended(shown, "9:9:"));
    CHECK(stores__shown_ended(shown, "12:12:"));
    CHECK(stores__shown_ended(shown, "5:9:5"));
    CHECK(stores__shown_ended(shown, "5:12:5,9,10"));
    CHECK(!stores__shown_ended(shown, "6:12:6"));
    CHECK(!stores__shown_ended(shown, "5:12:5,8"));
    CHECK(!stores__shown_ended(shown, "4:12:4,5"));
    /* who runs from xmax on is in no list */
    CHECK(!stores__shown_ended(shown, "8:8:"));
    CHECK(!stores__shown_ended(shown, "5:7:5"));
    shown.running = 8;
    CHECK(stores__shown_ended(shown, "8:8:"));
    CHECK(stores__shown_ended(nothing, "5:12:5"));
    CHECK(!stores__shown_ended(shown, NULL));
    CHECK(!stores__shown_ended(shown, ""));
    CHECK(!stores__shown_ended(shown, "5:12:x"));
}

static struct stores__shown both(uint64_t below, uint64_t running, uint64_t other_below,
                                 uint64_t other_running) {
    struct stores__shown one = {below, running}, other = {other_below, other_running};
    stores__shown_add(&one, other);
    return one;
}

static void check(struct stores__shown shown, uint64_t below, uint64_t running) {
    CHECK(shown.below == below && shown.running == running);
}

/* Who ran by one of them counts where the other cannot have shown it either. */
static void test_two_of_them(void) {
    check(both(0, 0, 9, 5), 9, 5);
    check(both(9, 5, 0, 0), 9, 5);
    check(both(9, 5, 12, 5), 12, 5);
    check(both(9, 5, 12, 7), 12, 0);
    check(both(9, 5, 12, 10), 12, 10);
    check(both(12, 10, 9, 5), 12, 10);
    check(both(9, 0, 12, 5), 12, 0);
    check(both(0, 0, 0, 0), 0, 0);
}

int main(void) {
    test_what_a_standby_says();
    test_what_has_ended();
    test_two_of_them();
    return check_report();
}

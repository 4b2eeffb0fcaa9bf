/* The jitter of the pool's times: within 10 % of what was asked for, and never the same for all, so
 * that connections of one moment do not end in one moment. */
#include "check.h"
#include "pg/pool_internal.h"

enum { DRAWS = 10000 };

static void test_range(uint64_t ms) {
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t drawn = stores__pool_jitter(ms);
        if (drawn < least) least = drawn;
        if (drawn > most) most = drawn;
        sum += drawn;
    }
    CHECK(least >= ms - ms / 10);
    CHECK(most <= ms + ms / 10);
    CHECK(least < ms - ms / 12); /* the whole of the range is drawn from */
    CHECK(most > ms + ms / 12);
    CHECK(sum / DRAWS > ms - ms / 50 && sum / DRAWS < ms + ms / 50);
}

int main(void) {
    test_range(1000);
    test_range(30 * 60 * 1000);
    CHECK_INT(stores__pool_jitter(0), 0);
    CHECK_INT(stores__pool_jitter(1), 1); /* too short to be changed */
    return check_report();
}

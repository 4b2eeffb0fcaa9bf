/* test_shard.c - the true modulo. */
#include "base/shard.h"

#include "check.h"

int main(void) {
    CHECK_INT(stores__shard_of(-1, 4), 3);
    CHECK_INT(stores__shard_of(-4, 4), 0);
    CHECK_INT(stores__shard_of(-5, 4), 3);
    CHECK_INT(stores__shard_of(0, 4), 0);
    CHECK_INT(stores__shard_of(7, 4), 3);
    CHECK_INT(stores__shard_of(7, 1), 0);
    CHECK_INT(stores__shard_of(INT64_MAX, 10), 7);
    CHECK_INT(stores__shard_of(INT64_MIN, 10), 2);
    CHECK_INT(stores__shard_of(INT64_MIN, 1), 0);
    CHECK_INT(stores__shard_of(INT64_C(432243343432), 3), INT64_C(432243343432) % 3);
    return check_report();
}

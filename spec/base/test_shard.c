/* test_shard.c - the true modulo, and the refusal of another shard's id. */
#include "base/shard.h"

#include "check.h"

int main(void) {
    stores_error e = STORES_ERROR_INIT;

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

    CHECK(stores__shard_check(-1, 3, 4, &e));
    CHECK(stores__shard_check(5, 0, 1, &e));
    CHECK(stores__shard_check(5, 0, 0, &e));
    CHECK(!stores__shard_check(-1, 1, 4, &e));
    CHECK_INT(e.code, STORES_WRONG_SHARD);
    CHECK_INT(e.shard, 1);
    CHECK_STR(e.message, "the id -1 belongs to shard 3 of 4, this is shard 1");
    return check_report();
}

/* test_flake.c - ids of made-up times: order, layouts, shards, clocks that go back, forks. */
#include "base/flake.h"

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "base/shard.h"

#define NOW INT64_C(1790000000000) /* in 2026 */

static void test_layouts(void) {
    int64_t year2069 = INT64_C(3145708055551), year2034 = INT64_C(2046196427775);

    CHECK_INT(stores_flake_at(STORES__FLAKE_EPOCH), 0);
    CHECK_INT(stores_flake_at(STORES__FLAKE_EPOCH + 1), 1 << 22);
    CHECK_INT(stores_simpleflake_at(STORES__FLAKE_EPOCH + 1), 1 << 23);
    CHECK_INT(stores_flake_time(stores_flake_at(NOW)), NOW);
    CHECK_INT(stores_flake_time(stores_flake_at(NOW) - 1), NOW - 1);
    CHECK_INT(stores_simpleflake_time(stores_simpleflake_at(NOW) + 1), NOW);
    CHECK_INT(stores_flake_time(-1), STORES__FLAKE_EPOCH - 1);
    CHECK_INT(stores_flake_time(-(1 << 22)), STORES__FLAKE_EPOCH - 1);
    CHECK_INT(stores_flake_at(STORES__FLAKE_EPOCH - 1), -(1 << 22));
    CHECK_INT(stores_flake_at(INT64_MAX), INT64_MAX);
    CHECK_INT(stores_flake_at(INT64_MIN), INT64_MIN);
    CHECK_INT(stores_flake_time(INT64_MAX), year2069);
    CHECK_INT(stores_simpleflake_time(INT64_MAX), year2034);
}

static void test_order(int bits) {
    struct stores__flake flake;
    int64_t last = INT64_MIN, id = 0;
    bool increases = true, in_time = true;
    int i;

    stores__flake_init(&flake, bits, 0, 0);
    for (i = 0; i < 20000; i++) {
        int64_t ms = NOW + i / 500;
        if (!CHECK(stores__flake_next(&flake, ms, &id))) break;
        increases = increases && id > last;
        in_time = in_time && stores__flake_time(bits, id) >= ms &&
                  stores__flake_time(bits, id) <= ms + 2;
        last = id;
    }
    CHECK(increases);
    CHECK(in_time);

    /* The clock goes back by an hour. */
    CHECK(stores__flake_next(&flake, NOW - 3600000, &id));
    CHECK(id > last);
    CHECK(id <= last + 1024);
}

static void test_random(void) {
    struct stores__flake a, b;
    int64_t x = 0, y = 0;
    int i, same = 0;

    for (i = 0; i < 100; i++) {
        stores__flake_init(&a, STORES__FLAKE_BITS, 0, 0);
        stores__flake_init(&b, STORES__FLAKE_BITS, 0, 0);
        stores__flake_next(&a, NOW, &x);
        stores__flake_next(&b, NOW, &y);
        same += x == y;
    }
    CHECK(same <= 1);
}

static void test_shards(void) {
    struct stores__flake flake;
    int64_t last, id = 0;
    bool holds = true;
    int shard, i;

    for (shard = 0; shard < 7; shard++) {
        stores__flake_init(&flake, STORES__FLAKE_BITS, shard, 7);
        last = INT64_MIN;
        for (i = 0; i < 1000; i++) {
            holds = holds && stores__flake_next(&flake, NOW, &id);
            holds = holds && id > last && stores__shard_of(id, 7) == shard;
            last = id;
        }
    }
    CHECK(holds);
}

static void test_range(void) {
    struct stores__flake flake;
    int64_t id = 0;

    stores__flake_init(&flake, STORES__FLAKE_BITS, 0, 0);
    CHECK(!stores__flake_next(&flake, STORES__FLAKE_EPOCH - 1, &id));
    CHECK(stores__flake_next(&flake, STORES__FLAKE_EPOCH, &id));
    CHECK(!stores__flake_next(&flake, INT64_C(4000000000000), &id));
    CHECK(stores__flake_next(&flake, NOW, &id));
    flake.last = INT64_MAX;
    CHECK(!stores__flake_next(&flake, NOW, &id));
    stores__flake_init(&flake, STORES__SIMPLEFLAKE_BITS, 0, 0);
    CHECK(!stores__flake_next(&flake, INT64_C(2100000000000), &id));
}

/* Parent and child go on from the same generator, in the same millisecond. */
static void test_fork(void) {
    struct stores__flake flake;
    int64_t first = 0, mine[50], theirs[50];
    int ends[2], status, i, j, same = 0;
    pid_t child;

    stores__flake_init(&flake, STORES__FLAKE_BITS, 0, 0);
    stores__flake_next(&flake, NOW, &first);
    if (!CHECK(pipe(ends) == 0)) return;
    child = fork();
    if (child == 0) {
        for (i = 0; i < 50; i++) stores__flake_next(&flake, NOW, &theirs[i]);
        _exit(write(ends[1], theirs, sizeof theirs) == sizeof theirs ? 0 : 1);
    }
    for (i = 0; i < 50; i++) stores__flake_next(&flake, NOW, &mine[i]);
    CHECK_INT(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (i = 0; i < 50; i++) {
        for (j = 0; j < 50; j++) same += mine[i] == theirs[j];
    }
    CHECK(same <= 1);
    CHECK(theirs[0] > first);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    test_layouts();
    test_order(STORES__FLAKE_BITS);
    test_order(STORES__SIMPLEFLAKE_BITS);
    test_random();
    test_shards();
    test_range();
    test_fork();
    return check_report();
}

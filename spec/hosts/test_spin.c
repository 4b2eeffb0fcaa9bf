/*
 * test_spin.c - a wait spins where that was the faster way lately, and sleeps where it was not.
 */
#include "check.h"
#include "hub/spin.h"

/* How many of 1,000 waits spin that take so long (ns) by either way, after as many to find out. */
static int spun(struct stores__spin *spin, uint64_t slept_ns, uint64_t spun_ns) {
    int count = 0;
    for (int i = 0; i < 2000; i++) {
        bool spins = stores__spin_begin(spin, 1) != 0;
        if (i >= 1000 && spins) count++;
        stores__spin_ended(spin, 1 + (spins ? spun_ns : slept_ns));
    }
    return count;
}

int main(void) {
    struct stores__spin spin = {0};
    /* answers that come before a sleep is over; the other way is tried in one of 64 */
    CHECK(spun(&spin, 80000, 30000) > 980);
    /* a busy machine: it is found out soon, and so is that it is quiet again */
    CHECK(spun(&spin, 20000, 30000) < 20);
    CHECK(spun(&spin, 80000, 30000) > 980);
    /* answers that take longer than it spins: it would do so for nothing */
    CHECK(spun(&spin, 150000, 140000) < 20);
    CHECK(spun(&spin, UINT64_C(50000000000), UINT64_C(50000000000)) < 20);
    CHECK(spun(&spin, 80000, 30000) > 980);
    /* one long wait among short ones changes nothing */
    uint64_t until = stores__spin_begin(&spin, 7000);
    CHECK_INT(until, 107000);
    stores__spin_ended(&spin, UINT64_C(5000000000));
    CHECK(stores__spin_begin(&spin, 7000) != 0);
    return check_report();
}

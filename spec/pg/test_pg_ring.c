/* test_pg_ring.c - what is owed stays in the order of sending while the ring goes round and
 * grows. */
#include "pg/ring.h"

#include "check.h"

static struct stores__pg_ring ring;
static int sent, answered;

static void send_one(void) {
    struct stores__pg_entry entry = {.index = sent++};
    CHECK(stores__pg_ring_push(&ring, &entry));
    CHECK_INT(stores__pg_ring_last(&ring)->index, entry.index);
}

static void answer_one(void) {
    CHECK_INT(stores__pg_ring_at(&ring, 0)->index, answered);
    CHECK_INT(stores__pg_ring_pop(&ring).index, answered);
    answered++;
}

static void check_order(void) {
    CHECK_INT(ring.count, sent - answered);
    for (size_t i = 0; i < ring.count; i++) {
        CHECK_INT(stores__pg_ring_at(&ring, i)->index, answered + (int)i);
    }
}

int main(void) {
    /* more is sent than answered, so that it grows each time with its head at another place */
    for (int turn = 1; turn < 60; turn++) {
        for (int i = 0; i < turn; i++) send_one();
        check_order();
        for (int i = 0; i < turn * 2 / 3; i++) answer_one();
        check_order();
    }
    CHECK(ring.room > 512);
    while (ring.count > 0) answer_one();
    CHECK_INT(answered, sent);
    /* it stays as large as it was, and goes round */
    size_t room = ring.room;
    for (size_t i = 0; i < 3 * room; i++) {
        send_one();
        answer_one();
    }
    CHECK_INT(ring.room, room);
    stores__pg_ring_free(&ring);
    CHECK_INT(ring.room, 0);
    return check_report();
}

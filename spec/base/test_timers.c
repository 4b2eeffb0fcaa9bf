/*
 * test_timers.c - the line, the heap, their order, and handlers that change them. Times are put
 * into the past, or far ahead, so that no test sleeps for more than a few milliseconds.
 */
#include "base/timers.h"

#include "check.h"

#define MANY 1000

static uv_loop_t loop;
static struct stores__timers timers;
static uv_idle_t alive; /* keeps the loop alive, as an engine does while ops are pending */
static struct stores__timer many[MANY];
static int fired;
static uint64_t last_at;
static bool in_order;

static void on_alive(uv_idle_t *idle) {
    (void)idle;
}

static void turn(void) {
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void open_all(void) {
    CHECK_INT(uv_loop_init(&loop), 0);
    CHECK_INT(stores__timers_open(&timers, &loop), 0);
    fired = 0;
    last_at = 0;
    in_order = true;
}

static void be_alive(void) {
    uv_idle_init(&loop, &alive);
    uv_idle_start(&alive, on_alive);
}

static void on_closed(uv_handle_t *handle) {
    handle->data = &loop;
}

static void close_all(void) {
    stores__timers_close(&timers, on_closed);
    if (alive.loop) uv_close((uv_handle_t *)&alive, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(timers.uv.data == &loop);
    CHECK_INT(uv_loop_close(&loop), 0);
    memset(&alive, 0, sizeof alive);
}

static void count(struct stores__timer *timer) {
    fired++;
    if (timer->at < last_at) in_order = false;
    last_at = timer->at;
    CHECK(!stores__timer_armed(timer));
}

static size_t line_count(void) {
    size_t count = 0;
    struct stores__list *at;

    for (at = timers.line.next; at != &timers.line; at = at->next) count++;
    return count;
}

static bool all_hold(void) {
    struct stores__list *at;
    uint64_t before = 0;
    size_t i;

    for (i = 1; i <= timers.heap_count; i++) {
        if (timers.heap[i - 1]->index != i) return false;
        if (i > 1 && timers.heap[i / 2 - 1]->at > timers.heap[i - 1]->at) return false;
    }
    for (at = timers.line.next; at != &timers.line; at = at->next) {
        struct stores__timer *timer = STORES__CONTAINER(at, struct stores__timer, link);
        if (timer->index != STORES__TIMER_IN_LINE || timer->at < before) return false;
        before = timer->at;
    }
    return timers.count == timers.heap_count + line_count();
}

static void test_line(void) {
    struct stores__timer far = {.fire = count}, early = {.fire = count};
    uint64_t now;
    int i;

    open_all();
    be_alive();
    turn();
    now = uv_now(&loop);
    memset(many, 0, sizeof many);
    CHECK(stores__timer_set(&timers, &far, now + 1000000));
    for (i = 0; i < MANY; i++) {
        many[i].fire = count;
        CHECK(stores__timer_set(&timers, &many[i], now - 500 + (uint64_t)i / 2));
    }
    CHECK_INT(timers.heap_count, 1); /* the one far ahead */
    CHECK(stores__timer_set(&timers, &early, now - 600));
    CHECK_INT(timers.heap_count, 2);
    CHECK(stores__timers_first(&timers) == &early);
    CHECK(all_hold());
    stores__timer_stop(&timers, &many[7]);
    CHECK(stores__timer_set(&timers, &many[8], now + 2000000)); /* from the middle to the end */
    CHECK(all_hold());
    turn();
    CHECK_INT(fired, MANY - 1);
    CHECK(in_order);
    CHECK_INT(timers.count, 2);
    close_all();
}

static void test_order(void) {
    uint64_t seed = 42, now;
    int i, expected = 0;
    bool holds = true;

    open_all();
    be_alive();
    turn();
    now = uv_now(&loop);
    memset(many, 0, sizeof many);
    for (i = 0; i < 20 * MANY; i++) {
        struct stores__timer *timer;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        timer = &many[(seed >> 33) % MANY];
        timer->fire = count;
        if (seed >> 60 < 5) {
            stores__timer_stop(&timers, timer);
        } else {
            stores__timer_set(&timers, timer, now - now / 2 + (seed >> 20) % now);
        }
        if (i % 16 == 0) holds = holds && all_hold();
    }
    CHECK(holds);
    for (i = 0; i < MANY; i++) expected += many[i].index && many[i].at <= now;
    CHECK(expected > 100);
    turn();
    CHECK(fired >= expected); /* a millisecond may have passed */
    CHECK(fired <= expected + 20);
    CHECK(in_order);
    CHECK(all_hold());
    close_all();
    for (i = 0; i < MANY; i++) CHECK_INT(many[i].index, 0);
}

static void test_lazy(void) {
    struct stores__timer a = {.fire = count}, b = {.fire = count};
    uint64_t now, due;

    open_all();
    now = uv_now(&loop);
    CHECK(timers.armed_at == UINT64_MAX);
    CHECK(stores__timer_set(&timers, &a, now + 1000));
    CHECK(timers.armed_at == now + 1000);
    due = uv_timer_get_due_in(&timers.uv);
    CHECK(stores__timer_set(&timers, &b, now + 5000));
    CHECK(stores__timer_set(&timers, &a, now + 9000));
    stores__timer_stop(&timers, &a);
    CHECK(timers.armed_at == now + 1000);
    CHECK(uv_timer_get_due_in(&timers.uv) == due);
    CHECK(stores__timer_set(&timers, &a, now + 500));
    CHECK(timers.armed_at == now + 500);
    CHECK(stores__timer_set(&timers, &a, UINT64_MAX)); /* parked */
    CHECK(stores__timer_armed(&a));
    stores__timer_stop(&timers, &b);
    stores__timer_stop(&timers, &b);
    CHECK_INT(timers.count, 1);
    CHECK_INT(uv_loop_alive(&loop), 0); /* deadlines alone keep no loop alive */
    close_all();
    CHECK(!stores__timer_set(&timers, &a, now));
}

static void test_parked(void) {
    struct stores__timer parked = {.fire = count}, due = {.fire = count};

    open_all();
    be_alive();
    CHECK(stores__timer_set(&timers, &parked, UINT64_MAX));
    CHECK(!uv_is_active((uv_handle_t *)&timers.uv));
    CHECK(stores__timer_set(&timers, &due, 0));
    turn();
    CHECK_INT(fired, 1);
    CHECK(!uv_is_active((uv_handle_t *)&timers.uv));
    close_all();
}

/* ---- Handlers that change the heap ---------------------------------------------------------- */

static struct stores__timer victim, again, late;

static void stop_victim(struct stores__timer *timer) {
    count(timer);
    stores__timer_stop(&timers, &victim);
    stores__timer_set(&timers, &late, uv_now(&loop) + 100000);
}

static void set_again(struct stores__timer *timer) {
    count(timer);
    stores__timer_set(&timers, timer, uv_now(&loop));
}

static void test_changes(void) {
    struct stores__timer killer = {.fire = stop_victim};

    open_all();
    be_alive();
    victim = late = (struct stores__timer){.fire = count};
    CHECK(stores__timer_set(&timers, &killer, 1));
    CHECK(stores__timer_set(&timers, &victim, 2));
    turn();
    CHECK_INT(fired, 1);
    CHECK(!stores__timer_armed(&victim));
    CHECK(stores__timer_armed(&late));
    CHECK(timers.armed_at == late.at);
    stores__timer_stop(&timers, &late);

    /* A handler that is due again at once does not hold the turn. */
    fired = 0;
    again = (struct stores__timer){.fire = set_again};
    CHECK(stores__timer_set(&timers, &again, 0));
    turn();
    CHECK_INT(fired, 1);
    while (fired < 3) turn();
    close_all();
}

static void close_it(struct stores__timer *timer) {
    count(timer);
    stores__timers_close(&timers, on_closed);
}

static void test_close_inside(void) {
    struct stores__timer closer = {.fire = close_it}, other = {.fire = count};

    open_all();
    be_alive();
    CHECK(stores__timer_set(&timers, &closer, 1));
    CHECK(stores__timer_set(&timers, &other, 2));
    turn();
    CHECK_INT(fired, 1);
    uv_close((uv_handle_t *)&alive, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
    memset(&alive, 0, sizeof alive);
}

int main(void) {
    test_line();
    test_order();
    test_lazy();
    test_parked();
    test_changes();
    test_close_inside();
    return check_report();
}

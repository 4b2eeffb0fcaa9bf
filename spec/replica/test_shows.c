/*
 * test_shows.c - what replicas have shown, and when it is no matter any more.
 */
#include "check.h"
#include "engine/engine.h"
#include "replica/internal.h"

static stores_engine engine;
static struct stores__replica list[2];
static struct stores__replicas replicas;

static void reset(void) {
    memset(&replicas, 0, sizeof replicas);
    memset(list, 0, sizeof list);
    engine.loop = uv_default_loop();
    replicas.engine = &engine;
    replicas.list = list;
    replicas.count = 2;
    replicas.met = true;
    strcpy(replicas.system, "7");
    stores__shows_follow(&replicas, 1);
    for (int i = 0; i < 2; i++) list[i].all = &replicas;
}

static struct stores__shown shown(uint64_t below, uint64_t running) {
    return (struct stores__shown){below, running};
}

static bool ended_by(const char *snapshot) {
    struct stores__shown all = {0, 0};
    stores__shows_add(&replicas, &all);
    return stores__shown_ended(all, snapshot);
}

static void test_answers_in_any_order(void) {
    reset();
    CHECK(ended_by("3:3:"));
    stores__shows_note(&list[0], shown(20, 0));
    stores__shows_note(&list[0], shown(10, 9));
    CHECK(!ended_by("15:30:15"));
    CHECK(ended_by("25:30:25"));
    stores__shows_note(&list[1], shown(28, 0));
    CHECK(!ended_by("25:30:25"));
}

static void test_what_has_ended(void) {
    reset();
    stores__shows_note(&list[0], shown(20, 0));
    replicas.shows.settled = replicas.shows.count;
    CHECK(ended_by("3:3:"));
    stores__shows_note(&list[0], shown(10, 0));
    CHECK(!ended_by("9:30:9"));
    CHECK(ended_by("15:30:15"));
}

static void test_timelines(void) {
    reset();
    unsigned era = stores__shows_era(&replicas);
    stores__shows_note(&list[0], shown(20, 0));
    CHECK(!ended_by("12:12:"));
    stores__shows_follow(&replicas, 1);
    CHECK_INT(stores__shows_era(&replicas), era);
    stores__shows_follow(&replicas, 2);
    CHECK_INT(replicas.timeline, 2);
    CHECK(!ended_by("12:12:"));
    CHECK(stores__shows_are_of(&replicas, 1));
    unsigned moving = stores__shows_era(&replicas);
    CHECK(moving > era);
    replicas.shows.before_until = uv_now(engine.loop); /* a moment later */
    CHECK(ended_by("12:12:"));
    CHECK(!stores__shows_are_of(&replicas, 1));
    CHECK(stores__shows_are_of(&replicas, 2));
    CHECK(stores__shows_era(&replicas) > moving);
    stores__shows_note(&list[1], shown(14, 0));
    CHECK(!ended_by("12:12:"));
    CHECK(ended_by("14:14:"));
    stores__shows_follow(&replicas, 1);
    CHECK_INT(replicas.timeline, 2);
}

static void test_the_token_of_the_configuration(void) {
    static char token[] = "8.00000001.0000000000000001.0000000000000064.0000000000000000,"
                          "7.00000001.0000000000000001.0000000000000014.0000000000000000";
    reset();
    replicas.met = false;
    replicas.after = token;
    CHECK(!ended_by("15:200:15"));
    CHECK(!ended_by("50:200:50")); /* whose it is nobody knows */
    replicas.met = true;
    replicas.after = NULL;
    stores__shows_tell(&replicas, token);
    CHECK(!ended_by("15:200:15"));
    CHECK(ended_by("50:200:50"));
}

int main(void) {
    test_answers_in_any_order();
    test_what_has_ended();
    test_timelines();
    test_the_token_of_the_configuration();
    return check_report();
}

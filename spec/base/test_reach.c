/* test_reach.c - places in the WAL, and the tokens that say them. */
#include "base/reach.h"

#include "check.h"

static void test_places(void) {
    static const char *const none[] = {"",    "/",   "1",     "1/",          "/1",
                                       "x/1", "1/x", "1/2/3", "100000000/0", "0/100000000"};
    uint64_t lsn;
    CHECK(stores__lsn_read("16/B374D848", &lsn) && lsn == UINT64_C(0x16B374D848));
    CHECK(stores__lsn_read("0/0", &lsn) && lsn == 0);
    CHECK(stores__lsn_read("FFFFFFFF/FFFFFFFF", &lsn) && lsn == UINT64_MAX);
    CHECK(!stores__lsn_read(NULL, &lsn));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) CHECK(!stores__lsn_read(none[i], &lsn));
}

/* A later timeline is later, also where its places are lower. */
static void test_which_is_beyond(void) {
    struct stores__reach before = {1, 500}, after = {2, 400}, more = {2, 401};
    CHECK(stores__reach_is_beyond(after, before));
    CHECK(!stores__reach_is_beyond(before, after));
    CHECK(stores__reach_is_beyond(more, after));
    CHECK(!stores__reach_is_beyond(after, after));
}

static void test_tokens(void) {
    char token[STORES_TOKEN_SIZE], all[4 * STORES_TOKEN_SIZE];
    struct stores__reach reach = {0x1f, UINT64_C(0x16B374D848)}, read;
    stores__token_write("7713595839724685424", reach, (struct stores__shown){0}, token);
    CHECK_STR(token, "7713595839724685424.0000001F.00000016B374D848");
    CHECK(stores__token_is(token));
    CHECK(stores__token_read(token, "7713595839724685424", &read));
    CHECK(read.timeline == reach.timeline && read.lsn == reach.lsn);
    CHECK(!stores__token_read(token, "771359583972468542", &read));
    CHECK(!stores__token_read(token, "", &read));
    /* of several the furthest of this system */
    snprintf(all, sizeof all, "5.00000001.00000000000000FF,%s,5.00000002.0000000000000001", token);
    CHECK(stores__token_is(all));
    CHECK(stores__token_read(all, "5", &read) && read.timeline == 2 && read.lsn == 1);
    CHECK(stores__token_read(all, "7713595839724685424", &read) && read.lsn == reach.lsn);
    CHECK(!stores__token_read(all, "6", &read));
    /* what was shown stands behind it, and is that of all entries of a system */
    struct stores__shown shown = {0x30, 0x2f}, all_shown = {0};
    stores__token_add_shown(all, "5", &all_shown);
    CHECK(all_shown.below == 0);
    stores__token_write("5", reach, shown, token);
    CHECK_STR(token, "5.0000001F.00000016B374D848.0000000000000030.000000000000002F");
    CHECK(stores__token_is(token));
    snprintf(all, sizeof all, "%s,6.00000001.00000000000000FF", token);
    CHECK(stores__token_is(all) && stores__token_read(all, "6", &read) && read.lsn == 255);
    CHECK(stores__token_read(all, "5", &read) && read.lsn == reach.lsn);
    stores__token_add_shown(all, "6", &all_shown);
    CHECK(all_shown.below == 0);
    stores__token_add_shown(all, "5", &all_shown);
    CHECK(all_shown.below == 0x30 && all_shown.running == 0x2f);
    all_shown.below = 0;
    stores__token_add_shown(all, NULL, &all_shown);
    CHECK(all_shown.below == 0x30);
    reach.lsn = UINT64_MAX;
    reach.timeline = UINT32_MAX;
    shown.below = shown.running = UINT64_MAX;
    stores__token_write("18446744073709551615", reach, shown, token);
    CHECK(stores__token_is(token));
}

static void test_what_is_no_token(void) {
    static const char *const none[] = {"",
                                       "x",
                                       "5",
                                       "5.00000001",
                                       "5.00000001.",
                                       ".00000001.00000000000000FF",
                                       "5.0000001.00000000000000FF",
                                       "5.00000001.0000000000000FF",
                                       "5.00000001.00000000000000FFF",
                                       "5.00000001.00000000000000ff",
                                       "5.00000001.00000000000000FF,",
                                       ",5.00000001.00000000000000FF",
                                       "5.00000001.00000000000000FF 6.00000001.00000000000000FF",
                                       "184467440737095516150.00000001.00000000000000FF",
                                       "5.00000001.00000000000000FF.",
                                       "5.00000001.00000000000000FF.0000000000000030",
                                       "5.00000001.00000000000000FF.0000000000000030.",
                                       "5.00000001.00000000000000FF.0000000000000030.1"};
    CHECK(!stores__token_is(NULL));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) CHECK(!stores__token_is(none[i]));
}

int main(void) {
    test_places();
    test_which_is_beyond();
    test_tokens();
    test_what_is_no_token();
    return check_report();
}

/*
 * test_redis_slots.c - where the keys of a cluster are: slots as Redis counts them, and what it
 * says of one that is elsewhere. What is no redirect as it should be is none.
 */
#include "redis/slots.h"

#include <hiredis/hiredis.h>

#include "check.h"

static unsigned slot(const char *key) {
    return stores__slot_of(key, strlen(key));
}

/* The numbers are those of CLUSTER KEYSLOT. */
static void test_slots(void) {
    CHECK_INT(slot(""), 0);
    CHECK_INT(slot("123456789"), 12739);
    CHECK_INT(slot("foo"), 12182);
    CHECK_INT(slot("a{foo}b"), 12182);
    CHECK_INT(slot("a{foo}{bar}"), 12182);
    CHECK_INT(slot("foo{}{bar}"), 8363);
    CHECK_INT(slot("foo{{bar}}zap"), 4015);
    CHECK_INT(slot("{foo"), slot("{foo"));
    CHECK(slot("{foo") != slot("foo"));
}

static void test_redirects(void) {
    struct stores__redirect to = stores__redirect_read("MOVED 3999 127.0.0.1:6381");
    CHECK_INT(to.says, STORES__SLOT_MOVED);
    CHECK_INT(to.slot, 3999);
    CHECK_STR(to.place.host, "127.0.0.1");
    CHECK_INT(to.place.port, 6381);
    to = stores__redirect_read("ASK 16383 2001:db8::1:6381");
    CHECK_INT(to.says, STORES__SLOT_ASK);
    CHECK_INT(to.slot, 16383);
    CHECK_STR(to.place.host, "2001:db8::1");
    to = stores__redirect_read("MOVED 0 redis-1.example.org:65535");
    CHECK_STR(to.place.host, "redis-1.example.org");
    CHECK_INT(to.place.port, 65535);
    to = stores__redirect_read("MOVED 7 :6381");
    CHECK_INT(to.says, STORES__SLOT_MOVED);
    CHECK_STR(to.place.host, "");
    CHECK_INT(stores__redirect_read("TRYAGAIN Multiple keys request").says, STORES__SLOT_AGAIN);
    CHECK_INT(stores__redirect_read("CLUSTERDOWN Hash slot not served").says, STORES__SLOT_DOWN);
}

static void test_what_is_none(void) {
    static const char *const none[] = {
        "",
        "MOVED",
        "MOVED ",
        "MOVED 3999",
        "MOVED 3999 ",
        "MOVED 16384 a:1",
        "MOVED -1 a:1",
        "MOVED 1 a",
        "MOVED 1 a:",
        "MOVED 1 a:0",
        "MOVED 1 a:65536",
        "MOVED 1 a:6x",
        "MOVED x a:1",
        "MOVED 99999999999999999999 a:1",
        "MOVEDX 1 a:1",
        "ASKING 1 a:1",
        "ERR MOVED 1 a:1",
    };
    static char longer[600];
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK_INT(stores__redirect_read(none[i]).says, STORES__SLOT_FINE);
    }
    strcpy(longer, "MOVED 1 ");
    memset(longer + 8, 'h', 400);
    strcpy(longer + 408, ":1");
    CHECK_INT(stores__redirect_read(longer).says, STORES__SLOT_FINE);
}

/* ---- CLUSTER SLOTS --------------------------------------------------------------------------- */

static redisReply *read_reply(redisReader *reader, const char *text) {
    void *reply = NULL;
    redisReaderFeed(reader, text, strlen(text));
    CHECK_INT(redisReaderGetReply(reader, &reply), REDIS_OK);
    return reply;
}

static void test_map(void) {
    redisReader *reader = redisReaderCreate();
    struct stores__slot_range range;
    redisReply *slots = read_reply(
        reader, "*6\r\n"
                "*4\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:7001\r\n$1\r\nx\r\n"
                "*3\r\n$9\r\n127.0.0.1\r\n:7004\r\n$1\r\ny\r\n"
                "*3\r\n:5461\r\n:5461\r\n*3\r\n$-1\r\n:7002\r\n$1\r\nx\r\n"
                "*3\r\n:5462\r\n:16383\r\n*4\r\n$1\r\n?\r\n:7003\r\n$1\r\nx\r\n"
                "*2\r\n$2\r\nip\r\n$9\r\n127.0.0.3\r\n"
                "*3\r\n:5\r\n:16384\r\n*3\r\n$1\r\na\r\n:7003\r\n$1\r\nx\r\n"
                "*3\r\n:7\r\n:6\r\n*3\r\n$1\r\na\r\n:7003\r\n$1\r\nx\r\n"
                "$4\r\nnone\r\n");
    CHECK(stores__slots_read(slots, 0, &range));
    CHECK_INT(range.first, 0);
    CHECK_INT(range.last, 5460);
    CHECK_STR(range.place.host, "127.0.0.1");
    CHECK_INT(range.place.port, 7001);
    CHECK(stores__slots_read(slots, 1, &range));
    CHECK_INT(range.first, range.last);
    CHECK_STR(range.place.host, "");
    CHECK(stores__slots_read(slots, 2, &range));
    CHECK_STR(range.place.host, "127.0.0.3");
    for (size_t i = 3; i < 7; i++) CHECK(!stores__slots_read(slots, i, &range));
    freeReplyObject(slots);
    redisReaderFree(reader);
}

int main(void) {
    test_slots();
    test_redirects();
    test_what_is_none();
    test_map();
    return check_report();
}

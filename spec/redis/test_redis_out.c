/*
 * test_redis_out.c - commands in chunks: what comes out of a socket that takes them piece by piece
 * is what went in, and arguments that are held outlive their sending.
 */
#include "redis/out.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define HELD 8

static int ends[2];
static struct stores__buf want, got;

static void expect(const char *text, size_t len) {
    stores__buf_fmt(&want, "$%zu\r\n", len);
    stores__buf_add(&want, text, len);
    stores__buf_str(&want, "\r\n");
}

static void drain(size_t most) {
    char bytes[4096];
    size_t total = 0;
    ssize_t n;

    while (total < most && (n = read(ends[1], bytes, sizeof bytes)) > 0) {
        stores__buf_add(&got, bytes, (size_t)n);
        total += (size_t)n;
    }
}

static void test_stream(void) {
    static char data[200000];
    struct stores__redis_out out;
    struct stores__redis_tail held[HELD];
    uint64_t seed = 7;
    int i;

    memset(held, 0, sizeof held);
    for (i = 0; i < (int)sizeof data; i++) data[i] = (char)i;
    stores__redis_out_init(&out);
    for (i = 0; i < 3000; i++) {
        const char *argv[2] = {"SET", data}, *again[1] = {"EVAL"};
        size_t lens[2] = {3, 0}, four = 4;
        int which;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        which = (int)(seed >> 61);
        lens[1] = (seed >> 40) % (which ? 300 : sizeof data);
        stores__redis_tail_drop(&held[which]);
        CHECK(stores__redis_out_command(&out, 1, argv, lens, 1, argv + 1, lens + 1, &held[which]));
        stores__buf_str(&want, "*2\r\n");
        expect("SET", 3);
        expect(data, lens[1]);
        which = (int)(seed >> 58 & 7);
        if (held[which].chunk && i % 5 == 0) {
            CHECK(stores__redis_out_again(&out, 1, again, &four, &held[which]));
            stores__buf_str(&want, "*2\r\n");
            expect("EVAL", 4);
            stores__buf_add(&want, held[which].text, held[which].len);
        }
        if (i % 3 == 0) CHECK(stores__redis_out_write(&out, ends[0]) >= 0);
        drain((seed >> 20) % 200000);
    }
    while (out.unsent > 0) {
        CHECK(stores__redis_out_write(&out, ends[0]) >= 0);
        drain(SIZE_MAX);
    }
    drain(SIZE_MAX);
    CHECK_INT(got.len, want.len);
    CHECK(!want.failed && !got.failed && memcmp(got.data, want.data, want.len) == 0);
    for (i = 0; i < HELD; i++) stores__redis_tail_drop(&held[i]);
    stores__redis_out_clear(&out);
}

static void test_refusals(void) {
    struct stores__redis_out out;
    struct stores__redis_tail tail = {0};
    const char *argv[3] = {"a", "b", "c"};
    size_t lens[3] = {1, ((size_t)512 << 20) + 1, 1};

    stores__redis_out_init(&out);
    CHECK(!stores__redis_out_command(&out, 1, argv, lens, 2, argv + 1, lens + 1, &tail));
    lens[0] = lens[1] = lens[2] = (size_t)400 << 20; /* each would do, all together are too long */
    CHECK(!stores__redis_out_command(&out, 3, argv, lens, 0, NULL, NULL, NULL));
    CHECK(!stores__redis_out_command(&out, 1, argv, lens, 2, argv + 1, lens + 1, &tail));
    lens[0] = SIZE_MAX;
    CHECK(!stores__redis_out_command(&out, 3, argv, lens, 0, NULL, NULL, NULL));
    CHECK(tail.chunk == NULL);
    CHECK_INT(out.unsent, 0);
    stores__redis_tail_drop(&tail);
    stores__redis_out_clear(&out);
}

static void test_hung_up(void) {
    struct stores__redis_out out;
    const char *word = "PING";
    size_t four = 4;

    close(ends[1]);
    stores__redis_out_init(&out);
    CHECK(stores__redis_out_command(&out, 1, &word, &four, 0, NULL, NULL, NULL));
    CHECK(stores__redis_out_write(&out, ends[0]) < 0); /* and no SIGPIPE */
    stores__redis_out_clear(&out);
}

int main(void) {
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0)) return 1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    test_stream();
    test_refusals();
    test_hung_up();
    close(ends[0]);
    stores__buf_free(&want);
    stores__buf_free(&got);
    return check_report();
}
